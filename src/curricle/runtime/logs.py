"""A log of one JSON object a line that can be cut back to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import orjson

from .files import atomic_file


class JsonLog:
    """Append-only lines, each holding `step`; a resumed run first drops what came after its checkpoint."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: BinaryIO | None = None

    def append(self, row: dict[str, Any]) -> None:
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self.path.open("ab")
        self._handle.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        self._handle.flush()

    def cut_back(self, step: int) -> None:
        """Keep the lines of steps up to and with `step`. A half-written last line, left by a kill, goes too."""
        self.close()
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_bytes().split(b"\n")[:-1] if orjson.loads(line)["step"] <= step]
        with atomic_file(self.path, "wb") as handle:
            handle.write(b"".join(line + b"\n" for line in kept))

    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.path.read_bytes().splitlines()] if self.path.exists() else []

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
