"""A curriculum over ten million examples: how long it takes to begin, what it keeps, and what it costs a step.

    python benchmarks/order.py                     # ten million examples, the figures of the targets
    python benchmarks/order.py --examples 1000000 --quick

Labels lie beside the examples already, as `align` leaves them; reading and aligning a label file of as many rows is
timed too, without a target.

- `order.start.*`: from the labels to the first example drawn.
- `order.memory.*`: bytes an example that order, stream and batches keep, at the worst of several points of a run.
- `order.step`: a curriculum's own time in the mean step of a run of one pass, over the time of a training step of the
  model of `sft.py` on the same machine. The run arranges what is left of its pass anew at each of the 200 levels of
  competence; twenty of them are timed, and two thousand steps between them. Drawing and packing, which a run without a
  curriculum does as well, are counted in.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from curricle.curriculum.labels import align, read_labels, write_labels
from curricle.curriculum.mixes import Mixed, bins_of, fixed
from curricle.curriculum.order import Order
from curricle.curriculum.pacing import LEVELS, Competence, EasyToHard
from curricle.curriculum.pool import WholePool
from curricle.curriculum.stream import Stream
from curricle.data.packing import Packer
from harness import figure

BATCH, MAX_LENGTH, LOOKAHEAD = 8, 1024, 256
START, BYTES, SHARE = 2.0, 16.0, 0.01


def mixed(difficulty_n: np.ndarray) -> Mixed:
    groups_n, names = bins_of(difficulty_n, {"low": (0.0, 0.3), "medium": (0.3001, 0.7), "high": (0.7001, 1.0)})
    return Mixed(groups_n, names, fixed((0.5, 0.3, 0.2, 0.0)))


ORDERS: dict[str, Callable[[np.ndarray], Order]] = {
    "competence": partial(Competence, full_at=0.5),
    "easy_to_hard": EasyToHard,
    "mix": mixed,
}


def begin(make: Callable[[np.ndarray], Order], difficulty_n: np.ndarray) -> Stream:
    stream = Stream(make(difficulty_n), WholePool(len(difficulty_n)), seed=0)
    stream.draw(0.0)
    return stream


def time_start(name: str, difficulty_n: np.ndarray, repeats: int) -> None:
    times, busy = [], []
    for _ in range(repeats):
        start, start_busy = time.perf_counter(), time.process_time()
        begin(ORDERS[name], difficulty_n)
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    figure(
        f"order.start.{name}",
        ours=statistics.median(times),
        target=START * len(difficulty_n) / 10_000_000,
        direction="at_most",
        spread=(min(times), max(times)),
        unit="s",
        processor_seconds=round(statistics.median(busy), 3),
        examples=len(difficulty_n),
        repeats=repeats,
    )


def weigh(name: str, difficulty_n: np.ndarray) -> None:
    """Live bytes beyond the labels themselves, which the order has turned into ranks and lets go."""
    tracemalloc.start()
    stream = begin(ORDERS[name], difficulty_n)
    dealt = bytearray(len(difficulty_n))  # as `OrderedBatches` keeps, to count what comes again
    live = []
    for progress in (0.0, 0.2, 0.4, 0.49, 0.5, 0.9):
        for _ in range(1000):
            stream.draw(progress)
        live.append(tracemalloc.get_traced_memory()[0] / len(dealt))
    peak = tracemalloc.get_traced_memory()[1] / len(dealt)
    tracemalloc.stop()
    figure(
        f"order.memory.{name}",
        ours=max(live),
        target=BYTES,
        direction="at_most",
        unit="bytes/example",
        passing_peak=round(peak, 1),
    )


def own_seconds(difficulty_n: np.ndarray) -> tuple[float, float]:
    """Seconds of an arrangement, and of a step without one, drawn and packed."""
    lengths_n = np.random.default_rng(1).integers(60, 400, len(difficulty_n))
    stream = begin(ORDERS["competence"], difficulty_n)
    packer = Packer(lengths_n, MAX_LENGTH, LOOKAHEAD)
    arranging, stepping = [], []
    for level in range(20):
        progress = 0.5 * (level + 1) / 20
        start = time.perf_counter()
        stream.admit(progress)
        arranging.append(time.perf_counter() - start)
        for step in range(100):
            now = progress + step * 1e-9
            start = time.perf_counter()
            stream.admit(now)
            packer.next_row(partial(stream.draw, now))
            stepping.append(time.perf_counter() - start)
    return statistics.mean(arranging), statistics.mean(stepping)


def training_step() -> float:
    """Seconds of a step of the model and work of `sft.py`, ours."""
    import sft

    with tempfile.TemporaryDirectory() as folder:
        bench = sft.Bench(sft.make_work(), Path(folder))
        return min(float(sft.ours(bench)[0]) for _ in range(3)) / sft.STEPS


def time_steps(difficulty_n: np.ndarray) -> None:
    arrangement, step = own_seconds(difficulty_n)
    num_steps = len(difficulty_n) // BATCH
    own = step + LEVELS * arrangement / num_steps
    figure(
        "order.step",
        ours=own,
        peer=training_step(),
        peer_version="a training step of sft.py on this machine",
        target=SHARE,
        direction="at_most",
        unit="s",
        arrangement=round(arrangement, 4),
        arrangements=LEVELS,
        plain_step=round(step, 7),
        steps=num_steps,
    )


def time_labels(difficulty_n: np.ndarray) -> None:
    numbers = np.random.default_rng(2).permutation(len(difficulty_n)).astype(">u8")
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    halves = numbers.view(np.uint8).reshape(-1, 8)
    ids = digits[np.stack([halves >> 4, halves & 15], axis=2).reshape(-1, 16)].view("S16").ravel()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.parquet"
        write_labels(path, ids, {"mean": difficulty_n})
        start = time.perf_counter()
        labels = read_labels(path)
        read = time.perf_counter() - start
        found = align(labels, ids, "mean")
        aligned = time.perf_counter() - start - read
        assert (found == difficulty_n).all()
    figure("order.labels", ours=read + aligned, unit="s", read=round(read, 3), aligned=round(aligned, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--quick", action="store_true", help="one start instead of five")
    arguments = parser.parse_args()
    difficulty_n = np.random.default_rng(0).random(arguments.examples, dtype=np.float32)
    for name in ORDERS:
        time_start(name, difficulty_n, 1 if arguments.quick else 5)
        weigh(name, difficulty_n)
    time_labels(difficulty_n)
    time_steps(difficulty_n)


if __name__ == "__main__":
    main()
