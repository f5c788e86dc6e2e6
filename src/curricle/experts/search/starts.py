"""Where a search begins, and whether its budget has room for that: known before any expert is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import RecipeError, nearest
from .config import SearchConfig
from .evaluations import DIGITS
from .methods import grid_needs

Weights = dict[str, float]

BASE, UNIFORM, BY_TOKENS = "base", "uniform", "by tokens"
"""Names of starting points; those of one expert alone are called after it."""


def check_budget(
    config: SearchConfig, experts: Sequence[str], given: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """Refuse a budget that the starting points of these experts do not fit in, before anything is trained or loaded.

    Exact: the one point that depends on rows, weights by tokens, is left out where there is no room for it.

    >>> check_budget(SearchConfig(budget=4), ["law", "news"])
    """
    points = _certain(experts, config, given or {})
    needs = len(different(points))
    if config.budget < needs:
        raise RecipeError(
            f"the search has a budget of {config.budget} evaluations, and its starting points take {needs} "
            f"({', '.join(points)}); give it more"
        )
    if config.budget < needs + _least(config, experts):
        raise RecipeError(
            f"a grid over {len(experts)} experts takes {needs + _least(config, experts)} evaluations at least, with "
            f"the starting points, and the budget is {config.budget}; give it more, or take another method"
        )


def starting_points(
    experts: Sequence[str],
    tokens: Mapping[str, int],
    config: SearchConfig,
    given: Mapping[str, Mapping[str, float]],
) -> dict[str, Weights]:
    """The base, all alike, each expert alone, whatever was given, and by the tokens of the experts' domains."""
    check_budget(config, experts, given)
    points = _certain(experts, config, given)
    if all(name in tokens for name in experts):
        total = sum(tokens[name] for name in experts)
        more = {**points, BY_TOKENS: {name: tokens[name] / total for name in experts}}
        if len(different(more)) + _least(config, experts) <= config.budget:
            return more
    return points


def different(points: Mapping[str, Mapping[str, float]]) -> set[tuple[float, ...]]:
    return {key(point) for point in points.values()}


def key(weights: Mapping[str, float]) -> tuple[float, ...]:
    """Weights that have the same are the same to a search."""
    return tuple(round(weight, DIGITS) + 0.0 for weight in weights.values())


def _least(config: SearchConfig, experts: Sequence[str]) -> int:
    """Evaluations that the method takes beside the starting points, at least."""
    return grid_needs(len(experts), config.normalize == "sum1") if config.method == "grid" else 0


def _certain(
    experts: Sequence[str], config: SearchConfig, given: Mapping[str, Mapping[str, float]]
) -> dict[str, Weights]:
    """The starting points that no row has a say in."""
    points = {BASE: dict.fromkeys(experts, 0.0), UNIFORM: dict.fromkeys(experts, 1 / len(experts))}
    points |= {name: {**points[BASE], name: 1.0} for name in experts}
    for name, weights in given.items():
        _check_named(weights, experts)
        points[name] = {**points[BASE], **_applied(weights, config)}
    return points


def _applied(weights: Mapping[str, float], config: SearchConfig) -> Weights:
    from .mixture import weights_to_apply

    return weights_to_apply(weights, config.normalize)


def _check_named(weights: Mapping[str, float], experts: Sequence[str]) -> None:
    for name in weights:
        if name not in experts:
            raise RecipeError(f"a weight is given for `{name}`, and no expert is called that; {nearest(name, experts)}")
