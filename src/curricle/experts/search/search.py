"""The search itself: starting points, a method, and what was found, on one model in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...data.rows import Rows
from ...data.table import TokenTable
from ...errors import DataError, ModelError
from ...runtime.fingerprint import fingerprint
from ...runtime.progress import say
from ...runtime.rundir import hold
from .config import SearchConfig
from .evaluations import DIGITS, Evaluation, Evaluations, On, check_folder
from .found import Found, weights_in_words
from .methods import Ask, Known, Point, Space, Spent, coordinate, grid, nelder_mead
from .objective import HeldOut, check_rows, score_of
from .starts import BASE, check_budget, starting_points
from .starts import key as key_of
from .writing import set_aside, write_found

if TYPE_CHECKING:
    from ..difference import Difference

Method = Callable[[Known, Ask, Space, int, int], None]

FINALISTS = 3
"""Of a search on the first rows: how many of its best weights are measured on all rows."""


def search_weights(
    model: Any,
    differences: Mapping[str, Difference],
    table: TokenTable,
    rows: Rows,
    config: SearchConfig,
    folder: str | Path,
    *,
    batch_size: int = 1,
    test: TokenTable | None = None,
    base: str | None = None,
    starts: Mapping[str, Mapping[str, float]] | None = None,
    on_other: Literal["error", "aside"] = "error",
) -> Found:
    """The weights of base + sum of w_i * difference_i with the smallest held-out loss of the `table`'s domains.

    The model is the base, and is the base again afterwards. `test` is a table of rows that must not be among these,
    `base` the fingerprint that the experts must have been trained from, `starts` more weights to begin with, by name.
    In `folder`: weights.json, search.jsonl, surface.svg, and pareto.json where domains conflict. A search started again
    there goes on where it was. One of another base, other experts or other rows is refused, or with `on_other="aside"`
    kept under other names (search-1.jsonl, ...).

    >>> search_weights(model, {"law": law, "news": news}, dev, Rows(), SearchConfig(), "search")   # doctest: +SKIP
    """
    from ...models.head import HeadTap
    from .mixture import Mixture

    held = HeldOut(table, rows, batch_size)
    check_search(held, list(differences), config, None if on_other == "aside" else folder, test=test, starts=starts)
    check_bases(differences, base)
    points = starting_points(list(differences), held.tokens, config, starts or {})
    with hold(folder) as place, Mixture(model, differences) as mixture, HeadTap(model) as tap:
        on_rows = parts_of(held, config)
        key = {"rows": rows_key(on_rows), "weights": mixture.fingerprint()}

        def losses_of(weights: Mapping[str, float], on: On) -> dict[str, float]:
            mixture.set(weights)
            return on_rows[on].losses(model, tap)

        evaluations = Evaluations(place, key, losses_of, set_aside if on_other == "aside" else None)
        try:
            parts: dict[On, float] = {on: len(rows.table.tokens) / len(table.tokens) for on, rows in on_rows.items()}
            found = Search(list(differences), evaluations, config, points, parts).run()
        finally:
            evaluations.close()
        return write_found(found, place, held.tokens)


def check_search(
    held: HeldOut,
    experts: list[str],
    config: SearchConfig,
    folder: str | Path | None = None,
    *,
    test: TokenTable | None = None,
    starts: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """All that can be refused without a model: rows, names, the budget, and a folder that is not this search's."""
    check_rows(held, experts, config, test)
    check_budget(config, experts, starts)
    if folder is not None:
        check_folder(Path(folder), rows_key(parts_of(held, config)), experts)


def parts_of(held: HeldOut, config: SearchConfig) -> dict[On, HeldOut]:
    """All rows, and the first ones where those are searched on."""
    on_rows: dict[On, HeldOut] = {"all": held}
    if config.first_rows is not None:
        on_rows["first"] = held.first(config.first_rows)
    return on_rows


def rows_key(on_rows: Mapping[On, HeldOut]) -> str:
    return fingerprint({on: rows.fingerprint() for on, rows in on_rows.items()})


def check_bases(differences: Mapping[str, Difference], base: str | None) -> None:
    """Experts of different bases are not added up; one that does not say its base is taken on trust."""
    said = {name: found for name, one in differences.items() if (found := one.base) is not None}
    for name, found in said.items():
        if base is not None and found != base:
            raise ModelError(
                f"the expert `{name}` was trained from a base with the fingerprint {found}, and this base has {base}; "
                "name the base that it was trained from"
            )
        first = next(iter(said))
        if found != said[first]:
            raise ModelError(
                f"the experts `{first}` and `{name}` were trained from different bases ({said[first]} and {found}); "
                "mix experts of one base"
            )


class Search:
    """Asks for evaluations until the budget is used up or the method has nothing more to ask."""

    def __init__(
        self,
        experts: list[str],
        evaluations: Evaluations,
        config: SearchConfig,
        points: Mapping[str, Mapping[str, float]],
        parts: Mapping[On, float],
    ) -> None:
        self.experts, self.evaluations, self.config = experts, evaluations, config
        self.points, self._parts = points, parts
        self._read: dict[tuple[Any, ...], float] = {}
        """For each reading of rows: which part of all of them."""
        self.space = Space(*config.box, config.normalize == "sum1")
        self.known: Known = []
        self.asked: dict[tuple[float, ...], Evaluation] = {}
        """Every evaluation of this search, made now or before."""
        self._on: On = "first" if config.first_rows else "all"
        self._best = math.inf

    def run(self) -> Found:
        """The starting points, the method, and on first rows only: the finalists on all of them."""
        references = {name: self._start(weights) for name, weights in self.points.items()}
        if not self.known:
            self.ask(np.full(len(self.experts), (self.space.low + self.space.high) / 2))
        if not any(math.isfinite(value) for _, value in self.known):
            raise DataError("no starting point has a finite loss; look at the experts and the base one by one")
        ended = "nothing more to try"
        try:
            _method(self.config.method)(self.known, self.ask, self.space, self.config.budget, self.config.seed)
        except Spent:
            ended = "the budget is used up"
        tried = self._tried()
        best = min(tried, key=lambda one: one.score)
        if self._on == "first":
            references, best = self._on_all_rows(references, tried)
        self._say(f"{ended}; {best.score:.4f} at {weights_in_words(best.weights)} is the best")
        passes = sum(self._read.values())
        found = Found(self.config, best, references, list(self.asked.values()), passes, self.evaluations.made, ended)
        if found.at_bound:
            say(f"search: {found.bounds_in_words}")
        return found

    def _say(self, line: str) -> None:
        """Numbered by the evaluations used; the last line is that of the last one."""
        say(f"search {len(self.asked)}/{self.config.budget}: {line}")

    def ask(self, point: Point) -> float:
        """The score of a point; the same point costs nothing the second time."""
        at = self.space.settle(np.round(point, 4))
        if not np.isfinite(at).all():
            return math.inf  # a sum of 0, which is no mixture
        one, new = self._evaluate(dict(zip(self.experts, map(float, at), strict=True)))
        if new:
            self.known.append((at, one.score))
        return one.score

    def _start(self, weights: Mapping[str, float]) -> Evaluation:
        """A starting point is looked at in any case, and gone on from where it lies within the bounds."""
        one, new = self._evaluate(dict(weights))
        if new and self._inside(weights):
            self.known.append((np.array([weights[name] for name in self.experts]), one.score))
        return one

    def _inside(self, weights: Mapping[str, float]) -> bool:
        at = np.array([weights[name] for name in self.experts])
        return bool(np.allclose(self.space.settle(at), at, rtol=0, atol=1e-9))

    def _evaluate(self, weights: dict[str, float]) -> tuple[Evaluation, bool]:
        key = key_of(weights)
        if key in self.asked:
            return self.asked[key], False
        if len(self.asked) >= self.config.budget:
            raise Spent
        one = self._scored(weights, self._on)
        self.asked[key] = one
        if one.score < self._best and self._inside(weights):
            self._best = one.score
            self._say(f"{one.score:.4f}, the best so far, at {weights_in_words(weights)}")
        return one, True

    def _scored(self, weights: Mapping[str, float], on: On) -> Evaluation:
        losses, seconds = self.evaluations.losses(weights, on)
        self._read[on, key_of(weights)] = self._parts[on]
        base = losses if not any(weights.values()) else self.evaluations.losses(self.points[BASE], on)[0]
        return Evaluation(dict(weights), losses, score_of(losses, base, self.config), seconds)

    def _tried(self) -> list[Evaluation]:
        """The evaluations that may be chosen: those within the bounds, in the order they were made."""
        inside = {tuple(np.round(point, DIGITS) + 0.0) for point, _ in self.known}
        return [one for key, one in self.asked.items() if key in inside]

    def _on_all_rows(
        self, references: Mapping[str, Evaluation], tried: Sequence[Evaluation]
    ) -> tuple[dict[str, Evaluation], Evaluation]:
        """The starting points and the best few weights, measured on all rows: those say which are best."""
        whole = {name: self._scored(one.weights, "all") for name, one in references.items()}
        finalists = [self._scored(one.weights, "all") for one in sorted(tried, key=lambda one: one.score)[:FINALISTS]]
        chosen = {id(one) for one in tried}
        starts = [whole[name] for name, one in references.items() if id(one) in chosen]
        return whole, min([*finalists, *starts], key=lambda one: one.score)


def _method(name: str) -> Method:
    from .bayes import bayes

    methods: dict[str, Method] = {"coordinate": coordinate, "nelder-mead": nelder_mead, "bayes": bayes, "grid": grid}
    return methods[name]
