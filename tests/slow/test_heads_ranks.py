"""Several heads on two ranks, whole and sharded: the losses, gradients and weights of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.runtime.files import read_json
from slow.children import complete, steps_told
from slow.heads_ranks import carry_out
from slow.test_ranks import assert_close_weights, torchrun

pytestmark = pytest.mark.slow

TWO = ("full", "lora", "sequential", "padded")
SHARDED = ("full", "lora", "sequential", "untied", "again")
RUNS = [*(f"two-{kind}" for kind in TWO), *(f"fsdp-{kind}" for kind in SHARDED)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("heads")
    for kind in (*TWO, "untied"):
        complete(carry_out, base / f"one-{kind}", kind, False, 4, said=base / "one.log")
    code, said = torchrun(base, str(Path(__file__).with_name("heads_ranks.py")), str(base))
    assert code == 0, said
    return base


@pytest.mark.parametrize("run", RUNS)
def test_two_ranks_are_one_process(base: Path, run: str) -> None:
    way, kind = run.split("-")
    one, other = base / f"one-{'full' if kind == 'again' else kind}", base / run
    for alone, row in zip(steps_told(one), steps_told(other), strict=True):
        for name in ("loss", "loss_head_2", "loss_head_3"):
            assert row[name] == pytest.approx(alone[name], abs=5e-6)
        assert row["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-4)
        assert row["step_supervised_tokens"] == alone["step_supervised_tokens"]
    assert_close_weights(one, other, 2e-5)
    expected = read_json(one / "seen-0.json")["evaluation"]
    for rank in range(2):
        seen = read_json(other / f"seen-{rank}.json")
        assert ("FSDP" in seen["wrapped"]) == (seen["parameters"] == ["DTensor"]) == (way == "fsdp")
        found = {name: value for name, value in seen["evaluation"].items() if "loss" in name}
        assert {"eval_loss", "eval_loss_head_2", "eval_loss_head_3"} <= found.keys()
        assert found == pytest.approx({name: expected[name] for name in found}, rel=2e-5)
