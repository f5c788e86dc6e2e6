"""A run goes on with another number of ranks, sharded or not, as if nothing had changed: same rows, same losses.

chain          steps 1-2       steps 3-4       steps 5-6
whole          2 ranks, DDP    4 ranks, DDP    1 process
shared, lora   2 ranks, FSDP   4 ranks, FSDP   1 process
mixed          1 process       2 ranks, FSDP   4 ranks, DDP
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curricle.runtime.files import read_json
from slow.children import Job, complete, lines, steps_told
from slow.ranks import RankJob, carry_out
from slow.test_ranks import assert_close_weights, job, launch

pytestmark = pytest.mark.slow

ROWS = 4
"""Micro batches of a step over all ranks."""
CHAINS = {"whole": "full", "shared": "full", "shared-lora": "lora", "mixed": "full"}
SHARDED = {("shared", 2), ("shared", 4), ("shared-lora", 2), ("shared-lora", 4), ("mixed", 2)}


def part(base: Path, chain: str, ranks: int, stop_after: int | None) -> RankJob:
    """One leg of a chain: on so many ranks, up to a step."""
    saves = {"save_strategy": "steps", "save_steps": 2, "weight_decay": 0.1}
    whole: Job = job(base / chain, CHAINS[chain], ROWS // ranks, **saves)
    return RankJob(whole, sharded=(chain, ranks) in SHARDED, stop_after=stop_after)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chains, each beside a run on one process that nothing broke."""
    base = tmp_path_factory.mktemp("ranks")
    for chain, kind in {"mixed": "full", "shared-lora": "lora"}.items():
        unbroken = part(base, chain, 1, None)
        complete(carry_out, replace(unbroken, job=replace(unbroken.job, folder=base / kind)), said=base / "log")
    complete(carry_out, part(base, "mixed", 1, 2), said=base / "log")
    three = ("whole", "shared", "shared-lora")
    code, said = launch(base, "two", [*(part(base, chain, 2, 2) for chain in three), part(base, "mixed", 2, 4)])
    assert code == 0, said
    last = part(base, "mixed", 4, None)
    code, said = launch(base, "four", [*(part(base, chain, 4, 4) for chain in three), last], ranks=4)
    assert code == 0, said
    for chain in three:
        complete(carry_out, part(base, chain, 1, None), said=base / "log")
    return base


@pytest.mark.parametrize("chain", CHAINS)
def test_losses_and_weights_are_those_of_the_unbroken_run(base: Path, chain: str) -> None:
    one, other = base / CHAINS[chain], base / chain
    assert lines(one / "consumed.jsonl") == lines(other / "consumed.jsonl")
    told, changed = steps_told(one), steps_told(other)
    assert len(told) == 6
    for row, row_changed in zip(told, changed, strict=True):
        assert row["loss"] == pytest.approx(row_changed["loss"], abs=5e-6)
        assert row["grad_norm"] == pytest.approx(row_changed["grad_norm"], abs=5e-6)
        assert row["learning_rate"] == row_changed["learning_rate"]
        assert row["tokens"] == row_changed["tokens"]
    assert_close_weights(one, other, 5e-6)


@pytest.mark.parametrize("chain", ["shared", "shared-lora"])
def test_shares_are_in_torchs_format_beside_whole_weights(base: Path, chain: str) -> None:
    folder = base / chain / "checkpoint-4"
    for shares in ("pytorch_model_fsdp_0", "optimizer_0"):
        assert (folder / shares / ".metadata").is_file()
        assert len(list((folder / shares).glob("__*_0.distcp"))) == 4
    assert list(folder.glob("*model.safetensors"))
    assert not list(folder.glob("optimizer.*"))


def test_dropout_draws_anew_on_other_ranks(base: Path) -> None:
    assert "written by 4, read by 1: the same rows go on, dropout draws anew" in (base / "log").read_text()


def test_each_rank_sees_the_parameters_it_should(base: Path) -> None:
    """What the last leg saw; the weights of the chain's sharded ranks were shares."""
    assert read_json(base / "mixed" / "seen-3.json")["parameters"] == ["Tensor"]
    assert read_json(base / "shared" / "seen-3.json")["parameters"] == ["DTensor"]
