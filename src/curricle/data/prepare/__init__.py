"""Public data sets, as they are handed out, to files that a recipe reads; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError, nearest
from .dialogsum import DIALOGSUM, prepare_dialogsum
from .personachat import PERSONACHAT, prepare_personachat
from .writing import Prepared, write_splits

__all__ = ["DATASETS", "Prepared", "prepare", "prepare_dialogsum", "prepare_personachat"]

DATASETS = {dataset.name: dataset for dataset in (DIALOGSUM, PERSONACHAT)}


def prepare(name: str, src: str | Path, out: str | Path) -> Prepared:
    """Read the data set `name` from the folder `src` and write its splits and a manifest into `out`."""
    if name not in DATASETS:
        raise DataError(f"no data set is called `{name}`; {nearest(name, DATASETS)}")
    return write_splits(DATASETS[name], Path(src), Path(out))
