"""The command line changes on purpose only, explains itself, and is the same text in a terminal and in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curricle.cli.reference import commands, reference
from house.commands import flags, is_group

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = (Path(__file__).parent / "cli_flags.txt").read_text(encoding="utf-8").splitlines()
HELP = {name: context.get_help() for name, context in commands()}


def test_flags_are_the_committed_list() -> None:
    assert sorted(f"{name}: {' '.join(spellings)}".rstrip() for name, spellings in flags().items()) == COMMITTED


@pytest.mark.parametrize("name", HELP)
def test_help_has_a_summary_and_an_example(name: str) -> None:
    usage, summary, rest = HELP[name].split("\n\n", maxsplit=2)
    assert usage.startswith(f"Usage: {name}")
    assert summary.strip().endswith(".")
    examples = re.search(r"^  Example:\n((?:    .+\n)+)", rest, re.MULTILINE)
    assert examples is not None
    assert examples[1].split()[0] in ("curricle", "torchrun")
    assert name.removeprefix("curricle").strip() in examples[1]
    assert is_group(name) or "In Python: curricle." in rest


@pytest.mark.parametrize("name", [name for name in HELP if is_group(name)])
def test_summaries_fit_a_narrow_terminal(name: str) -> None:
    context = dict(commands())[name]
    context.terminal_width = 80
    listed = context.get_help().partition("Commands:")[2]
    assert listed.strip()
    assert "..." not in listed


@pytest.mark.parametrize("name", HELP)
def test_every_option_is_explained(name: str) -> None:
    for parameter in dict(commands())[name].command.params:
        assert (parameter.help or "").endswith("."), f"{name} {parameter.opts}"


def test_the_page_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "docs/cli.md is out of date; run `make docs`"


@pytest.mark.parametrize("name", HELP)
def test_every_command_has_a_section(name: str) -> None:
    sections = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split("\n## ")
    assert [section.partition("\n")[0] for section in sections].count(name) == 1


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    expected = reference()
    monkeypatch.setenv("COLUMNS", columns)
    assert reference() == expected


def test_the_twin_in_python_is_there() -> None:
    """`In Python: curricle.a.b(...)` of each help text names something that can be called."""
    import importlib

    for name, text in HELP.items():
        for dotted in re.findall(r"In Python: (curricle(?:\.\w+)+)\(", text):
            module, _, function = dotted.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function)), f"{name}: {dotted}"
