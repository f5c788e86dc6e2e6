"""The rows of a selection, written as a file of their own."""

from __future__ import annotations

from pathlib import Path

from ...errors import RecipeError, RunError
from ...runtime.files import atomic_file
from ...runtime.progress import track
from .config import Selection
from .selecting import Selected, select
from .store import open_store


def select_rows(
    path: str | Path,
    selection: Selection,
    output: str | Path | None = None,
    folder: str | Path | None = None,
    force: bool = False,
) -> Selected:
    """Choose rows of a file, and write them to `output` (JSON Lines, in the order of the file, byte for byte as they
    are there) when one is given. `folder`: where the index lies; see `open_store`."""
    output = None if output is None else Path(output)
    if output is not None:
        if output.suffix != ".jsonl":
            raise RecipeError(f"rows are written as JSON Lines; name the output .jsonl, not {output.name}")
        if output.exists() and not force:
            raise RunError(f"{output} is there already; name another file, or replace it with --force")
        if output.exists() and output.samefile(path):
            raise RecipeError(f"{output} is the file that the rows come from; name another")
    with open_store(path, selection.columns, folder) as store:
        chosen = select(store, selection)
        if output is not None:
            with atomic_file(output, "wb") as handle:
                for row in track(store.raw(chosen.indices), f"writing {output.name}", len(chosen)):
                    handle.write(row + b"\n")
    return chosen
