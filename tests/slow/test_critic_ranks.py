"""A critic on two ranks, whole and sharded: the value loss, the figures and the head of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.models.value_head import saved_kind
from curricle.runtime.files import read_json
from slow.children import complete, steps_told
from slow.critic_ranks import CRITICS, WHOLE, carry_out
from slow.test_ranks import assert_close_weights, torchrun

pytestmark = pytest.mark.slow

RUNS = [*(f"two-{kind}" for kind in WHOLE), *(f"fsdp-{kind}" for kind in CRITICS)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("critic")
    for kind in CRITICS:
        complete(carry_out, base / f"one-{kind}", kind, False, 4, said=base / "one.log")
    code, said = torchrun(base, str(Path(__file__).with_name("critic_ranks.py")), str(base))
    assert code == 0, said
    return base


@pytest.mark.parametrize("run", RUNS)
def test_two_ranks_are_one_process(base: Path, run: str) -> None:
    way, kind = run.split("-", 1)
    one, other = base / f"one-{kind}", base / run
    for alone, row in zip(steps_told(one), steps_told(other), strict=True):
        for name in ("loss", "value_loss", "value_mean", "explained_variance", "value_clipped"):
            assert row.get(name) == pytest.approx(alone.get(name), abs=2e-5), name
        assert row["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    assert_close_weights(one, other, 5e-5)
    assert saved_kind(other / "final") == "linear"
    expected = read_json(one / "seen-0.json")["evaluation"]
    for rank in range(2):
        seen = read_json(other / f"seen-{rank}.json")
        assert ("FSDP" in seen["wrapped"]) == (way == "fsdp")
        assert set(seen["head"].values()) == {"DTensor" if way == "fsdp" else "Tensor"}
        for name in ("eval_explained_variance", "eval_value_auc", "eval_value_ece", "eval_trunk_drift"):
            assert seen["evaluation"].get(name) == pytest.approx(expected.get(name), abs=1e-4), name
