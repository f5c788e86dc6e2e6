"""`curricle.analyze`: what is in a label file, and whether it foresees real difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DataError, RecipeError, RunError
from ...runtime.files import write_json
from .describe import agreement, describe, describe_layers, ends, extremes, once
from .foresee import foresee
from .read import Table, Target, read_table, read_target, told
from .samples import find_texts
from .shape import Analysis, FileInfo

TARGET = "probe"
LEVEL = 0.95
RESULT = "analysis.json"


def analyze(
    labels: str | Path | Sequence[str | Path],
    against: str | Path | None = None,
    target: str = TARGET,
    output: str | Path | None = None,
    recipe: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> Analysis:
    """Look into a label file, or several of the same rows: layers, spreads, agreement, the hardest and easiest rows.

    Real difficulty, the column `target` of the file `against` or of the labels, is held against every column. The
    rows' text is found by what the labels say of their data, or in `data`, read as `recipe` says. With `output`, a
    folder, `analysis.json` and `report.html` are written there.

    >>> print(curricle.analyze("labels.parquet", against="probe.parquet", output="analysis"))   # doctest: +SKIP
    """
    paths = [Path(labels)] if isinstance(labels, str | Path) else [Path(path) for path in labels]
    if not paths:
        raise RecipeError("name a label file; `curricle score` makes one")
    folder = None if output is None else _writable(Path(output), force)
    table, own = read_table(paths, target)
    if table.alone is not None and against is not None:
        raise DataError(f"{paths[0]} has no score to hold against {against}; its columns: {', '.join(table.columns)}")
    table = once(table)
    aim = own if against is None else read_target(Path(against), target, table)
    if aim is None and table.alone is None and target != TARGET:
        found = ", ".join(f"`{name}`" for name in table.columns)
        raise RecipeError(f"--target {target}: the labels have no such column, only {found}; --against names its file")
    analysis = _analysis(table, aim, data, recipe, overrides)
    if folder is None:
        return analysis
    from .page import write_page

    analysis = replace(analysis, folder=folder)
    write_json(folder / RESULT, analysis.as_dict())
    write_page(analysis, folder)
    return analysis


def _analysis(
    table: Table, target: Target | None, data: str | Path | None, recipe: str | Path | None, overrides: Sequence[str]
) -> Analysis:
    wanted = [table.ids[i].decode() for side in ends(table, target) for i in side]
    texts, note = find_texts(table, wanted, data, recipe, overrides)
    files = [FileInfo(part.path, name, len(part), **told(part)) for name, part in table.files]
    return Analysis(
        " and ".join(name for name, _ in table.files),
        len(table),
        LEVEL,
        files,
        [describe(name, values) for name, values in table.columns.items()],
        describe_layers(table, target),
        agreement(table, target),
        extremes(table, target, texts, note),
        None if target is None else foresee(table, target),
        [*table.notes, *(target.notes if target is not None else [])],
        table.alone,
    )


def _writable(folder: Path, force: bool) -> Path:
    """A new folder, an empty one, or one that holds an analysis."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"-o {folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / RESULT).is_file() and not force:
        raise RunError(f"{folder} is not empty, and holds no analysis; name another folder, or add --force")
    return folder
