"""Public data sets, as they are handed out, to files that a recipe reads; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import DataError, nearest
from .code import PreparedCode, options_for, write_code
from .codecontests import CODECONTESTS
from .dialogsum import DIALOGSUM, prepare_dialogsum
from .humaneval import HUMANEVAL
from .mbpp import MBPP, MBPP_SANITIZED
from .personachat import PERSONACHAT, prepare_personachat
from .writing import Prepared, write_splits

__all__ = ["CODE", "DATASETS", "Prepared", "PreparedCode", "prepare", "prepare_dialogsum", "prepare_personachat"]

DATASETS = {dataset.name: dataset for dataset in (DIALOGSUM, PERSONACHAT)}
CODE = {dataset.name: dataset for dataset in (CODECONTESTS, MBPP, MBPP_SANITIZED, HUMANEVAL)}


def prepare(name: str, src: str | Path, out: str | Path, **options: Any) -> Prepared | PreparedCode:
    """Read the data set `name` from `src` and write its splits and a manifest into the folder `out`.

    The sets of programs take `tokenizer`, `max_length` and `chat_template` for their length filter; codecontests also
    `python2`, `difficulty` and `tests` (see `CodeOptions`).
    """
    if name not in DATASETS and name not in CODE:
        raise DataError(f"no data set is called `{name}`; {nearest(name, [*DATASETS, *CODE])}")
    chosen = options_for(CODE.get(name), name, options)
    if name in CODE:
        return write_code(CODE[name], Path(src), Path(out), chosen)
    return write_splits(DATASETS[name], Path(src), Path(out))
