"""`python -m curricle.experiments.pages` writes the generated parts of the docs again: each fact has one text."""

from __future__ import annotations

from pathlib import Path

from ..runtime.files import write_text
from ..training.arguments import arguments_reference
from .schema import recipe_reference

BEGIN, END = "<!-- written by `make docs` from here -->\n", "<!-- to here -->\n"


def with_generated(page: str, generated: str) -> str:
    """The page with what stands between its two marks made new."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the marks {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{generated}\n{END}{after}"


def pages() -> dict[str, str]:
    """File name -> its generated part."""
    return {"recipes.md": recipe_reference(), "training-arguments.md": arguments_reference()}


def main(docs: Path = Path("docs")) -> None:
    for name, generated in pages().items():
        write_text(docs / name, with_generated((docs / name).read_text(encoding="utf-8"), generated))


if __name__ == "__main__":
    main()
