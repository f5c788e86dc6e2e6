"""From the recipe's section to the weighting it names."""

from __future__ import annotations

from collections.abc import Callable

from .base import Uniform, Weighting
from .config import WeightingConfig


def build_weighting(config: WeightingConfig, seed: int = 0) -> Weighting:
    """`seed` is the run's; controls draw from it."""
    weighting = _KINDS[config.kind](config, seed)
    if config.control is not None:
        from .controls import RandomMatched, Shuffled

        control = Shuffled if config.control == "shuffled" else RandomMatched
        weighting = control(weighting, seed)
    weighting.later_heads = config.later_heads
    return weighting


def _uniform(config: WeightingConfig, seed: int) -> Weighting:
    return Uniform()


def _td_error(config: WeightingConfig, seed: int) -> Weighting:
    from .td_error import TDError

    return TDError(
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        temperature=config.temperature,
        clip=(config.clip_min, config.clip_max),
        terminal=config.terminal,
        normalize=config.normalize,
        scope=config.scope,
    )


def _reference_excess(config: WeightingConfig, seed: int) -> Weighting:
    from .reference_excess import ReferenceExcess

    return ReferenceExcess(ratio=config.ratio, scope=config.scope, softness=config.softness)


def _column(config: WeightingConfig, seed: int) -> Weighting:
    from .column import Column

    return Column(normalize=config.normalize, scope=config.scope)


def _own_probability(config: WeightingConfig, seed: int) -> Weighting:
    from .own_probability import OwnProbability

    return OwnProbability(normalize=config.normalize, scope=config.scope)


def _correct_only(config: WeightingConfig, seed: int) -> Weighting:
    from .correct_only import CorrectOnly

    return CorrectOnly(normalize=config.normalize, scope=config.scope)


def _random_tokens(config: WeightingConfig, seed: int) -> Weighting:
    from .controls import RandomTokens

    return RandomTokens(ratio=config.ratio, scope=config.scope, seed=seed)


_KINDS: dict[str, Callable[[WeightingConfig, int], Weighting]] = {
    "uniform": _uniform,
    "td_error": _td_error,
    "reference_excess": _reference_excess,
    "column": _column,
    "own_probability": _own_probability,
    "correct_only": _correct_only,
    "random_tokens": _random_tokens,
}
