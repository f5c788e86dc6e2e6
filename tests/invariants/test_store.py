"""Selections from a store: what METHODS 10.5 asks of the samplers of the two stages."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curricle.data.store import Selection, Store, open_store, select
from curricle.data.store.matching import largest_remainder
from curricle.data.store.selecting import priorities
from curricle.errors import RecipeError

COLUMNS = ["is_correct", "metadata.difficulty", "problem"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Solutions as CodeContests has them: 41 in a hundred of difficulty 0, some above 11, many for few problems."""
    rng = np.random.default_rng(0)
    out = tmp_path_factory.mktemp("store") / "train.jsonl"
    with out.open("w", encoding="utf-8") as handle:
        for i in range(6000):
            ok = bool(rng.random() < 0.475)
            name = f"p{int(rng.zipf(1.5)) % 300}_{'' if ok else 'in'}correct_{i}"
            difficulty = 0 if rng.random() < 0.41 else int(rng.integers(1, 15))
            row = {"task_id": name, "is_correct": ok, "metadata": {"difficulty": difficulty, "source": "x"}}
            handle.write(json.dumps(row) + "\n")
    return out


@pytest.fixture(scope="module")
def store(path: Path) -> Store:
    return open_store(path, COLUMNS)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any))
def test_counts_are_exact_by_largest_remainder(total: int, weights: list[int]) -> None:
    """They sum to the total, none is a whole row away from its exact share, and larger remainders go first."""
    counts = largest_remainder(total, np.array(weights, dtype=float)).tolist()
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    assert sum(counts) == total
    assert all(abs(count - share) < 1 for count, share in zip(counts, exact, strict=True))
    rounded_up = [share % 1 for count, share in zip(counts, exact, strict=True) if count > share]
    rounded_down = [share % 1 for count, share in zip(counts, exact, strict=True) if count <= share and share % 1]
    assert max(rounded_down, default=Fraction(0)) <= min(rounded_up, default=Fraction(1))


def test_shares_sum_to_one(store: Store) -> None:
    with pytest.raises(RecipeError, match=r"together 1\.1, not 1"):
        select(store, Selection(shares={"metadata.difficulty": {"1..3": 0.7, "4..7": 0.4}}))


@pytest.mark.parametrize("num", [1, 7, 1000, 1001])
@pytest.mark.parametrize("cap", [{}, {"problem": 30}])
def test_stage_one_is_balanced_to_the_row(store: Store, num: int, cap: dict[str, int]) -> None:
    found = select(store, Selection(rows=num, shares={"is_correct": {"true": 0.5, "false": 0.5}}, cap=cap)).indices
    assert len(found) == len(np.unique(found)) == num
    assert store.column("is_correct")[found].sum() == (num + 1) // 2
    if cap:
        assert np.bincount(store.column("problem")[found]).max() <= 30


SCHEDULE = [(0.3, (0.7, 0.3, 0.0)), (0.4, (0.3, 0.6, 0.1)), (0.3, (0.1, 0.5, 0.4))]
BINS = ("1..3", "4..7", "8..11")


def test_stage_two_follows_its_schedule(store: Store) -> None:
    """Phases of 30, 40 and 30 hundredths of the rows, each with its shares of the three bins, and no row twice."""
    difficulty = store.column("metadata.difficulty")
    taken = np.empty(0, dtype=np.int64)
    for part, shares in SCHEDULE:
        selection = Selection(
            rows=int(part * 1000), shares={"metadata.difficulty": dict(zip(BINS, shares, strict=True))}
        )
        found = select(store, selection, without=taken)
        bins = np.digitize(difficulty[found.indices], [4, 8])
        assert np.bincount(bins, minlength=3).tolist() == [round(share * part * 1000) for share in shares]
        outside = (difficulty == 0) | (difficulty > 11)
        assert found.account.outside == outside.sum() > 2000
        assert "left out, with none of the values" in found.account.remarks()[0]  # never dropped without a word
        taken = np.concatenate([taken, found.indices])
    assert len(np.unique(taken)) == 1000


def redistributed(total: int, shares: list[float], there: list[int]) -> list[int]:
    """The rule in words: what a value lacks goes to those that have rows left, by their shares, and so on."""
    taken = [0] * len(shares)
    while total:
        weights = [share if taken[i] < there[i] else 0.0 for i, share in enumerate(shares)]
        if not any(weights):
            break
        asked = largest_remainder(total, np.array(weights))
        given = [min(int(asked[i]), there[i] - taken[i]) for i in range(len(shares))]
        taken = [a + b for a, b in zip(taken, given, strict=True)]
        total -= sum(given)
    return taken


@pytest.mark.parametrize("rows", [900, 1500, 2500, 6000])
def test_shortages_are_dealt_out_by_the_documented_rule(store: Store, rows: int) -> None:
    shares = [0.8, 0.15, 0.05]
    selection = Selection(rows=rows, shares={"metadata.difficulty": dict(zip(BINS, shares, strict=True))})
    account = select(store, selection).account
    there = [cell.available for cell in account.cells]
    assert [cell.taken for cell in account.cells] == redistributed(rows, shares, there)
    assert account.taken == min(rows, sum(there))
    zero = Selection(rows=6000, shares={"metadata.difficulty": {"1..3": 1.0, "4..7": 0.0}})
    assert [cell.taken for cell in select(store, zero).account.cells] == [there[0], 0]


def splitmix(x: int) -> int:
    x = x * 0x9E3779B97F4A7C15 % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


@pytest.mark.parametrize("seed", [0, 1, 42, -1, 2**70])
def test_a_draw_is_arithmetic_on_whole_numbers(seed: int) -> None:
    """So it is the same with every version of numpy and on every machine."""
    places = np.array([0, 1, 2, 3_691_980])
    expected = [splitmix((int(place) + splitmix(seed % 2**64)) % 2**64) for place in places]
    assert priorities(seed, places).tolist() == expected


def test_every_rank_has_the_same_rows(store: Store, path: Path) -> None:
    """Another process, with its own index read anew, finds the same; so do all ranks."""
    settings: dict[str, Any] = {"rows": 40, "shares": {"is_correct": "equal"}, "cap": {"problem": 2}, "seed": 5}
    code = (
        "import json, sys; from curricle.data.store import *; s = Selection(**json.loads(sys.argv[2]))\n"
        "print(select(open_store(sys.argv[1], s.columns), s).indices.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), json.dumps(settings)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == select(store, Selection(**settings)).indices.tolist()


def test_rows_are_seekable_and_metadata_is_small(store: Store, path: Path) -> None:
    lines = path.read_bytes().splitlines()
    chosen = np.random.default_rng(1).permutation(6000)[:500]
    assert list(store.raw(chosen)) == [lines[i] for i in chosen]
    assert store.bytes_per_row <= 24


def test_the_draw_is_uniform(store: Store) -> None:
    """Each row is taken as often as any other: over 400 seeds, counts are those of a fair draw."""
    taken = np.zeros(store.num_rows)
    for seed in range(400):
        taken[select(store, Selection(rows=600, seed=seed)).indices] += 1
    expected = 400 * 600 / store.num_rows
    assert abs(taken.mean() - expected) < 1e-9
    assert 0.85 < taken.var() / (expected * 0.9) < 1.15  # of a binomial draw; 6,000 rows give it to within 2 in 100
    assert np.abs(taken - expected).max() < 6 * np.sqrt(expected * 0.9)
