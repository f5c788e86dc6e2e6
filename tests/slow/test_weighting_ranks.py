"""Choices, means and draws over all ranks are those of one process with as many rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from slow.children import complete, lines
from slow.test_ranks import assert_close_weights, torchrun
from slow.weighting_ranks import KINDS, carry_out

pytestmark = pytest.mark.slow

FIGURES = ("loss", "weight_correct", "weight_incorrect", "weight_selected", "excess_loss")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("weighting")
    for kind in KINDS:
        complete(carry_out, base / f"one-{kind}", kind, 1, said=base / "one.log")
    code, said = torchrun(base, str(Path(__file__).with_name("weighting_ranks.py")), str(base))
    assert code == 0, said
    return base


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_are_one_process(base: Path, kind: str) -> None:
    one, two = base / f"one-{kind}", base / f"two-{kind}"
    for alone, row in zip(lines(one / "metrics.jsonl"), lines(two / "metrics.jsonl"), strict=True):
        for name in FIGURES:
            assert (name in alone) == (name in row)
            if name in alone:
                assert row[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6), name
    assert_close_weights(one, two, atol=1e-5)


@pytest.mark.parametrize("kind", ["chosen", "lot"])
def test_exactly_the_share_of_all_ranks_is_chosen(base: Path, kind: str) -> None:
    for row in lines(base / f"two-{kind}" / "metrics.jsonl"):
        num = row["step_supervised_tokens"]
        assert round(row["weight_selected"] * num) == -(-6 * num // 10)
