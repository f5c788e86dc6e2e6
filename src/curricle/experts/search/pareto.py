"""Where domains conflict: the evaluations that no other one beats in every domain, and what each gain costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .evaluations import Evaluation

NOTABLE = 5e-4
"""Nats a token; of smaller gains and costs nothing is said."""


def front(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations of which no other is at least as good in every domain and better in one; of equal ones the first."""
    kept = []
    for i, one in enumerate(evaluations):
        if not any(_beats(other, one, j < i) for j, other in enumerate(evaluations) if j != i):
            kept.append(one)
    return kept


def _beats(other: Evaluation, one: Evaluation, earlier: bool) -> bool:
    pairs = [(other.losses[name], one.losses[name]) for name in one.losses]
    if any(theirs > ours for theirs, ours in pairs):
        return False
    return earlier or any(theirs < ours for theirs, ours in pairs)


def costs(best: Evaluation, on_front: Sequence[Evaluation]) -> list[str]:
    """In words: what the weights that are best for one domain would cost the others, seen from the chosen ones."""
    lines = []
    for domain in best.losses:
        other = min(on_front, key=lambda one: one.losses[domain])
        gain = best.losses[domain] - other.losses[domain]
        lost = {name: other.losses[name] - best.losses[name] for name in best.losses if name != domain}
        lost = {name: more for name, more in lost.items() if more >= NOTABLE}
        if gain < NOTABLE or not lost:
            continue
        moved = max(best.weights, key=lambda name: abs(other.weights[name] - best.weights[name]))
        before, after = best.weights[moved], other.weights[moved]
        verb = "raising" if after > before else "lowering"
        others = " and ".join(f"{name} {more:.4f}" for name, more in sorted(lost.items(), key=lambda pair: -pair[1]))
        step = f"{verb} {moved} from {before:.2f} to {after:.2f}"
        others_move = any(
            abs(other.weights[name] - best.weights[name]) > 5e-3 for name in best.weights if name != moved
        )
        step += ", the other weights with it," if others_move else ""
        lines.append(f"{step} gains {domain} {gain:.4f} nats a token and costs {others}")
    return lines


def as_dict(on_front: Sequence[Evaluation], in_words: Sequence[str]) -> dict[str, Any]:
    points = [{"weights": one.weights, "losses": one.losses, "score": one.score} for one in on_front]
    return {"points": points, "in_words": list(in_words)}
