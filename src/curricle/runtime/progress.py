"""What a person sees while work goes on: lines and bars on standard error, from the main rank only. Where there is no
terminal to draw a bar on, long work says a line now and then.

Standard output stays free for results, so `curricle ... > file` holds nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from .ranks import is_main

T = TypeVar("T")

EVERY = 60.0
"""Seconds between two lines of work that no terminal shows."""


def someone_watches() -> bool:
    """Whether standard error is a terminal or a notebook, where a bar can be drawn over itself."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def say(line: str) -> None:
    """One line to the person at the terminal."""
    if is_main():
        print(line, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """A number of things in a line for a person.

    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@contextmanager
def bar(label: str, total: int | None = None, lines: bool = True) -> Iterator[Callable[..., None] | None]:
    """A bar for as long as the block lasts, moved by the function given (`advance=`, `completed=`, `description=`).

    Without a terminal a line now and then, or None for work that has `lines` of its own; None on other ranks. Bars
    within bars share one display: two would draw over each other.
    """
    global _display
    if not is_main():
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines(label, total) if lines else None
        return
    outer, display = _display, _display or _new_display()
    task = display.add_task(label, total=total)
    if outer is None:
        _display = display
        display.start()
    try:
        yield partial(display.update, task)
    finally:
        if outer is None:
            _display = None
            display.stop()
        else:
            display.remove_task(task)
            display.refresh()  # at once, so that the display knows its height when it goes


class _Lines:
    """Moved as a bar is, it says how far the work is, at most once in `EVERY` seconds: short work says nothing."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._started = self._said = time.monotonic()

    def __call__(self, advance: int = 0, completed: int | None = None, description: str | None = None) -> None:
        self._done = self._done + advance if completed is None else completed
        self._label = description or self._label
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            say(f"{self._label}: {self._done:,}{self._ahead(now - self._started)}")

    def _ahead(self, seconds: float) -> str:
        if self._total is None:
            return ""
        if not self._done:
            return f"/{self._total:,}"
        left = round(seconds / self._done * max(self._total - self._done, 0))
        return f"/{self._total:,}, about {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"


_display: Any = None


def _new_display() -> Any:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    return rich.Progress(*columns, console=Console(stderr=True), transient=True)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar on a terminal, and a line now and then where there is none."""
    with bar(label, total) as move:
        for item in items:
            yield item
            if move is not None:
                move(advance=1)
