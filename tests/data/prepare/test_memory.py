"""Preparing holds a few problems at a time, however many there are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from curricle.data.prepare import prepare
from data.contests import PYTHON3, pairs, problem, programs, release


def peak(folder: Path, num: int) -> int:
    many = [
        problem(
            f"{number}_A",
            solutions=programs(*((PYTHON3, f"x = {number}, {which}, '{'a' * 4000}'") for which in range(10))),
            generated_tests=pairs(*((f"{number} {which}\n" * 1000, "1\n") for which in range(5))),
        )
        for number in range(num)
    ]
    src = release(folder / "src", train=many)
    del many
    tracemalloc.start()
    try:
        prepare("codecontests", src, folder / "out")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_problems_take_no_more_memory(tmp_path: Path) -> None:
    """From 120 problems on, when the small sets are full."""
    few, many = peak(tmp_path / "few", 120), peak(tmp_path / "many", 240)
    assert many - few < 500_000, "and the rows of 120 more problems are 5 MB, their tests 4 MB"
