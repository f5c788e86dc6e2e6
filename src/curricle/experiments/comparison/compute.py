"""What an arm cost. Training by formula, a token at a time (docs/comparison.md has the derivation):

    M  weights without the embedding and the output head      forward 2 M, gradients of activations 2 M,
    M' those of them that learn                               gradients of weights 2 M'
    H V  the output head, at answer tokens only               4 H V, and 2 H V more where it learns; for each head
    attention in a document of T tokens                       12 L H T, halved, as nothing looks ahead
    in its place, Mamba's recurrence over E x N numbers       9 E N a layer forward, 5 E N in Mamba-2; twice more back

so a full training is the usual 6 M a token, and LoRA on a frozen base about 4 M. Heads that no step runs are no part of
M. Where only a critic learns, nothing goes backward above its head, nor below it where the trunk is frozen. A
recomputation that spares memory is no work of the model and is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .facts import ArmFacts, RunFacts
from .shape import Compute

UNEQUAL = 0.01
"""Arms whose tokens or steps differ by more than this share did not get the same."""


def train_flops(results: dict[str, Any]) -> float | None:
    """Of a whole run; None when it does not say how large its model is."""
    tokens, answers = results.get("tokens") or 0, results.get("supervised_tokens") or 0
    if not tokens:
        return 0.0
    size = results.get("model")
    if not size:
        return None
    train = (results.get("data") or {}).get("train") or {}
    return float(tokens * _body(size, _length(train)) + answers * _heads(size))


def _body(size: dict[str, Any], length: float) -> float:
    """A token's way through the layers. Books of before it was kept what learns and what runs: through all of them, and
    the whole model learns or an adapter does."""
    body = size["num_parameters"] - size["num_embedding"] - size.get("num_idle", 0)
    learning = size.get("num_trainable_body", body if _whole(size) else min(size["num_trainable"], body))
    ways = 1 if size.get("backward_from") == "nowhere" else 2
    layers = size["num_layers"] + size.get("num_heads", 1) - 1  # each further head has one of its own
    mixing = size.get("recurrence")  # of a token in a layer, forward; None where there is attention
    if mixing is None:
        mixing = 2 * size["hidden"] * length
    return float(2 * ways * body + 2 * learning + (1 if ways == 1 else 3) * layers * mixing)


def _heads(size: dict[str, Any]) -> float:
    """An answer token's way through the output head, once for each head whose losses are taken."""
    backward = 2 + 2 * size.get("head_learns", _whole(size)) if size.get("backward_from", "head") == "head" else 0
    return float(size.get("num_heads", 1) * size["hidden"] * size["vocab"] * (2 + backward))


def _whole(size: dict[str, Any]) -> bool:
    return bool(size["num_trainable"] >= size["num_parameters"])


def _length(train: dict[str, Any]) -> float:
    """The length of the document that a token lies in, on average: E[T^2] / E[T], as a long one has more tokens. Books
    of before the squares were kept have the mean length of a document, which is less."""
    if train.get("squared_lengths"):
        return float(train["squared_lengths"] / train["tokens"])
    return float(train["tokens"] / train["examples"]) if train.get("examples") else 0.0


def arm_compute(arm: ArmFacts) -> Compute:
    """Means over the arm's seeds."""
    runs = [run.results for run in arm.runs.values()]
    flops = [train_flops(run) for run in runs]
    return Compute(
        arm=arm.name,
        steps=_mean(runs, "steps"),
        tokens=_mean(runs, "tokens"),
        supervised_tokens=_mean(runs, "supervised_tokens"),
        epochs=_mean(runs, "epochs"),
        repeats=_mean(runs, "repeats"),
        train_flops=None if None in flops else float(np.mean([each for each in flops if each is not None])),
        label_flops=_mean(runs, "label_flops"),
        seconds=_mean(runs, "seconds"),
        tokens_per_second=float(np.mean([tokens_per_second(run) for run in arm.runs.values()])),
        peak_memory_bytes=_mean(runs, "peak_memory_bytes"),
    )


def tokens_per_second(run: RunFacts) -> float:
    """Over the steps alone: loading, evaluations and saving are not in it."""
    seconds = sum(row["seconds"] for row in run.steps)
    return (run.results.get("tokens") or 0) / seconds if seconds else 0.0


def unequal(arms: Sequence[Compute], base: str, experts: Sequence[str] = ()) -> list[str]:
    """A line for each arm that was not trained on as many tokens, or for as many steps, as the base arm; for `experts`,
    which `of_experts` speaks of, none."""
    [reference] = [each for each in arms if each.arm == base]
    lines = []
    for each in arms:
        for what in ("tokens", "steps"):
            own, other = getattr(each, what), getattr(reference, what)
            if each.arm not in experts and _differ(own, other):
                lines.append(
                    f"{each.arm} was trained on {own:,.0f} {what} and {base} on {other:,.0f} "
                    f"({(own - other) / other:+.0%}): what differs may be due to that"
                    if what == "tokens"
                    else f"{each.arm} took {own:,.0f} steps and {base} {other:,.0f} ({(own - other) / other:+.0%})"
                )
    return lines


def _differ(own: float, other: float) -> bool:
    return bool(own and other) and abs(own - other) > UNEQUAL * other


def experts_of(arms: Sequence[ArmFacts], base: ArmFacts) -> list[ArmFacts]:
    """The arms whose models some arm merges; one that the others are compared with is an arm like others."""
    merged = {
        _folder(arm).parent / name for arm in arms for name in (arm.settings.get("merge") or {}).get("arms") or []
    }
    return [arm for arm in arms if arm is not base and _folder(arm) in merged]


def _folder(arm: ArmFacts) -> Path:
    return next(iter(arm.runs.values())).folder.parent


def of_experts(experts: Sequence[ArmFacts], base: ArmFacts) -> list[str]:
    """One line for all experts: less training than the base arm had is what they are made of."""
    reference = arm_compute(base)
    costs = [cost for arm in experts if (cost := arm_compute(arm)).tokens and reference.tokens]
    if not any(_differ(cost.tokens, reference.tokens) or _differ(cost.steps, reference.steps) for cost in costs):
        return []
    names = [cost.arm for cost in costs]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    are, each = ("are experts", "each") if len(names) > 1 else ("is an expert", "it")
    shares = [f"{100 * cost.tokens / reference.tokens:.0f}" for cost in costs]
    ends = list(dict.fromkeys([min(shares, key=float), max(shares, key=float)]))
    rows = [(arm.settings.get("data") or {}).get("train") for arm in [base, *experts]]
    own = " on its own domain," if all(one not in rows[:i] for i, one in enumerate(rows)) else ""
    return [f"{listed} {are}: {each} was trained{own} on {' to '.join(ends)} % of {base.name}'s tokens"]


def _mean(runs: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.mean([run.get(name) or 0 for run in runs]))
