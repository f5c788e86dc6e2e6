"""`recipes/dem/toy.yaml` from the command line: experts to report, killed in the middle and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHAPE = "{vocab_size: 400, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2}"
SMALL = [
    *("model.name_or_path=nano:llama", f"model.shape={SHAPE}", "model.adapter.lora_r=4"),
    *("training.max_steps=6", "training.per_device_train_batch_size=2", "training.save_strategy=steps"),
    *("training.save_steps=2", "training.use_cpu=true", "experts.merge.search.budget=9"),
    *(f"experts.domains.{name}=toy:domain-{name}#60" for name in ("minutes", "korean", "records", "code", "sums")),
    *("experts.held_out=0.4", "generation.num_examples=4", "experts.merge.num_prompts=2"),
]
EXPERTS = ("minutes", "korean", "records", "code", "sums")

pytestmark = pytest.mark.slow


def command(*more: str) -> list[str]:
    sets = [part for one in SMALL for part in ("--set", one)]
    return [sys.executable, "-m", "curricle", "run", str(ROOT / "recipes" / "dem" / "toy.yaml"), *sets, *more]


def go(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command(*more), cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def figures(folder: Path) -> dict[str, object]:
    runs = sorted((folder / "runs" / "dem-toy").glob("*/seed-0/results.json"))
    found = {path.parent.parent.name: json.loads(path.read_text()) for path in runs}
    return {name: (one["metrics"], one.get("weights")) for name, one in found.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    said = go(folder).stdout
    assert "merged" in said
    assert "report:" in said
    return folder


def test_every_output_that_the_source_names_is_there(whole: Path) -> None:
    run = whole / "runs" / "dem-toy"
    beside = run / "experts" / "seed-0"
    for name in EXPERTS:
        for file in (
            f"checkpoints/lora_{name}/adapter_model.safetensors",
            f"logs/train_{name}.log",
            f"summary/train_{name}.csv",
            f"diff_vectors/diff_{name}.npy",
            f"diff_stats/diff_{name}_summary.json",
        ):
            assert (beside / file).is_file(), file
    assert (beside / "merged_model" / "model.safetensors").is_file()
    assert (beside / "results" / "eval_prompt_comparison.md").is_file()
    assert (run / "results" / "metric_summary.csv").is_file()
    assert (run / "merged" / "seed-0" / "search" / "surface.svg").is_file()
    assert (run / "report.html").is_file()


def test_a_finished_experiment_is_not_done_again(whole: Path) -> None:
    before = figures(whole)
    assert "finished before" in go(whole).stderr
    assert figures(whole) == before


def test_killed_and_gone_on_with(whole: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as handle:
        process = subprocess.Popen(command(), cwd=tmp_path, env=env, stdout=handle, stderr=handle)
        waited = time.monotonic() + 600
        while "merged/seed-0: merging" not in log.read_text() and time.monotonic() < waited:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "runs" / "dem-toy" / "merged" / "seed-0" / "results.json").exists()
    go(tmp_path)
    assert figures(tmp_path) == figures(whole)


def test_two_processes_merge_the_same_experts(tmp_path: Path) -> None:
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    asked = [*ranks, *command("--arms", "merged")[1:]]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(asked, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "runs" / "dem-toy"
    weights = json.loads((run / "merged" / "seed-0" / "search" / "weights.json").read_text())["weights"]
    assert json.loads((run / "merged" / "seed-0" / "results.json").read_text())["weights"] == weights
    assert (run / "experts" / "seed-0" / "merged_model" / "model.safetensors").is_file()
