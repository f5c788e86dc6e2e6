"""Drawing follows the probabilities, cut where asked, and each row has a stream of its own."""

from __future__ import annotations

import pytest
import torch

from curricle.generation.choice import Choice, Row
from curricle.generation.config import GenerationConfig

SHARES = torch.tensor([0.05, 0.5, 0.15, 0.3])


def drawn(num: int = 4000, **settings: float) -> torch.Tensor:
    """How often each of four tokens is drawn."""
    choice = Choice(GenerationConfig(**settings))
    rows = [Row(i, [0], 1, f"row {i}") for i in range(num)]
    return torch.bincount(choice(SHARES.log().expand(num, 4), rows), minlength=4) / num


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"temperature": 1.0}, [0.05, 0.5, 0.15, 0.3]),
        ({"temperature": 0.5}, [0.0025 / 0.365, 0.25 / 0.365, 0.0225 / 0.365, 0.09 / 0.365]),
        ({"temperature": 1.0, "top_k": 2}, [0, 0.625, 0, 0.375]),
        ({"temperature": 1.0, "top_p": 0.7}, [0, 0.625, 0, 0.375]),
        ({"temperature": 1.0, "top_p": 0.81}, [0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95]),
        ({"temperature": 1.0, "top_p": 0.01}, [0, 1, 0, 0]),
        ({"temperature": 0.0}, [0, 1, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(settings: dict[str, float], wanted: list[float]) -> None:
    found, asked = drawn(**settings), torch.tensor(wanted)
    assert ((found == 0) == (asked == 0)).all()
    assert (found - asked).abs().max() < 4 * (0.25 / 4000) ** 0.5


def test_a_row_draws_the_same_whoever_is_beside_it() -> None:
    choice = Choice(GenerationConfig(temperature=1.0), seed=5)
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    together = choice(logits, [Row(i, [0], 1, f"row {i}") for i in range(6)])
    alone = [choice(logits[i : i + 1], [Row(0, [0], 1, f"row {i}")]) for i in range(6)]
    assert together.tolist() == [int(one) for one in alone]
    other_seed = Choice(GenerationConfig(temperature=1.0), seed=6)
    assert together.tolist() != other_seed(logits, [Row(i, [0], 1, f"row {i}") for i in range(6)]).tolist()
