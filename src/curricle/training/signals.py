"""A polite request to stop: noted when it comes, obeyed at the end of the step.

The handler only sets a flag. Saving happens where the step's books are closed, so the checkpoint is exact; a mechanism
that saves between drawing batches and stepping is not (the resumed run would draw other random numbers).
"""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType, TracebackType

from ..runtime.progress import say


class StopRequest:
    """Context manager: SIGTERM, or a first Ctrl+C, sets `asked`; a second Ctrl+C interrupts at once."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
        more = "; once more ends it at once" if number == signal.SIGINT else ""
        with suppress(RuntimeError):  # it came in the middle of another line
            say(f"{self.asked}: a checkpoint is saved when this step is done{more}")

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread: whoever owns the main thread decides
                break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
