"""`NAME=PATH` and `NAME=PATH@WEIGHT`: how an expert is written on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError

_NAME = re.compile(r"\w[\w.\-]*")  # it becomes a part of file names


@dataclass(frozen=True)
class Named:
    """One expert: what it is called, where it lies, and how much it counts where that was said."""

    name: str
    path: str
    weight: float | None = None


def read_experts(texts: Sequence[str]) -> list[Named]:
    """In the order given; names are unique.

    >>> read_experts(["code=runs/code", "web=runs/web@0.5"])[1]
    Named(name='web', path='runs/web', weight=0.5)
    """
    experts = [_read(text) for text in texts]
    names = [expert.name for expert in experts]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise RecipeError(f"two experts are called `{twice}`; give each a name of its own")
    return experts


def _read(text: str) -> Named:
    name, _, rest = text.partition("=")
    path, at, weight = rest.rpartition("@")
    whole = not at or Path(rest).expanduser().exists()
    if not _NAME.fullmatch(name) or not (rest if whole else path):
        raise RecipeError(
            f"an expert is written NAME=PATH or NAME=PATH@WEIGHT, such as code=runs/code@0.5, with a name of letters, "
            f"digits, dots, dashes and underscores; found `{text}`"
        )
    return Named(name, rest) if whole else Named(name, path, _weight(weight, text))


def _weight(weight: str, text: str) -> float:
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RecipeError(f"`{text}`: after the last @ stands the weight, a number; found `{weight}`, and no such path")
    return number
