"""Figures from a run's own books."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.experiments.comparison.facts import RunFacts, read_arm
from curricle.experiments.comparison.run_figures import OF_RUNS, TO_BASE, losses_by_epoch, run_figure
from experiments.comparison.runs import write_logs, write_run


@pytest.fixture
def run(tmp_path: Path) -> RunFacts:
    """Four steps of two seconds, the first two of them warm-up; two epochs."""
    folder = tmp_path / "base" / "seed-0"
    write_run(folder, train_loss=1.0)
    write_logs(folder, norms=[9.0, 4.0, 2.0, 0.5], rates=[1e-4, 5e-4, 1e-3, 8e-4], heldout=[(2, 3.0), (4, 2.0)])
    run = read_arm(folder.parent).runs[0]
    for row, moved in zip(run.steps, ([0.6, 0.0], [0.8, 0.0], [1.0, 0.0], [1.0, 1.0]), strict=True):
        row["layer_moved"] = moved
    return run


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grad_norm.max", 9.0),
        ("grad_norm.median", 3.0),
        ("grad_norm.max_after_warmup", 2.0),
        ("clipped_steps", 75.0),
        ("learning_rate.max", 1e-3),
        ("loss.falls_each_epoch", 1.0),
        ("train_loss", 1.0),
        ("steps", 4),
        ("tokens", 4000),
        ("supervised_tokens", 1000),
        ("epochs", 2.0),
        ("repeats", 10),
        ("seconds", 9.0),
        ("seconds_per_epoch", 4.0),
        ("tokens_per_second", 500),
        ("peak_memory_gib", 1.0),
        ("layers.spread", 0.975 - 0.625),
        ("tokens_to_base", 4000),
        ("seconds_to_base", 8.0),
    ],
)
def test_each_is_what_the_books_say(run: RunFacts, name: str, value: float) -> None:
    assert run_figure(run, name, base=run) == pytest.approx(value)


def test_every_figure_is_tried() -> None:
    tried = {case.args[0][0] if hasattr(case, "args") else case[0] for case in _cases()}
    assert tried == set(OF_RUNS)


def _cases() -> list[tuple[str, float]]:
    [mark] = [mark for mark in test_each_is_what_the_books_say.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    return list(mark.args[1])


def test_a_run_without_steps_has_none(tmp_path: Path) -> None:
    write_run(tmp_path / "base" / "seed-0")
    run = read_arm(tmp_path / "base").runs[0]
    assert {run_figure(run, name, base=run) for name in OF_RUNS if name != "seconds"} == {None}


def test_without_a_run_of_the_base_arm_there_is_no_way_to_it(run: RunFacts) -> None:
    assert {run_figure(run, name) for name in TO_BASE} == {None}


def test_the_losses_of_epochs(run: RunFacts) -> None:
    assert losses_by_epoch(run) == [3.5, 1.5]


def test_an_epoch_hardly_begun_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "base" / "seed-0"
    write_run(folder)
    write_logs(folder, losses=[4.0, 3.0, 2.0])
    run = read_arm(folder.parent).runs[0]
    assert losses_by_epoch(run) == [3.5, 2.0]  # half of the second was trained
    run.steps[-1]["epoch"] = 1.1
    assert losses_by_epoch(run) == [3.5]


def test_a_skipped_step_has_no_norm(run: RunFacts) -> None:
    run.steps[0]["grad_norm"] = None  # as JSON has infinity
    assert run_figure(run, "grad_norm.max") == 4.0
