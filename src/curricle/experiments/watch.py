"""A live table of an experiment, for a terminal that may be far from the machine that trains.

In a terminal the table is drawn over itself; anywhere else a line is printed for each run that has moved.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError
from .progress import Progress, RunProgress, look

if TYPE_CHECKING:
    from rich.console import Group

EVERY_LIVE, EVERY_LINE = 2.0, 30.0

_COLOURS = {"training": "green", "measuring": "cyan", "starting": "yellow", "stopped": "red", "finished": "dim"}


def watch(run: str | Path, *, once: bool = False, every: float | None = None) -> Progress:
    """Show how far an experiment is until all its runs are finished; with `once`, as it is now.

    Looks every 2 seconds in a terminal, until Ctrl-C, and every 30 elsewhere, or as `every` says. A run that no process
    works on any more, unfinished, is a `RunError`.
    """
    progress = look(run)
    if once:
        print(progress, flush=True)
        return progress
    live = sys.stdout.isatty()
    wait = every or (EVERY_LIVE if live else EVERY_LINE)
    progress = _live(run, progress, wait) if live else _lines(run, progress, wait)
    if progress.stopped:
        raise RunError(progress.summary())
    return progress


def _ended(progress: Progress) -> bool:
    return progress.finished or not progress.at_work


def _live(run: str | Path, progress: Progress, wait: float) -> Progress:
    from rich.live import Live

    with Live(_drawn(progress), auto_refresh=False) as display, suppress(KeyboardInterrupt):  # the way to leave
        while not _ended(progress):
            time.sleep(wait)
            progress = look(run)
            display.update(_drawn(progress), refresh=True)
    return progress


def _drawn(progress: Progress) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    rows = [run.cells() for run in progress.runs]
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=name != "run")
    for run, cells in zip(progress.runs, rows, strict=True):
        table.add_row(*map(Text, cells.values()), style=_COLOURS.get(run.state))
    return Group(table, Text(), Text(progress.summary()))


def _lines(run: str | Path, progress: Progress, wait: float) -> Progress:
    shown: dict[str, RunProgress] = {}
    while True:
        for one in progress.runs:
            before = shown.get(one.name)
            if before is None or (before.state, before.step) != (one.state, one.step):
                print(_line(one), flush=True)
            shown[one.name] = one
        if _ended(progress):
            break
        time.sleep(wait)
        progress = look(run)
    if not progress.stopped:
        print(progress.summary(), flush=True)
    return progress


def _line(run: RunProgress) -> str:
    cells = run.cells()
    named = {"loss": "loss {}", "held-out": "held-out {}", "tokens/s": "{} tokens/s", "left": "{} left"}
    said = [text.format(cells[name]) for name, text in named.items() if cells[name] not in ("", "-")]
    steps = [cells["step"]] if cells["step"] != "-" else []
    return f"{time.strftime('%H:%M:%S')}  {cells['run']}: {', '.join([' '.join([run.state, *steps]), *said])}"
