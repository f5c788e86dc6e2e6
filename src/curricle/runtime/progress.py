"""What a person sees while work goes on: lines and bars on standard error, from the main rank only.

Standard output stays free for results, so `curricle ... > file` holds nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from .ranks import is_main

T = TypeVar("T")


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
def bar(label: str, total: int | None = None) -> Iterator[Callable[..., None] | None]:
    """A bar for as long as the block lasts, moved by the function given (`advance=`, `completed=`, `description=`).

    None where no terminal watches. Bars within bars share one display: two would draw over each other.
    """
    global _display
    if not (is_main() and sys.stderr.isatty()):
        yield None
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
    """The items, with a bar when someone is watching a terminal; silent otherwise."""
    with bar(label, total) as move:
        for item in items:
            yield item
            if move is not None:
                move(advance=1)
