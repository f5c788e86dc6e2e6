"""`prepare`: a published data set turned into files, or the contest, which is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.prepare import CODE, DATASETS, Prepared, PreparedCode
from ..data.prepare import prepare as prepare_published
from ..errors import DataError, RecipeError, nearest
from .contest import prepare_contest

CONTEST = "contest"
_MADE = ("rows", "seed")


def prepare(name: str, src: str | Path | None, out: str | Path, **options: Any) -> Prepared | PreparedCode:
    """Read the data set `name` from `src` and write its splits and a manifest into the folder `out`.

    The sets of programs take `tokenizer`, `max_length` and `chat_template` for their length filter; codecontests also
    `python2`, `difficulty` and `tests`. `contest` is made, so its `src` is None; it takes `rows` and `seed`.
    """
    if name not in (*DATASETS, *CODE, CONTEST):
        raise DataError(f"no data set is called `{name}`; {nearest(name, [*DATASETS, *CODE, CONTEST])}")
    if name != CONTEST:
        if made := [option for option in options if option in _MADE]:
            raise RecipeError(
                f"the option `{made[0]}` means nothing for {name}; only {CONTEST}, which is made, takes it"
            )
        if src is None:
            raise DataError(f"prepare {name} reads a folder, and none was given; name it as SOURCE, after `{name}`")
        return prepare_published(name, src, out, **options)
    if src is not None:
        raise DataError(f"prepare {CONTEST} was given {src}, but it reads nothing: leave it out")
    for option in options:
        if option not in _MADE:
            raise RecipeError(f"the option `{option}` means nothing for {CONTEST}; {nearest(option, _MADE)}")
    return prepare_contest(out, **options)
