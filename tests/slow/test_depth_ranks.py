"""Closed layers and gated documents on two ranks, whole and sharded: as on one, and nothing closed moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.runtime.files import read_json
from slow.children import complete, lines
from slow.depth_ranks import STEPS, carry_out
from slow.test_ranks import assert_close_weights, torchrun

pytestmark = pytest.mark.slow

KINDS = ("full", "lora", "specific")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("depth")
    for kind in KINDS:
        complete(carry_out, base / f"one-{kind}", kind, False, 2, said=base / "one.log")
    code, said = torchrun(base, str(Path(__file__).with_name("depth_ranks.py")), str(base))
    assert code == 0, said
    return base


@pytest.mark.parametrize("way", ["one", "two", "fsdp"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_closed_moves_on_any_rank(base: Path, kind: str, way: str) -> None:
    half = STEPS // 2
    expected = [[True, False]] * half + ([[True, True]] if kind == "specific" else [[False, True]]) * half
    for rank in range(1 if way == "one" else 2):
        seen = read_json(base / f"{way}-{kind}" / f"moves-{rank}.json")
        assert seen["moves"] == expected
        assert {"one": "", "two": "DistributedDataParallel", "fsdp": "FSDP"}[way] in seen["wrapped"]


@pytest.mark.parametrize("way", ["two", "fsdp"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_are_one_process(base: Path, kind: str, way: str) -> None:
    one, other = base / f"one-{kind}", base / f"{way}-{kind}"
    for alone, row in zip(lines(one / "metrics.jsonl"), lines(other / "metrics.jsonl"), strict=True):
        assert alone["open_layers"] == row["open_layers"]
        assert alone.get("layer_admitted") == row.get("layer_admitted")
        for name in ("layer_grad_norm", "layer_moved"):
            assert row.get(name) == (pytest.approx(alone[name], abs=5e-6) if name in alone else None)
    assert_close_weights(one, other, 0 if way == "two" else 5e-6)
