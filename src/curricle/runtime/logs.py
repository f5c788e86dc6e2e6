"""A log of one JSON object a line that can be cut back to a checkpoint."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from .files import atomic_file, disk_error


class JsonLog:
    """Append-only lines, each holding `step`; a resumed run first drops what came after its checkpoint."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: BinaryIO | None = None

    def append(self, row: dict[str, Any]) -> None:
        try:
            if self._handle is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = self.path.open("ab")
            self._handle.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
            self._handle.flush()
        except OSError as error:
            raise disk_error(self.path, error) from error

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
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):  # closing tries once more to write what `append` has said it could not
                handle.close()
