"""The pages hold together: every page can be found, every link leads somewhere, every command shown exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from curricle.training.argument_table import TABLE
from house.commands import flags

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```(?:bash|sh|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:curricle|make) [^`\n]+)`")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"`((?:data|model|training|curriculum|weighting|distributed|evaluation|selection)\.[\w.]+)")
KEYS = {line.replace("[]", "") for line in (Path(__file__).parent / "recipe_keys.txt").read_text().splitlines()}
MAPPINGS = ("data.fields", "model.shape")  # their keys are the user's
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[Path]:
    """Where the relative links of a page lead."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [(page.parent / target).resolve() for target in found if "://" not in target]


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def shown_commands(page: Path) -> list[str]:
    """Lines of shell blocks, prompts and continuations taken away."""
    blocks = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    return [line.removeprefix("$ ").strip() for line in blocks.splitlines() if line.strip()]


def named_commands(page: Path) -> list[str]:
    """Commands within a sentence, in backticks."""
    return INLINE.findall(prose(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert [str(target) for target in links(page) if not target.exists()] == []


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_into_a_page_name_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        assert anchor in anchors(page.parent / target if target else page), f"{name_of(page)}: {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    assert set((ROOT / "docs").rglob("*.md")) - set(links(index)) - {index} == set()


def test_every_method_page_is_reached_from_the_front_page() -> None:
    assert ROOT / "docs" / "README.md" in links(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_shown_exist(page: Path) -> None:
    for line in shown_commands(page) + named_commands(page):
        problem = what_is_wrong(line)
        assert problem is None, f"{name_of(page)}: `{line}`: {problem}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_keys_named_exist(page: Path) -> None:
    for key in KEY.findall(prose(page)):
        section, _, name = key.rstrip(".").partition(".")
        known = name in TABLE if section == "training" else f"{section}.{name}" in KEYS
        assert known or f"{section}.{name.rpartition('.')[0]}" in MAPPINGS, f"{name_of(page)}: `{key}`"


def what_is_wrong(line: str) -> str | None:
    """None for a line that is fine, or that is no command of ours."""
    words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"\w+=.*", word)]
    if words[:1] == ["make"]:
        unknown = [word for word in words[1:] if not word.startswith("-") and word not in TARGETS]
        return f"no such target {unknown[0]}" if unknown else None
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["curricle"]:
        words = words[words.index("-m") + 1 :]
    if words[:1] != ["curricle"]:
        return None
    words = words[: next((at for at, word in enumerate(words) if word in ("|", ">", "&&", ";")), None)]
    known = flags()
    name = max((name for name in known if words[: name.count(" ") + 1] == name.split()), key=len)
    rest = words[name.count(" ") + 1 :]
    options = [word.partition("=")[0] for word in rest if word.startswith("-")]
    unknown = [option for option in options if option not in (*known[name], "--help", "-h")]
    if unknown:
        return f"{name} has no {unknown[0]}"
    return f"no such command {rest[0]}" if name == "curricle" and rest and not options else None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("curricle run recipe.yaml --plan", None),
        ("curricle inspect masks recipe.yaml --rows 3 | head", None),
        ("torchrun --nproc-per-node 2 -m curricle train recipe.yaml --seeds 0", None),
        ("CURRICLE_CACHE=cache make test BENCH=sft  # said aside", None),
        ("pip install torch", None),
        ("curricle fly recipe.yaml", "no such command fly"),
        ("python -m curricle run recipe.yaml --plans", "curricle run has no --plans"),
        ("curricle inspect masks recipe.yaml --arms x", "curricle inspect masks has no --arms"),
        ("make coffee", "no such target coffee"),
    ],
)
def test_a_wrong_command_is_seen(line: str, problem: str | None) -> None:
    assert what_is_wrong(line) == problem
