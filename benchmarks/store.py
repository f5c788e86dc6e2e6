"""The store next to polars and datasets: a first open, a second one, 50,000 balanced rows, and memory.

    python benchmarks/store.py                  1,000,000 rows of about 280 bytes; memory with 3,700,000
    python benchmarks/store.py --rows 200000 --large 500000

The file is in the system's cache for all. A first open of ours includes the index on disk; polars reads the whole file
into memory and keeps nothing, so it reads it again for each selection; datasets converts the file to Arrow once, and
reads from that. Each returns the same kind of rows: dictionaries with every field. Memory is what a process holds that
is not a file (RssAnon), at its highest, from before the first open to the last row, imports included, without torch.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from curricle.data.store import Selection, open_store, select
from curricle.data.store.index_file import beside
from harness import compare_times, figure, interleaved, versioned

COLUMNS = ("is_correct", "metadata.difficulty", "metadata.source", "problem")
BODY = (
    "import sys\n\ndef solve():\n    n = int(input())\n    a = list(map(int, input().split()))\n    print(sum(a) - n)\n"
)


def write_rows(path: Path, number: int, seed: int = 0) -> None:
    """Solutions in the form of the prepared CodeContests: 13,328 problems, 47.5 in a hundred right."""
    draw = random.Random(seed)
    sources = ["codeforces", "codechef", "aizu", "atcoder"]
    with path.open("wb") as handle:
        for i in range(number):
            problem, ok = i % 13_328, draw.random() < 0.475
            row = {
                "instruction": f"Problem {problem}: print the sum.",
                "input": "3\n1 2 3\n",
                "output": BODY[: draw.randrange(40, len(BODY))],
                "task_id": f"{problem}_Sum_{'correct' if ok else 'incorrect'}_{i // 13_328}",
                "is_correct": ok,
                "metadata": {"source": sources[i % 4], "difficulty": draw.randrange(12), "has_tests": True},
            }
            handle.write(orjson.dumps(row) + b"\n")


def compare_first_open(path: Path) -> None:
    import datasets
    import polars

    def ours() -> Any:
        beside(path).unlink(missing_ok=True)
        return open_store(path, COLUMNS)

    def with_datasets() -> Any:
        with tempfile.TemporaryDirectory(dir=path.parent) as cache:
            return len(datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache))

    rows = open_store(path).num_rows
    compare_times(
        "store.first_open", ours, lambda: polars.read_ndjson(path), target=1.6, direction="at_most",
        peer_version=versioned("polars"), num_rows=rows, columns=len(COLUMNS),
    )  # fmt: skip
    compare_times(
        "store.first_open.datasets", ours, with_datasets, target=None, repeats=3,
        peer_version=versioned("datasets"), num_rows=rows,
    )  # fmt: skip


def reopening(path: Path) -> None:
    open_store(path, COLUMNS)
    times, _ = interleaved(lambda: open_store(path, COLUMNS), lambda: None, repeats=9)
    figure("store.reopen", ours=float(np.median(times)), target=0.05, direction="at_most", unit="s")
    figure("store.bytes_per_row", ours=open_store(path, COLUMNS).bytes_per_row, target=24, direction="at_most")


def compare_selecting(path: Path, number: int) -> None:
    """From a store that is open, a data set that is converted, and a file that polars has to scan."""
    import datasets
    import polars

    store = open_store(path, COLUMNS)
    asked = Selection(rows=number, shares={"is_correct": {"true": 0.5, "false": 0.5}})

    def balanced(correct: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        draw = np.random.default_rng(0)
        each = [draw.choice(np.flatnonzero(correct == value), number // 2, replace=False) for value in (True, False)]
        return np.sort(np.concatenate(each))

    def ours() -> list[Any]:
        return list(store.rows(select(store, asked).indices))

    def with_polars() -> list[Any]:
        table = polars.read_ndjson(path)
        return table[balanced(table["is_correct"].to_numpy())].to_dicts()

    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        table = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)

        def with_datasets() -> list[Any]:
            correct = table.with_format("numpy", columns=["is_correct"])[:]["is_correct"]
            return list(table.select(balanced(correct)))

        assert len(ours()) == len(with_polars()) == len(with_datasets()) == number
        for name, peer in (("polars", with_polars), ("datasets", with_datasets)):
            compare_times(
                f"store.select_and_read.{name}", ours, peer, target=2.0, peer_version=versioned(name), num_chosen=number
            )


def stream(path: Path, number: int) -> None:
    """In a process of its own: open, choose, read every row, and print the highest anonymous memory in bytes."""
    highest, going = 0, True

    def watch() -> None:
        nonlocal highest
        while going:
            status = Path("/proc/self/status").read_text()
            highest = max(highest, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    store = open_store(path, COLUMNS)
    chosen = select(store, Selection(rows=number, shares={"is_correct": "equal"}, cap={"problem": 40}))
    seen = sum(1 for _ in store.rows(chosen.indices))
    going = False
    watcher.join()
    print(json.dumps({"highest": highest, "rows": seen, "of": store.num_rows, "torch": "torch" in sys.modules}))


def memory(folder: Path, number: int) -> None:
    number = min(number, (shutil.disk_usage(folder).free - (1 << 30)) // 320)
    path = folder / "large.jsonl"
    write_rows(path, number)
    done = subprocess.run(
        [sys.executable, __file__, "--stream", str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert not found["torch"]
    figure(
        "store.anonymous_memory", ours=found["highest"] / 2**20, target=200, direction="at_most", unit="MiB",
        num_rows=found["of"], num_chosen=found["rows"], file_mib=round(path.stat().st_size / 2**20),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chosen", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=3_700_000, help="rows of the file that memory is measured with")
    parser.add_argument("--folder", type=Path, help="where the files are made; the system's folder for such by default")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(options.stream, 200_000)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        path = folder / "rows.jsonl"
        write_rows(path, options.rows)
        compare_first_open(path)
        reopening(path)
        compare_selecting(path, options.chosen)
        memory(folder, options.large)


if __name__ == "__main__":
    main()
