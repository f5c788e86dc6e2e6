from __future__ import annotations

import pytest

from curricle.training.ticker import Ticker

ROW = {"loss": 1.5, "grad_norm": 0.25, "learning_rate": 1e-3, "epoch": 0.5, "tokens_per_second": 1234.5, "seconds": 2.0}


def test_lines_come_every_so_many_steps_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    ticker = Ticker(total=5, every=2)
    for step in range(1, 6):
        ticker.step({"step": step, **ROW})
    ticker.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[1] for line in err.splitlines()] == ["2/5", "4/5", "5/5"]
    assert "loss 1.5000" in err
    assert "0:00:06 left" in err.splitlines()[0]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ticker = Ticker(total=2, every=1)
    ticker.step({"step": 1, **ROW})
    ticker.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "1/2" in err
    assert "loss 1.5000" in err
