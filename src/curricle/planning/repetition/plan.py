"""What a stock of unique tokens gives: epoch by epoch, for a budget, and with synthetic tokens beside it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import RecipeError
from ...runtime.files import write_json, write_text
from ..drawing import Chart
from ..scaling.law import Point
from .law import MUENNIGHOFF, Mixture, RepeatedLaw, mix

EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 40, 60)
STILL = (0.5, 0.1)
"""An epoch that gives half of what fresh tokens would, and one that gives a tenth."""


@dataclass(frozen=True)
class Stage:
    """After so many epochs: tokens seen, their worth in fresh ones, what the next epoch gives, and the loss of N."""

    epochs: float
    tokens: float
    effective: float
    next_epoch: float
    loss: float | None


@dataclass(frozen=True)
class DataPlan:
    """What `curricle plan data` says."""

    unique: float
    stages: tuple[Stage, ...]
    until: dict[float, float]
    """Epochs after which the next gives less than this share of fresh tokens."""
    flops: float | None = None
    optimum: Point | None = None
    without_limit: Point | None = None
    mixture: Mixture | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"until": {str(share): epochs for share, epochs in self.until.items()}}

    def __str__(self) -> str:
        head = f"{'epochs':>7} {'tokens':>10} {'worth':>10} {'of fresh':>9} {'next epoch':>11}"
        with_loss = any(stage.loss is not None for stage in self.stages)
        lines = [f"{self.unique:.4g} unique tokens", head + f" {'loss':>8}" * with_loss]
        for each in self.stages:
            line = (
                f"{each.epochs:>7.4g} {each.tokens:>10.4g} {each.effective:>10.4g} {each.effective / each.tokens:>9.0%}"
            )
            lines.append(line + f" {each.next_epoch:>11.0%}" + ("" if each.loss is None else f" {each.loss:>8.4f}"))
        lines += [
            f"The next epoch gives less than {share:.0%} of fresh tokens after {epochs:.1f} epochs"
            for share, epochs in self.until.items()
        ]
        return "\n".join([*lines, *self._about_the_budget(), *self._about_the_mixture()])

    def _about_the_budget(self) -> list[str]:
        if self.optimum is None or self.without_limit is None:
            return []
        best, free = self.optimum, self.without_limit
        return [
            f"Budget of {self.flops:.4g} FLOPs (6 N D):",
            f"  with these tokens   N {best.params:.4g}, D {best.tokens:.4g} ({best.tokens / self.unique:.3g} epochs), "
            f"loss {best.loss:.4f}",
            f"  with fresh tokens   N {free.params:.4g}, D {free.tokens:.4g}, loss {free.loss:.4f}",
        ]

    def _about_the_mixture(self) -> list[str]:
        if self.mixture is None:
            return []
        of, alone = self.mixture, self.stages[-1]
        total = of.real + of.synthetic
        return [
            f"Best draw of {total:.4g} tokens: {of.real:.4g} real ({of.real / self.unique:.3g} epochs), "
            f"{of.synthetic:.4g} synthetic ({of.synthetic / total:.0%})",
            f"  worth {of.effective:.4g} fresh real tokens, where real ones alone are worth {alone.effective:.4g}",
        ]

    def draw(self) -> str:
        """Worth by tokens seen, beside what fresh tokens would be."""
        chart = Chart("What repeated tokens are worth", "epochs", "worth, in epochs of fresh tokens")
        last = self.stages[-1].epochs
        steps = [1 + (last - 1) * i / 100 for i in range(101)]
        effective = [MUENNIGHOFF.effective_tokens(epochs, 1.0) for epochs in steps]
        chart.lines.append(([(epochs, epochs) for epochs in steps if epochs <= max(effective)], "two less"))
        chart.lines.append((list(zip(steps, effective, strict=True)), "one"))
        chart.points.append(([(each.epochs, each.effective / self.unique) for each in self.stages], "one", 3))
        return chart.draw()

    def write(self, folder: str | Path) -> None:
        """data.json and data.svg."""
        write_json(Path(folder) / "data.json", self.as_dict())
        write_text(Path(folder) / "data.svg", self.draw())


def plan_data(
    unique: float,
    *,
    tokens: float | None = None,
    params: float | None = None,
    flops: float | None = None,
    synthetic: float | None = None,
    value: float | None = None,
) -> DataPlan:
    """`tokens` of training ends the table; `params` adds losses; `flops` asks for the best model; `synthetic` tokens,
    a fresh one worth `value` of a real one, are drawn beside real ones."""
    _check(
        {"unique": unique, "tokens": tokens, "params": params, "flops": flops, "synthetic": synthetic, "worth": value}
    )
    law = MUENNIGHOFF
    if (synthetic is None) != (value is None) or (synthetic is not None and tokens is None):
        raise RecipeError(
            "a mixture needs the synthetic tokens, what one is worth, and the tokens of training: give all."
        )
    if value is not None and value > 1:
        raise RecipeError(
            f"worth is {value:g}; a synthetic token counts as a share of a real one, above 0 and up to 1."
        )
    last = None if tokens is None else tokens / unique
    epochs = EPOCHS if last is None else (*(each for each in EPOCHS if each < last), last)
    return DataPlan(
        unique,
        tuple(_stage(law, unique, each, params) for each in epochs),
        {share: law.epochs_worth(share) for share in STILL},
        flops,
        None if flops is None else law.optimum(flops, unique),
        None if flops is None else law.law.optimum(flops),
        None if tokens is None or synthetic is None or value is None else mix(law, tokens, unique, synthetic, value),
    )


def _stage(law: RepeatedLaw, unique: float, epochs: float, params: float | None) -> Stage:
    tokens = epochs * unique
    loss = None if params is None else law.loss(params, tokens, unique)
    return Stage(epochs, tokens, law.effective_tokens(tokens, unique), law.next_epoch(epochs), loss)


def _check(numbers: dict[str, float | None]) -> None:
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise RecipeError(f"{name} is {value:g}; it takes a finite number above 0.")
