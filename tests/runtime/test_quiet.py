"""Other libraries are calmed while they work for us, and are as they were afterwards."""

from __future__ import annotations

import logging
import warnings

import pytest

from curricle.runtime.quiet import SETTLED, calm_libraries


@pytest.mark.parametrize(("logger", "said"), SETTLED.items())
def test_what_is_settled_is_left_out_and_the_rest_is_said(logger: str, said: str) -> None:
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    source = logging.getLogger(logger)
    source.addHandler(listener)
    try:
        with calm_libraries():
            with calm_libraries():
                source.warning("%s, and more.", said)
            source.warning("%s, after one inside another.", said)
            source.warning("something else")
        source.warning(said)
    finally:
        source.removeHandler(listener)
    assert heard == ["something else", said]


def test_bars_are_hidden_without_a_terminal_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging as theirs

    assert theirs.is_progress_bar_enabled()
    with calm_libraries():
        assert not theirs.is_progress_bar_enabled()
    assert theirs.is_progress_bar_enabled()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with calm_libraries():
        assert theirs.is_progress_bar_enabled()


def test_a_failure_puts_everything_back() -> None:
    from transformers.utils import logging as theirs

    @calm_libraries()
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert theirs.is_progress_bar_enabled()
    assert not any(logging.getLogger(name).filters for name in SETTLED)


def test_one_warning_is_left_out_and_others_come_through() -> None:
    with calm_libraries():
        warnings.warn("`is_gradient_checkpointing` is deprecated", FutureWarning, stacklevel=1)
        with pytest.warns(FutureWarning, match="another"):
            warnings.warn("another", FutureWarning, stacklevel=1)
