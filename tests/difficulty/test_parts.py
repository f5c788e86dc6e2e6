"""Parts on disk: made once, gone on with, and in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curricle.difficulty.parts import Arrays, Parts


def squares(rows: range) -> Arrays:
    return {"squares": np.arange(rows.start, rows.stop) ** 2}


def test_all_parts_in_order(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "work", 10, size=4)
    parts.fill(squares, "squares")
    assert parts.column("squares").tolist() == [i * i for i in range(10)]
    assert parts.load(2)["squares"].tolist() == [64, 81]
    assert parts.seconds > 0


def test_work_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    made: list[int] = []

    def falls(rows: range) -> Arrays:
        if rows.start >= 8:
            raise KeyboardInterrupt
        made.append(rows.start)
        return squares(rows)

    def goes_on(rows: range) -> Arrays:
        made.append(rows.start)
        return squares(rows)

    with pytest.raises(KeyboardInterrupt):
        Parts(tmp_path, "work", 10, size=4).fill(falls, "squares")
    parts = Parts(tmp_path, "work", 10, size=4)
    assert parts.missing == [2]
    parts.fill(goes_on, "squares")
    assert made == [0, 4, 8]
    assert len(parts.column("squares")) == 10
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npz"] * 3
