"""What a person watching a run sees: a bar on a terminal, a line now and then anywhere else. On standard error."""

from __future__ import annotations

import statistics
import sys
from collections import deque
from datetime import timedelta
from typing import Any

from ..runtime.progress import say
from ..runtime.ranks import is_main


class Ticker:
    """Told of every step; shows a bar, or says a line every `every` steps."""

    def __init__(self, total: int, every: int = 0, bar: bool = True) -> None:
        self.total, self.every = total, every
        self._seconds: deque[float] = deque(maxlen=50)
        self._bars: Any = None
        if bar and is_main() and sys.stderr.isatty():
            self._start_bar()

    def _start_bar(self) -> None:
        from rich import progress as rich
        from rich.console import Console

        columns = (
            rich.TextColumn("training"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.description}"),
        )
        self._bars = rich.Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars.start()
        self._task = self._bars.add_task("", total=self.total)

    def step(self, row: dict[str, Any]) -> None:
        self._seconds.append(row["seconds"])
        if self._bars is not None:
            self._bars.update(self._task, completed=row["step"], description=f"loss {row['loss']:.4f}")
        elif self.every and (row["step"] % self.every == 0 or row["step"] == self.total):
            say(self.line(row))

    def line(self, row: dict[str, Any]) -> str:
        left = timedelta(seconds=round(statistics.median(self._seconds) * (self.total - row["step"])))
        return (
            f"step {row['step']}/{self.total}  loss {row['loss']:.4f}  grad norm {row['grad_norm']:.3g}  "
            f"lr {row['learning_rate']:.3g}  epoch {row['epoch']:.2f}  {row['tokens_per_second']:,.0f} tokens/s  "
            f"{left} left"
        )

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
