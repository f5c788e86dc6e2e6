"""The files of runs, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.experiments.comparison.facts import changes, read_arm
from experiments.comparison.runs import write_run


def test_seeds_in_their_order_and_only_those_asked_for(tmp_path: Path) -> None:
    for seed in (10, 2, 7):
        write_run(tmp_path / "a" / f"seed-{seed}", metrics={"bleu": 1.0})
    (tmp_path / "a" / "seed-5").mkdir()  # not finished
    assert read_arm(tmp_path / "a").seeds == [2, 7, 10]
    assert read_arm(tmp_path / "a", seeds=[10]).seeds == [10]
    with pytest.raises(RunError, match="no finished run of seed 5"):
        read_arm(tmp_path / "a", seeds=[5])


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "seed-0", metrics={"bleu": 1.0})
    (tmp_path / "a" / "seed-0" / "results.json").write_text('{"arm"')
    with pytest.raises(RunError, match=r"seed-0/results.json is no JSON"):
        read_arm(tmp_path / "a")
    (tmp_path / "a" / "seed-0" / "results.json").write_text("[]")
    with pytest.raises(RunError, match="holds list, not an object"):
        read_arm(tmp_path / "a")
    (tmp_path / "a" / "seed-0" / "results.json").write_text("{}")
    (tmp_path / "a" / "seed-0" / "arm.json").unlink()
    with pytest.raises(RunError, match=r"arm.json is missing"):
        read_arm(tmp_path / "a")


def test_a_run_without_scores_has_no_examples(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "seed-0", metrics={"bleu": 1.0, "rouge": None})  # type: ignore[dict-item]
    run = read_arm(tmp_path / "a").runs[0]
    assert (run.places, run.scores("bleu"), run.metrics) == ({}, None, {"bleu": 1.0})


def test_lists_are_compared_whole() -> None:
    old = {"evaluation": [{"metric": "loss"}], "data": {"limit": None}, "adapter": {}}
    new = {"evaluation": [{"metric": "rouge"}], "data": {"limit": None}, "adapter": {"r": 4}}
    assert changes(old, new) == {
        "evaluation": ([{"metric": "loss"}], [{"metric": "rouge"}]),
        "adapter": ({}, None),
        "adapter.r": (None, 4),
    }
