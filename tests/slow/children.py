"""Training runs in processes of their own, to be killed, starved of memory or of disk.

Every process is forked from one server that has imported the heavy libraries already, so that a test can afford many:
starting one takes milliseconds. What is killed is still a process like any other.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import orjson

PATIENCE = 300.0
"""Seconds until a test gives up waiting; long, because the machine may be busy."""

TIMINGS = {"seconds", "measuring_seconds", "tokens_per_second", "peak_memory_bytes"}
"""The entries of a line in metrics.jsonl that no two runs share."""

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["curricle.training.sft", "curricle.training.hf", "curricle.experiments.one", "peft"])


@dataclass(frozen=True)
class Job:
    """A small run on random documents that goes on from its newest whole checkpoint."""

    folder: Path
    host: Literal["hf", "trl"] = "hf"
    packing: Literal["ordered", "none"] = "ordered"
    adapter: bool = False
    dropout: float = 0.1
    shape: dict[str, Any] = field(default_factory=dict)
    max_length: int = 64
    training: dict[str, Any] = field(default_factory=dict)


def build(job: Job, kind: Callable[[type], type] | None = None) -> Any:
    """The job's trainer; `kind` may make another class of the host's."""
    import torch

    from curricle.data.rows import Rows
    from curricle.models.nano import train_tokenizer
    from support import arguments, lora, model, table

    torch.set_num_threads(1)
    net = model(attention_dropout=job.dropout, **job.shape)
    net = lora(net, job.dropout) if job.adapter else net
    given = {
        "train_dataset": table(60, high=job.max_length // 2, domains=True),
        "eval_dataset": table(13, seed=5, high=job.max_length // 2),
        "rows": Rows(job.max_length, job.packing, lookahead=8),
    }
    if job.host == "hf":
        from curricle.training.hf import Trainer as Host

        args = arguments(job.folder, **job.training)
    else:
        from trl import SFTConfig

        from curricle.training.sft import SFTTrainer as Host

        ours = {"bf16": False, "activation_checkpointing": False, "max_length": None}
        args = arguments(job.folder, kind=SFTConfig, **ours, **job.training)
        given["processing_class"] = train_tokenizer(["a b c d"] * 4, 300)
    return (kind(Host) if kind else Host)(net, args, **given)


def train(job: Job) -> None:
    """To the end, from wherever the folder stands; the model goes to `final/`."""
    trainer = build(job)
    trainer.train(resume_from_checkpoint=True)
    trainer.save_model(str(job.folder / "final"))


def start(work: Callable[..., None], *args: Any, said: Path) -> ForkServerProcess:
    """Begin `work(*args)` in a process of its own; what it says goes to the end of the file `said`."""
    child = _FORKING.Process(target=_with_voice, args=(said, work, args))
    child.start()
    return child


def finish(child: ForkServerProcess, said: Path) -> int:
    """Wait for the end; the exit code."""
    child.join(PATIENCE)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError(f"no end after {PATIENCE} s:\n{said.read_text()[-3000:]}")
    return child.exitcode


def complete(work: Callable[..., None], *args: Any, said: Path) -> None:
    """`work(*args)` from start to end, in a process of its own, without a fault."""
    code = finish(start(work, *args, said=said), said)
    assert code == 0, f"exit {code}:\n{said.read_text()[-3000:]}"


def command_line(folder: Path, *arguments: str) -> None:
    """`curricle ...` in a folder, with its exit code."""
    import torch

    from curricle.cli import main

    torch.set_num_threads(1)
    os.chdir(folder)
    sys.exit(main(arguments))


def _with_voice(said: Path, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    said.parent.mkdir(parents=True, exist_ok=True)
    voice = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(voice, 1)
    os.dup2(voice, 2)
    work(*args)


def wait_until(happened: Callable[[], bool], alive: Callable[[], bool]) -> bool:
    """Look until it has happened, or until nobody is left who could do it."""
    end = time.monotonic() + PATIENCE
    while not happened():
        if not alive() or time.monotonic() > end:
            return happened()
        time.sleep(0.0005)
    return True


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log that may be in the middle of being written."""
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def steps_told(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its clocks."""
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in lines(folder / "metrics.jsonl")]


def assert_same_run(folder: Path, other: Path) -> None:
    """The same log line by line, the same examples, the same weights bit for bit."""
    assert steps_told(folder) == steps_told(other)
    assert lines(folder / "consumed.jsonl") == lines(other / "consumed.jsonl")
    assert weights(folder).read_bytes() == weights(other).read_bytes()


def weights(folder: Path) -> Path:
    """The file of the trained weights."""
    [file] = (folder / "final").glob("*model.safetensors")
    return file
