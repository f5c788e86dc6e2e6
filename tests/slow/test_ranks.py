"""Several ranks are one rank with more rows: same rows, same losses, same weights; with DDP and with FSDP2.

Two launches of torchrun carry all jobs; the tests look at what they left.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.runtime.files import read_json, write_json
from slow.children import PATIENCE, Job, assert_same_run, complete, lines, steps_told, weights
from slow.ranks import RankJob, carry_out

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, Any]] = {
    "full": {"host": "hf", "packing": "ordered", "adapter": False},
    "lora": {"host": "trl", "packing": "ordered", "adapter": True},
    "padded": {"host": "hf", "packing": "none", "adapter": False},
}
ACCUMULATION = {"full": 1, "lora": 2, "padded": 1}
"""Of the two ranks; one process has twice as much."""
STEPS, STOP = 6, 4


def job(folder: Path, kind: str, accumulation: int, dropout: float = 0.0, **training: Any) -> Job:
    settings = {"max_steps": STEPS, "gradient_accumulation_steps": accumulation, "learning_rate": 1e-3}
    return Job(folder, **KINDS[kind], dropout=dropout, training=settings | training)


def torchrun(folder: Path, *command: str, ranks: int = 2) -> tuple[int, str]:
    """Run on several ranks; the exit code and all that was said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *command]
    done = subprocess.run(start, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def launch(folder: Path, name: str, jobs: list[RankJob], ranks: int = 2) -> tuple[int, str]:
    write_json(folder / f"{name}.json", [job.dump() for job in jobs])
    return torchrun(folder, str(Path(__file__).with_name("ranks.py")), str(folder / f"{name}.json"), ranks=ranks)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs: `one-<kind>` on one process, `two-<kind>` on two ranks, `fsdp-<kind>` sharded; some of them broken."""
    base = tmp_path_factory.mktemp("ranks")
    saves = {"save_strategy": "steps", "save_steps": 2}
    for kind in KINDS:
        complete(carry_out, RankJob(job(base / f"one-{kind}", kind, 2 * ACCUMULATION[kind])), said=base / "one.log")
    plain = [RankJob(job(base / f"two-{kind}", kind, ACCUMULATION[kind], report_to="tensorboard")) for kind in KINDS]
    whole = RankJob(job(base / "whole", "lora", 2, dropout=0.1, **saves))
    killed = RankJob(replace(whole.job, folder=base / "broken"), kill_in=STOP)
    code, said = launch(base, "first", [*plain, whole, killed])
    assert code != 0, said
    assert (base / "broken" / f"checkpoint-{STOP - 2}").is_dir(), said
    assert not (base / "broken" / f"checkpoint-{STOP}").exists(), said
    resumed = replace(killed, kill_in=None)
    sharded = [
        RankJob(job(base / f"fsdp-{kind}", kind, ACCUMULATION[kind], **saves), sharded=True)
        for kind in ("full", "lora")
    ]
    again = RankJob(job(base / "fsdp-again", "full", ACCUMULATION["full"]), sharded=True, recomputes=True)
    stopped = [replace(task, job=replace(task.job, folder=base / f"broken-{task.job.folder.name}")) for task in sharded]
    broken = [replace(task, stop_after=STOP - 1) for task in stopped]
    code, said = launch(base, "second", [resumed, *sharded, again, *broken, *stopped])
    assert code == 0, said
    return base


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_are_one_process_with_twice_the_accumulation(base: Path, kind: str) -> None:
    """Bit for bit where the gradients are added in the same order, which is where each rank has one micro batch."""
    one, two, exact = base / f"one-{kind}", base / f"two-{kind}", ACCUMULATION[kind] == 1
    assert lines(one / "consumed.jsonl") == lines(two / "consumed.jsonl")
    for row, other in zip(steps_told(one), steps_told(two), strict=True):
        assert row.pop("loss") == pytest.approx(other.pop("loss"), abs=5e-7)
        assert row.pop("domain_loss") == pytest.approx(other.pop("domain_loss"), abs=5e-7)
        assert row.pop("grad_norm") == pytest.approx(other.pop("grad_norm"), abs=0 if exact else 5e-7)
        for name in ("layer_grad_norm", "layer_moved") if kind == "lora" else ("layer_grad_norm",):
            assert row.pop(name) == pytest.approx(other.pop(name), abs=5e-7)
        assert row == other
    assert_close_weights(one, two, 0 if exact else 1e-6)


def assert_close_weights(folder: Path, other: Path, atol: float) -> None:
    mine, theirs = load_file(weights(folder)), load_file(weights(other))
    # A sharded save writes a tied head beside the embedding it is tied to.
    assert mine.keys() | {"lm_head.weight"} == theirs.keys() | {"lm_head.weight"}
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], atol=atol, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rank_draws_the_same_order_and_takes_its_own_part(base: Path, kind: str) -> None:
    first, second = (read_json(base / f"two-{kind}" / f"seen-{rank}.json") for rank in range(2))
    assert first["wrapped"] == "DistributedDataParallel"
    assert first["order"] == second["order"] == [row["rows"] for row in lines(base / f"two-{kind}" / "consumed.jsonl")]
    assert first["losses"] == second["losses"]
    for step, mine, theirs in zip(first["order"], first["own"], second["own"], strict=True):
        dealt = [step[start : start + 2] for start in range(0, len(step), 2)]
        assert mine == [example for micro in dealt[::2] for row in micro for example in row]
        assert theirs == [example for micro in dealt[1::2] for row in micro for example in row]


@pytest.mark.parametrize("kind", KINDS)
def test_the_held_out_loss_is_that_of_one_process(base: Path, kind: str) -> None:
    alone = read_json(base / f"one-{kind}" / "seen-0.json")["evaluation"]
    for rank in range(2):
        assert read_json(base / f"two-{kind}" / f"seen-{rank}.json")["evaluation"] == pytest.approx(alone, rel=5e-7)


def test_a_rank_killed_between_two_micro_batches_and_resumed_is_the_unbroken_run(base: Path) -> None:
    assert_same_run(base / "whole", base / "broken")


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_sharded_ranks_are_one_process(base: Path, kind: str) -> None:
    one, sharded = base / f"one-{kind}", base / f"fsdp-{kind}"
    seen = read_json(sharded / "seen-0.json")
    assert "FSDP" in seen["wrapped"]
    assert seen["parameters"] == ["DTensor"]
    assert lines(one / "consumed.jsonl") == lines(sharded / "consumed.jsonl")
    for row, other in zip(steps_told(one), steps_told(sharded), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=5e-6)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], abs=5e-6)
    assert_close_weights(one, sharded, 5e-6)
    alone, evaluation = (read_json(folder / "seen-0.json")["evaluation"] for folder in (one, sharded))
    assert evaluation == pytest.approx(alone, rel=5e-6)


def test_activations_computed_again_change_nothing(base: Path) -> None:
    assert [row["loss"] for row in steps_told(base / "fsdp-full")] == pytest.approx(
        [row["loss"] for row in steps_told(base / "fsdp-again")], abs=1e-6
    )
    assert_close_weights(base / "one-full", base / "fsdp-again", 5e-6)
    recomputes = [read_json(base / f"fsdp-{name}" / "seen-0.json")["recomputes"] for name in ("full", "again")]
    assert recomputes == [False, True]


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_sharded_run_goes_on_from_its_checkpoint_bit_for_bit(base: Path, kind: str) -> None:
    assert_same_run(base / f"fsdp-{kind}", base / f"broken-fsdp-{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_first_rank_reports(base: Path, kind: str) -> None:
    """A file's name ends in the process and a number; the first rank makes two, the second after the run's own end."""
    files = list((base / f"two-{kind}").rglob("events.out.tfevents.*"))
    assert files
    assert len({file.suffixes[-2] for file in files}) == 1


RECIPE = """
name: sharded
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#20", format: dialogue, max_length: 512}
training: {max_steps: 2, per_device_train_batch_size: 2, use_cpu: true}
distributed: {fsdp: {}}
"""


def test_sharding_that_a_cpu_would_not_get_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, said = torchrun(tmp_path, "-m", "curricle", "train", "recipe.yaml")
    assert code != 0
    refusals = [line for line in said.splitlines() if line.startswith("error (rank ")]
    assert 1 <= len(refusals) <= 2, said
    assert all("fsdp was asked for" in line for line in refusals), said
    assert str(Path(curricle.__file__).parent) not in said, "a traceback of ours"
    assert "exitcode  : 2" in said
    assert not list(tmp_path.rglob("model"))


ADAPTED = """
name: adapted
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}, adapter: {lora_r: 4}}
data: {train: "toy:dialogue#20", eval: "toy:dialogue#4", format: dialogue, max_length: 512}
training: {max_steps: 2, per_device_train_batch_size: 2, use_cpu: true}
distributed: {enabled: true}
evaluation: [{metric: loss}]
"""


def test_an_adapter_on_a_model_made_on_the_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried first, then run: all ranks take the base and the tokenizer that one of them wrote."""
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text(ADAPTED)
    code, said = torchrun(tmp_path, "-m", "curricle", "run", "recipe.yaml", "--smoke")
    assert code == 0, said
    assert said.count("every part of adapted ran once") == 1
    assert not (tmp_path / "runs").exists()
    code, said = torchrun(tmp_path, "-m", "curricle", "run", "recipe.yaml")
    assert code == 0, said
    folder = tmp_path / "runs/adapted/base/seed-42"
    assert (folder / "base/model.safetensors").is_file()
    assert (folder / "model/adapter_model.safetensors").is_file()
    assert read_json(folder / "results.json")["metrics"]["loss"] > 0
