"""A run killed at any moment and started again is the unbroken run: same losses, same examples, same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from curricle.runtime.files import read_json
from slow.children import (
    TIMINGS,
    Job,
    assert_same_run,
    command_line,
    complete,
    finish,
    lines,
    start,
    steps_told,
    train,
    wait_until,
)

pytestmark = pytest.mark.slow

STEPS = 12
KINDS = ["step", "folder", "file"]


def job(folder: Path, host: Any, packing: Any, accumulation: int, adapter: bool, **training: Any) -> Job:
    settings = {"max_steps": STEPS, "gradient_accumulation_steps": accumulation, "save_strategy": "steps"}
    return Job(folder, host, packing, adapter, training=settings | training)


@pytest.mark.parametrize(
    ("host", "packing", "accumulation", "adapter", "saves"),
    [
        ("hf", "ordered", 1, False, {"save_steps": 1, "save_total_limit": 1}),
        ("hf", "none", 2, True, {"save_steps": 2}),
        ("trl", "ordered", 2, True, {"save_steps": 1, "save_total_limit": 1}),
        ("trl", "none", 1, False, {"save_steps": 2, "save_total_limit": 2}),
    ],
)
def test_killed_at_random_moments_and_resumed_it_is_the_unbroken_run(
    tmp_path: Path, host: str, packing: str, accumulation: int, adapter: bool, saves: dict[str, int]
) -> None:
    whole = job(tmp_path / "whole", host, packing, accumulation, adapter, **saves)
    complete(train, whole, said=tmp_path / "whole.log")
    broken, said = replace(whole, folder=tmp_path / "broken"), tmp_path / "broken.log"
    rng = random.Random(f"{host} {packing}")
    for number, kind in enumerate(rng.sample(KINDS, 3)):
        first = 2 + 3 * number
        kill(broken, said, moment(broken.folder, kind, first, saves["save_steps"], rng))
    complete(train, broken, said=said)
    assert_same_run(whole.folder, broken.folder)


def kill(job: Job, said: Path, wait: Callable[[Callable[[], bool]], None]) -> None:
    child = start(train, job, said=said)
    wait(child.is_alive)
    child.kill()
    assert finish(child, said) == -signal.SIGKILL, f"not killed:\n{said.read_text()[-3000:]}"


def moment(folder: Path, kind: str, first: int, every: int, rng: random.Random) -> Callable[[Callable[[], bool]], None]:
    """A way to wait for a random moment near step `first`: between two log lines, or inside a save."""
    step = rng.randint(first, first + 2)
    place, delay = folder / f"checkpoint-{-(-step // every) * every}", rng.random()
    file = rng.choice(["*model.safetensors", "optimizer.pt", "rng_state.pth"])

    def wait(alive: Callable[[], bool]) -> None:
        log = folder / "metrics.jsonl"
        if kind == "step":
            assert wait_until(lambda: len(lines(log)) >= step, alive)
            time.sleep(delay * lines(log)[-1]["seconds"])
        elif kind == "folder":
            assert wait_until(place.exists, alive)
            time.sleep(0.01 * delay)
        else:
            assert wait_until(lambda: any(place.glob(file)), alive)

    return wait


# ---- a kill before each touch of the disk -------------------------------------------------------------

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def until_touch(work: Callable[[], None], watched: Path, stop_at: int | None) -> None:
    """Work, and kill this very process right before its `stop_at`-th touch of a folder; with None, list them."""
    touches: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or not isinstance(args[0], str | os.PathLike):
            return
        path = os.path.abspath(args[0])
        if path.startswith(f"{watched}/") and changes(event, path, args):
            touches.append(f"{event} {Path(args[0]).name}")
            if len(touches) - 1 == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        work()
    finally:
        (watched / "touches").write_text("\n".join(touches))


def train_until_touch(job: Job, stop_at: int | None) -> None:
    until_touch(partial(train, job), job.folder, stop_at)


def changes(event: str, path: str, args: tuple[Any, ...]) -> bool:
    """Whether an event of the interpreter is about to change what is on the disk."""
    if event == "open":
        return bool(args[2] & (os.O_WRONLY | os.O_RDWR))
    return os.path.exists(path) != (event == "os.mkdir")


@pytest.fixture(scope="module")
def at_step_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A run that stands at its second step, the same run to its end, and every touch of the disk between the two."""
    base = tmp_path_factory.mktemp("touches")
    half = short(base / "half", max_steps=2, lr_scheduler_type="constant")
    complete(train, half, said=base / "half.log")
    shutil.copytree(half.folder, base / "whole")
    complete(train_until_touch, short(base / "whole"), None, said=base / "whole.log")
    return base / "half", base / "whole", (base / "whole" / "touches").read_text().splitlines()


def short(folder: Path, **training: Any) -> Job:
    settings = {"max_steps": 3, "save_steps": 1, "save_total_limit": 1, "lr_scheduler_type": "constant"}
    return job(folder, "hf", "ordered", 2, False, **(settings | training))


def test_a_save_may_be_cut_before_any_of_its_files(tmp_path: Path, at_step_two: Any) -> None:
    half, whole, touches = at_step_two
    assert {"os.mkdir checkpoint-3", "open config.json", "open trainer_state.json"} <= set(touches)
    for number, touch in enumerate(touches):
        folder, said = tmp_path / str(number), tmp_path / f"{number}.log"
        shutil.copytree(half, folder)
        child = start(train_until_touch, short(folder), number, said=said)
        assert finish(child, said) == -signal.SIGKILL, touch
        complete(train, short(folder), said=said)
        assert_same_run(whole, folder)
        shutil.rmtree(folder)


# ---- the whole command, once its last step is done ---------------------------------------------------------------

RECIPE = """
name: cut
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#20", eval: "toy:dialogue-eval#4", format: dialogue, max_length: 512}
training: {max_steps: 8, per_device_train_batch_size: 2, learning_rate: 0.5, eval_steps: 1}
selection: {metric: loss, patience: 1, min_delta: 1000}
evaluation: [{metric: loss}]
"""
RUN = Path("runs/cut/base/seed-42")


def command_until_touch(folder: Path, stop_at: int | None) -> None:
    until_touch(partial(command_line, folder, "run", "recipe.yaml"), folder / "runs", stop_at)


def test_a_command_may_be_cut_anywhere_after_its_early_stop(tmp_path: Path) -> None:
    whole, half, said = tmp_path / "whole", tmp_path / "half", tmp_path / "log"
    whole.mkdir()
    (whole / "recipe.yaml").write_text(RECIPE)
    complete(command_line, whole, "run", "recipe.yaml", said=said)
    shutil.copytree(whole, half)
    for made_last in ("base/seed-42/model", "base/seed-42/results.json", "comparison.json"):
        path = half / "runs/cut" / made_last
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(half, tmp_path / "listed")
    complete(command_until_touch, tmp_path / "listed", None, said=said)
    touches = (tmp_path / "listed" / "runs" / "touches").read_text().splitlines()
    assert any("results.json" in touch for touch in touches)
    for number in range(touches.index("os.mkdir .model.partial"), len(touches)):
        folder, touch = tmp_path / str(number), touches[number]
        shutil.copytree(half, folder)
        child = start(command_until_touch, folder, number, said=said)
        assert finish(child, said) == -signal.SIGKILL, touch
        complete(command_line, folder, "run", "recipe.yaml", said=said)
        assert_same_results(folder / RUN, whole / RUN)
        shutil.rmtree(folder)


def assert_same_results(run: Path, other: Path) -> None:
    assert steps_told(run) == steps_told(other)
    assert lines(run / "heldout.jsonl") == lines(other / "heldout.jsonl")
    mine, theirs = (read_json(folder / "results.json") for folder in (run, other))
    assert {k: v for k, v in mine.items() if k not in TIMINGS} == {k: v for k, v in theirs.items() if k not in TIMINGS}
    assert (run / "model/model.safetensors").read_bytes() == (other / "model/model.safetensors").read_bytes()
    assert not (run / ".model.partial").exists()
