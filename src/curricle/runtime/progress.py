"""What a person sees while work goes on: lines and bars on standard error, from the main rank only.

Standard output stays free for results, so `curricle ... > file` holds nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .ranks import is_main

T = TypeVar("T")


def someone_watches() -> bool:
    """Whether standard error is a terminal or a notebook, where a bar can be drawn over itself."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def say(line: str) -> None:
    """One line to the person at the terminal."""
    if is_main():
        print(line, file=sys.stderr, flush=True)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar when someone is watching a terminal; silent otherwise."""
    if not (is_main() and sys.stderr.isatty()):
        yield from items
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total)
        for item in items:
            yield item
            shown.advance(task)
