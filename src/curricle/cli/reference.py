"""`python -m curricle.cli.reference` writes docs/cli.md from the commands' own help, so that each fact has one text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main

from .app import HELP_OPTIONS, WIDTH, app

OPENING = """# Command line

Written by `make docs` from the commands' own help; a test compares the two.

Exit codes: 0 done, 2 a mistake in the recipe, the data or the command line (one line on standard error says which),
75 interrupted after saving (the same command goes on), 130 stopped at once by Ctrl-C (while training, by the second
one). A bug in Curricle shows its traceback.
"""


def commands() -> Iterator[tuple[str, typer.Context]]:
    """Every command, groups included, by full name (`curricle inspect masks`), the way `--help` lists them."""
    root = typer.main.get_command(app)
    waiting = [typer.Context(root, info_name="curricle", terminal_width=WIDTH, help_option_names=HELP_OPTIONS)]
    while waiting:
        context = waiting.pop(0)
        yield context.command_path, context
        children = getattr(context.command, "commands", {})
        waiting[:0] = [
            typer.Context(child, info_name=name, parent=context, terminal_width=WIDTH)
            for name, child in children.items()
        ]


def reference() -> str:
    """The whole page."""
    sections = (f"## {name}\n\n```text\n{context.get_help().rstrip()}\n```\n" for name, context in commands())
    return "\n".join([OPENING, *sections])


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/cli.md").write_text(reference(), encoding="utf-8")
