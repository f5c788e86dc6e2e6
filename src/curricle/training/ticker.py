"""What a person watching a run sees: a bar on a terminal, a line now and then anywhere else. On standard error."""

from __future__ import annotations

import statistics
from collections import deque
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from ..runtime import progress


class Ticker:
    """Told of every step; shows a bar, or says a line every `every` steps."""

    def __init__(self, total: int, every: int = 0, bar: bool = True) -> None:
        self.total, self.every = total, every
        self._seconds: deque[float] = deque(maxlen=50)
        self._shown = ExitStack()
        self._move = self._shown.enter_context(progress.bar("training", total, lines=False)) if bar else None

    def step(self, row: dict[str, Any]) -> None:
        self._seconds.append(row["seconds"])
        if self._move is not None:
            self._move(completed=row["step"], description=f"training, loss {row['loss']:.4f}")
        elif self.every and (row["step"] % self.every == 0 or row["step"] == self.total):
            progress.say(self.line(row))

    def line(self, row: dict[str, Any]) -> str:
        left = timedelta(seconds=round(statistics.median(self._seconds) * (self.total - row["step"])))
        return (
            f"step {row['step']}/{self.total}  loss {row['loss']:.4f}  grad norm {row['grad_norm']:.3g}  "
            f"lr {row['learning_rate']:.3g}  epoch {row['epoch']:.2f}  {row['tokens_per_second']:,.0f} tokens/s  "
            f"{left} left"
        )

    def close(self) -> None:
        self._shown.close()
