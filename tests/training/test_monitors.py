"""The run's books: totals, alarms, and logs that read as if nothing had happened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curricle.runtime.logs import JsonLog
from curricle.training.monitors import CLIP_ADVICE_AFTER, Monitor, Spikes


def row(step: int, loss: float = 2.0, norm: float = 0.5) -> dict[str, float]:
    return {"step": step, "loss": loss, "grad_norm": norm, "step_tokens": 100, "step_supervised_tokens": 25}


def test_totals_and_shares_run_over_steps(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, max_grad_norm=1.0)
    monitor.step(row(1), [[0, 1]])
    last = monitor.step(row(2, norm=1.5), [[2]])
    monitor.close()
    assert last["tokens"] == 200
    assert last["supervised_share"] == 0.25
    assert last["clipped"]
    assert last["clipped_share"] == 0.5
    assert JsonLog(tmp_path / "consumed.jsonl").rows() == [{"step": 1, "rows": [[0, 1]]}, {"step": 2, "rows": [[2]]}]


def test_a_resumed_run_cuts_its_logs_back_and_counts_on(tmp_path: Path) -> None:
    first = Monitor(tmp_path, max_grad_norm=1.0)
    first.step(row(1), [[0]])
    saved = first.state_dict()
    first.step(row(2), [[1]])
    first.close()
    with (tmp_path / "metrics.jsonl").open("ab") as handle:
        handle.write(b'{"step": 3, "lo')  # a kill in the middle of a line
    second = Monitor(tmp_path, max_grad_norm=1.0)
    second.load_state_dict(saved, step=1)
    assert second.step(row(2), [[1]])["tokens"] == 200
    second.close()
    assert [line["step"] for line in JsonLog(tmp_path / "metrics.jsonl").rows()] == [1, 2]


@pytest.mark.parametrize(("value", "spike"), [(1.9, False), (2.1, True)])
def test_a_spike_is_twice_the_running_median(value: float, spike: bool) -> None:
    spikes = Spikes()
    assert not any(spikes.look(1.0) for _ in range(20))
    assert spikes.look(value) is spike


def test_the_first_steps_are_never_spikes() -> None:
    spikes = Spikes()
    assert not any(spikes.look(10.0**step) for step in range(10))


def test_constant_clipping_brings_advice_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(tmp_path, max_grad_norm=1.0)
    for step in range(1, CLIP_ADVICE_AFTER + 20):
        monitor.step(row(step, norm=3.0), [[0]])
    monitor.close()
    assert capsys.readouterr().err.count("a lower learning_rate") == 1


def test_a_norm_that_is_no_number_goes_through_a_checkpoint(tmp_path: Path) -> None:
    """With float16 a step of the loss scaler's search has an infinite norm, and JSON knows no infinity."""
    import json

    monitor = Monitor(None, max_grad_norm=1.0)
    for step in range(1, 13):
        monitor.step(row(step, norm=float("inf") if step == 1 else 0.5), [[0]])
    again = Monitor(None, max_grad_norm=1.0)
    again.load_state_dict(json.loads(json.dumps(monitor.state_dict())), step=12)
    assert not again.step(row(13), [[0]])["grad_norm_spike"]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system keeps one peak for a process")
def test_each_run_of_a_process_has_a_peak_of_its_own() -> None:
    import numpy as np

    from curricle.training.monitors import forget_peak, peak_memory_bytes

    held = np.ones(2**25)  # 256 MiB
    high = peak_memory_bytes()
    del held
    forget_peak()
    low = peak_memory_bytes()
    assert low < high - 2**27
    held = np.ones(2**25)
    assert peak_memory_bytes() > low + 2**27
    assert held[-1] == 1
