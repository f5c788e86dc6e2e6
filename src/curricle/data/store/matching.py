"""What the words of a selection mean: which rows have a value, a value of a list, or a number of a range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError, nearest
from .columns import KIND_WORDS
from .config import Selection
from .store import Store

_SHOWN = 10
_MOST_EQUAL = 1000
_MOST_CELLS = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Cells:
    """The values of the shares, multiplied out: which cell each row is in, and what share a cell is to have.

    With shares of `is_correct` (true 0.5, false 0.5) and difficulty (1..3 0.7, 4..7 0.3):

        cell     0                    1                    2                     3
        name     true, 1..3           true, 4..7           false, 1..3           false, 4..7
        share    0.35                 0.15                 0.35                  0.15
    """

    names: list[str]
    columns: list[npt.NDArray[np.float64]]
    """The shares of each column's values, one after another column."""
    cell_n: npt.NDArray[np.int16]
    """-1 for a row in no cell."""

    @property
    def shares_c(self) -> npt.NDArray[np.float64]:
        shares_c = np.ones(1)
        for column in self.columns:
            shares_c = np.outer(shares_c, column).ravel()
        return shares_c

    def counts(self, total: int) -> npt.NDArray[np.int64]:
        """A total dealt out over the cells: exactly over the values of the first column, then within each of them over
        those of the second."""
        counts_c = np.array([total])
        for column in self.columns:
            counts_c = np.concatenate([largest_remainder(int(count), column) for count in counts_c])
        return counts_c


def largest_remainder(total: int, weights_c: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to `total`, in proportion to weights: each rounded down, and the rows that are left to the
    largest remainders, the first of equals first.

    >>> largest_remainder(10, np.array([0.7, 0.25, 0.05])).tolist()
    [7, 3, 0]
    """
    exact_c = total * weights_c / weights_c.sum()
    counts_c = np.floor(exact_c + 1e-9).astype(np.int64)  # 0.3 * 10 / (0.3 + 0.7) is 3, whatever floats say
    left = total - int(counts_c.sum())
    counts_c[np.argsort(-(exact_c - counts_c), kind="stable")[:left]] += 1
    return counts_c


def matches(store: Store, name: str, words: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which rows have one of these values in a column."""
    values_n = store.column(name)
    kind = store.kinds[name]
    found_n = np.zeros(len(values_n), dtype=np.bool_)
    for word in words:
        if kind == "bool":
            found_n |= values_n == _truth(store, name, word)
        elif kind == "text":
            texts = store.texts(name)
            if word in texts:
                found_n |= values_n == texts.index(word)
        else:
            low, high = _range(store, name, word)
            found_n |= (values_n >= low) & (values_n <= high)
    return found_n


def _truth(store: Store, name: str, word: str) -> bool:
    if word not in ("true", "false"):
        raise RecipeError(f"`{name}` of {store.path} is true or false; {word!r} is neither")
    return word == "true"


def _range(store: Store, name: str, word: str) -> tuple[float, float]:
    """`3` is 3 to 3; `1..3`, `..3` and `1..` have both ends in them."""
    low, dots, high = word.partition("..")
    try:
        first = float(low) if low else -math.inf
        last = (float(high) if high else math.inf) if dots else first
    except ValueError:
        first, last = math.nan, math.nan
    if not first <= last or (not dots and not low):
        raise RecipeError(
            f"`{name}` of {store.path} holds numbers; {word!r} is none, and no range such as 1..3, 800.. or ..5"
        )
    # Scores are kept as float32: 0.1 in a file is then not the 0.1 of a selection.
    single = store.column(name).dtype == np.float32
    return (float(np.float32(first)), float(np.float32(last))) if single else (first, last)


def where(store: Store, selection: Selection) -> npt.NDArray[np.bool_]:
    """The rows that pass every filter. A text that no row has is refused, as it is most likely misspelt."""
    passed_n = np.ones(store.num_rows, dtype=np.bool_)
    for name, words in selection.where.items():
        _refuse_unknown_texts(store, name, words)
        passed_n &= matches(store, name, words)
    return passed_n


def _refuse_unknown_texts(store: Store, name: str, words: Sequence[str]) -> None:
    store.column(name)
    if store.kinds[name] == "text":
        for word in words:
            if word not in store.texts(name):
                raise RecipeError(f"no row of {store.path} has `{name}` {word!r}; {nearest(word, store.texts(name))}")


def cells_of(store: Store, selection: Selection, passed_n: npt.NDArray[np.bool_]) -> Cells:
    """The cells of a selection's shares or counts; without either one cell of every row."""
    if selection.counts:
        [(name, counts)] = selection.counts.items()
        total = sum(counts.values())
        if not total:
            raise RecipeError(f"counts of `{name}` ask for no row; give at least one of its values a number above 0")
        bins = {name: {value: count / total for value, count in counts.items()}}
    else:
        bins = {
            name: _equal(store, name, passed_n) if given == "equal" else dict(given)
            for name, given in selection.shares.items()
        }
    for name, shares in bins.items():
        _check_shares(name, shares)
    products = list(itertools.islice(itertools.product(*bins.values()), _MOST_CELLS + 1))
    if len(products) > _MOST_CELLS:
        raise RecipeError(
            f"shares of {', '.join(bins)} make more than {_MOST_CELLS:,} combinations; leave out a column"
        )
    cell_n = np.where(passed_n, np.int16(0), np.int16(-1))
    for name, shares in bins.items():
        bin_n = _bins(store, name, list(shares))
        cell_n = np.where((cell_n < 0) | (bin_n < 0), np.int16(-1), cell_n * np.int16(len(shares)) + bin_n)
    names = [", ".join(f"{name}={value}" for name, value in zip(bins, values, strict=True)) for values in products]
    return Cells(names, [np.array(list(shares.values())) for shares in bins.values()], cell_n)


def _check_shares(name: str, shares: dict[str, float]) -> None:
    if abs(sum(shares.values()) - 1) > 1e-6:
        shown = ", ".join(f"{value}: {share:g}" for value, share in list(shares.items())[:_SHOWN])
        raise RecipeError(f"shares of `{name}` are together {sum(shares.values()):g}, not 1 ({shown})")


def _bins(store: Store, name: str, words: list[str]) -> npt.NDArray[np.int16]:
    """Which of the values each row has; -1 for none. A row may have one only."""
    _refuse_unknown_texts(store, name, words)
    bin_n = np.full(store.num_rows, -1, dtype=np.int16)
    for number, word in enumerate(words):
        found_n = matches(store, name, [word])
        both = bin_n[found_n].max(initial=-1)
        if both >= 0:
            raise RecipeError(f"shares of `{name}`: a row can be in {words[both]} and in {word}; make them apart")
        bin_n[found_n] = number
    return bin_n


def _equal(store: Store, name: str, passed_n: npt.NDArray[np.bool_]) -> dict[str, float]:
    """The same share for every value that the rows have."""
    values = np.unique(store.column(name)[passed_n])
    kind = store.kinds[name]
    if kind == "text":
        words = [store.texts(name)[code] for code in values if code >= 0]
    elif kind == "bool":
        words = ["true" if value else "false" for value in values if value >= 0]
    else:
        words = [f"{value:.17g}" for value in values if not np.isnan(value)]
    if not 0 < len(words) <= _MOST_EQUAL:
        raise RecipeError(
            f"shares of `{name}`: equal needs 1 to {_MOST_EQUAL} different {KIND_WORDS.get(kind, 'values')}; "
            f"{len(words)} are there. Name values or ranges with their shares"
        )
    return dict.fromkeys(words, 1 / len(words))
