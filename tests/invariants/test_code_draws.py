"""Draws of programs for training: exact counts, no row twice, the same on every rank, whatever was asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.data.store import Store, open_store
from curricle.experiments.named_data import DIFFICULTY, load_dataset

ROWS_EACH = 60
BINS = {"low": (1, 3), "medium": (4, 7), "high": (8, 11)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty right and sixty wrong programs of each difficulty from 1 to 11."""
    path = tmp_path_factory.mktemp("draws") / "train.jsonl"
    with path.open("w") as handle:
        for difficulty in range(1, 12):
            for label in ("correct", "incorrect"):
                for number in range(ROWS_EACH):
                    row = {
                        "task_id": f"p{difficulty}_{number % 6}_{label}_{number}",
                        "is_correct": label == "correct",
                        "metadata": {"difficulty": difficulty},
                    }
                    handle.write(json.dumps(row) + "\n")
    return path.parent


def drawn(store: Store, indices: Any) -> tuple[Counter[bool], Counter[str]]:
    labels = Counter(bool(label) for label in store.column("is_correct")[indices])
    levels = store.column(DIFFICULTY)[indices]
    bins = {name: int(((levels >= low) & (levels <= high)).sum()) for name, (low, high) in BINS.items()}
    return labels, Counter(bins)


weights = st.lists(st.integers(0, 10), min_size=3, max_size=3).filter(any).map(lambda w: [one / sum(w) for one in w])


@given(n=st.integers(4, 400), ratio=st.integers(0, 20), cut=st.integers(1, 9), first=weights, second=weights)
@settings(max_examples=40, deadline=None)
def test_counts_are_exact_where_there_are_rows(
    folder: Path, n: int, ratio: int, cut: int, first: list[float], second: list[float]
) -> None:
    """Each part of a schedule, each bin and each label gets its share to less than a row (two where both are asked)."""
    schedule = [
        {"epoch_range": [0.0, cut / 10], "difficulty_weights": dict(zip(BINS, first, strict=True))},
        {"epoch_range": [cut / 10, 1.0], "difficulty_weights": dict(zip(BINS, second, strict=True))},
    ]
    asked: dict[str, Any] = {"n_samples": n, "difficulty_schedule": schedule, "balance_correct": True}
    try:
        rows = load_dataset(str(folder), correct_ratio=ratio / 20, **asked)
    except ValueError:
        assert n * min(cut, 10 - cut) < 10  # a part with no row
        return
    assert len(rows) == len(set(rows.indices.tolist())) == n
    again = load_dataset(str(folder), correct_ratio=ratio / 20, **asked)
    assert again.indices.tolist() == rows.indices.tolist()
    store = open_store(folder / "train.jsonl", ["is_correct", DIFFICULTY])
    for part, shares, width in zip(rows.parts, (first, second), (cut / 10, 1 - cut / 10), strict=True):
        size = part.stop - part.start
        assert abs(size - n * width) < 1
        if any(cell.taken != cell.asked for cell in part.account.cells):
            continue  # a bin ran out; the others took its rows, and the sum above still holds
        labels, bins = drawn(store, rows.indices[part.start : part.stop])
        assert abs(labels[True] - size * ratio / 20) < 1
        for name, share in zip(BINS, shares, strict=True):
            assert abs(bins[name] - size * share) < 2


@given(n=st.integers(1, 1320), most=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_a_cap_holds_and_what_is_short_is_said(folder: Path, n: int, most: int) -> None:
    rows = load_dataset(str(folder), n_samples=n, per_problem=most)
    store = open_store(folder / "train.jsonl", ["problem"])
    per_problem = Counter(store.column("problem")[rows.indices].tolist())
    assert max(per_problem.values()) <= most
    assert len(rows) == min(n, 66 * min(most, 20))
    [part] = rows.parts
    assert bool(part.account.remarks()) == (len(rows) < n)
