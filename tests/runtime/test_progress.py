"""Lines and bars go to standard error, from the main rank; where there is no terminal a bar is a line now and then."""

from __future__ import annotations

import pytest

from curricle.runtime.progress import bar, say, track

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
"""What a display writes first and last."""


def as_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called inside a test: only then is stderr the one that it captures."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


def test_without_a_terminal_there_are_lines_only(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert list(track(range(3), "counting")) == [0, 1, 2]
    with bar("working", 3) as move:
        assert move is not None
        move(advance=3)
    with bar("training", 3, lines=False) as move:
        assert move is None
    assert capsys.readouterr() == ("", "hello\n")


def test_long_work_without_a_terminal_says_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert len(list(track(range(6), "scoring", total=400))) == 6  # 25 seconds each
    with bar("training") as move:
        assert move is not None
        for step in (1, 2, 3):
            move(completed=step, description=f"training, at {step}")
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 3/400, about 2:45:25 left",
        "scoring: 6/400, about 2:44:10 left",
        "training, at 3: 3",
    ]


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    as_on_a_terminal(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    say("hello")
    assert list(track(range(3), "counting")) == [0, 1, 2]
    with bar("working", 3) as move:
        assert move is None
    assert capsys.readouterr() == ("", "")


def test_bars_within_bars_share_a_display(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    as_on_a_terminal(monkeypatch)
    with bar("outer", 2) as move:
        assert move is not None
        for item in track(range(2), "inner", total=2):
            move(completed=item, description=f"outer, at {item}")
        say("between")
    assert list(track(range(2), "another")) == [0, 1]
    out, err = capsys.readouterr()
    assert out == ""
    for part in ("outer, at 1", "inner", "between", "another"):
        assert part in err
    assert err.count(HIDE_CURSOR) == err.count(SHOW_CURSOR) == 2


def test_an_error_closes_the_display(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with bar("outer"):
            for item in track(range(2), "inner"):
                _ = 1 // item

    as_on_a_terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(track(range(2), "again")) == [0, 1]
    err = capsys.readouterr().err
    assert err.count(HIDE_CURSOR) == err.count(SHOW_CURSOR) == 2
