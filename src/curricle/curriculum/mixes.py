"""Orders that split the draws among groups of examples (bins of difficulty, domains) in given shares.

Each group is a shuffled queue of its own, and the queues are merged by time: item j of a group with share w is due at
(j + u) / w with u random in [0, 1), so that every stretch of draws has the shares to within one.

    a, share 0.75      due at  0.4  2.1  3.2  4.9  6.0
    b, share 0.25      due at  1.7  5.1                          drawn: a b a a a b a

A group that is dry has nothing more due, and the others take its draws over in proportion to their shares. With
`repeat` it does not run dry: of each group come those that have been drawn least often, in as many passes as it takes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError, RunError
from ..runtime.progress import say
from .config import UNKNOWN, MixStage
from .order import Ids, Order
from .pacing import LEVELS, check_labels

Shares = tuple[float, ...]
Groups = npt.NDArray[np.int32]


def bins_of(difficulty_n: npt.NDArray[Any], bins: Mapping[str, tuple[float, float]]) -> tuple[Groups, list[str]]:
    """The bin of each example by number, and the bins' names; the last is `unknown`."""
    names = [*bins, UNKNOWN]
    groups = np.full(len(difficulty_n), len(bins), dtype=np.int32)
    for number, (low, high) in enumerate(bins.values()):
        groups[(difficulty_n >= low) & (difficulty_n <= high)] = number
    return groups, names


def exact_counts(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that add up to `total`, by largest remainder.

    >>> exact_counts((0.7, 0.3, 0.0), 5)
    [4, 1, 0]
    """
    wanted = [share * total for share in shares]
    counts = [int(each + 1e-9) for each in wanted]
    by_rest = sorted(range(len(shares)), key=lambda g: counts[g] - wanted[g])
    for g in by_rest[: total - sum(counts)]:
        counts[g] += 1
    return counts


class Mixed(Order):
    """Draws from each group in its share; `shares_at` says which at a point of the run."""

    def __init__(
        self, groups_n: Groups, names: Sequence[str], shares_at: Callable[[float], Shares], repeat: bool = False
    ) -> None:
        self.groups, self.names, self.repeat = np.asarray(groups_n, dtype=np.uint8), list(names), repeat
        self.sizes = np.bincount(self.groups, minlength=len(self.names)).tolist()
        self._shares_at, self._shares = shares_at, shares_at(0.0)
        self._told: set[str] = set()

    def shares(self, progress: float) -> Shares:
        self._shares = self._shares_at(progress)
        if not any(share and size for share, size in zip(self._shares, self.sizes, strict=True)):
            raise RecipeError(
                f"at progress {progress:.3f} the mix draws from {self._shown(self._shares)}, which hold no example; "
                f"there are {', '.join(f'{size:,} {name}' for name, size in zip(self.names, self.sizes, strict=True))}"
            )
        return self._shares

    def deal(self, ids: Ids, shares: Shares, draws: npt.NDArray[np.int32], rng: np.random.Generator) -> Ids:
        counts = exact_counts(shares, len(self.groups)) if self.repeat else self.sizes
        queues, due = [], []
        for group, share in enumerate(shares):
            if not share or not self.sizes[group]:
                continue
            members = np.flatnonzero(self.groups == group) if self.repeat else ids[self.groups[ids] == group]
            queue = rng.permutation(members)
            if self.repeat:
                queue = np.resize(queue[np.argsort(draws[queue], kind="stable")], max(1, counts[group]))
            queues.append(queue)
            due.append((np.arange(len(queue)) + rng.random(len(queue))) / share)
        if not self.repeat:
            self._tell_dry(shares, [len(queue) for queue in queues])
        return np.concatenate(queues)[np.argsort(np.concatenate(due), kind="stable")]

    def _tell_dry(self, shares: Shares, left: list[int]) -> None:
        """Say once for each group that it will be dry well before the others are."""
        taking = [group for group, share in enumerate(shares) if share and self.sizes[group]]
        ends = {group: num / shares[group] for group, num in zip(taking, left, strict=True)}
        for group, end in ends.items():
            name, longest = self.names[group], max(ends.values())
            if end < 0.9 * longest and name not in self._told:
                self._told.add(name)
                say(
                    f"curriculum: `{name}` has {round(end * shares[group]):,} examples left in this pass, enough for "
                    f"{end:,.0f} draws at its share of {shares[group]:g}; then the others take its share over"
                )

    def _shown(self, shares: Shares) -> str:
        return ", ".join(f"{name} {share:g}" for name, share in zip(self.names, shares, strict=True) if share)

    def metrics(self) -> dict[str, float]:
        taking = sum(size for size, share in zip(self.sizes, self._shares, strict=True) if share)
        by_name = {f"share_{name}": share for name, share in zip(self.names, self._shares, strict=True)}
        return {"admitted_share": taking / len(self.groups), **by_name}

    def metrics_of(self, ids: Sequence[int]) -> dict[str, float]:
        """The shares as they came out: another group's where one is dry."""
        counts = np.bincount(self.groups[list(ids)], minlength=len(self.names)) / len(ids)
        return {f"step_share_{name}": float(share) for name, share in zip(self.names, counts, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        return {"groups_crc32": zlib.crc32(self.groups.data)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "groups_crc32" not in state:
            raise RunError("the checkpoint was not written by a mix; resume with its recipe, or start a new run")
        check_labels(self, state["groups_crc32"], zlib.crc32(self.groups.data))


def fixed(shares: Shares) -> Callable[[float], Shares]:
    return lambda progress: shares


def staged(stages: Sequence[MixStage], names: Sequence[str]) -> Callable[[float], Shares]:
    """The shares of the part of the run that `progress` lies in."""
    spread = [shares_of(stage.difficulty_weights, names) for stage in stages]
    ends = [stage.epoch_range[1] for stage in stages]

    def shares_at(progress: float) -> Shares:
        return next((shares for shares, end in zip(spread, ends, strict=True) if progress < end), spread[-1])

    return shares_at


def in_turn(groups_n: Groups, lengths_n: npt.NDArray[Any], num: int) -> Callable[[float], Shares]:
    """One group after the other, in the order of their first examples, each for its share of all tokens."""
    _, firsts = np.unique(groups_n, return_index=True)
    order = groups_n[np.sort(firsts)].tolist()
    tokens = np.bincount(groups_n, weights=lengths_n, minlength=num)[order]
    ends = np.cumsum(tokens) / tokens.sum()

    def shares_at(progress: float) -> Shares:
        now = order[min(int(np.searchsorted(ends, progress, side="right")), len(order) - 1)]
        return tuple(float(group == now) for group in range(num))

    return shares_at


def ramp(first: Shares, last: Shares, full_at: float) -> Callable[[float], Shares]:
    """From the first shares to the last, in small steps."""

    def shares_at(progress: float) -> Shares:
        done = int(min(1.0, progress / full_at) * LEVELS + 1e-9) / LEVELS
        return tuple((1 - done) * a + done * b for a, b in zip(first, last, strict=True))

    return shares_at


def shares_of(given: Mapping[str, float], names: Sequence[str]) -> Shares:
    """In the order of the groups; one that is not named has none."""
    for name in given:
        if name not in names:
            raise RecipeError(f"the mix names `{name}`; the data has {', '.join(f'`{known}`' for known in names)}")
    return tuple(float(given.get(name, 0.0)) for name in names)
