"""Messages over a socket: a length of four bytes, then JSON. Either end may be hostile, so lengths are bounded."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

LONGEST = 16 << 20


class Closed(Exception):
    """The other end is gone, or talks nonsense."""


class Channel:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ahead = b""  # read, and not yet asked for
        self._read, self._write = os.read, os.write  # kept: a sample may replace those of `os`

    def send(self, message: Any) -> None:
        body = json.dumps(message).encode("ascii")
        if len(body) > LONGEST:
            raise ValueError(f"a value of more than {LONGEST >> 20} MiB")
        data = memoryview(struct.pack("=I", len(body)) + body)
        try:
            while data:
                data = data[self._write(self._fd, data) :]
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self) -> Any:
        (length,) = struct.unpack("=I", self._exactly(4))
        if length > LONGEST:
            raise Closed(f"a message of {length} bytes")
        try:
            return json.loads(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise Closed(f"a message that is no JSON: {error}") from None

    def _exactly(self, length: int) -> bytes:
        parts = [self._ahead]
        missing = length - len(self._ahead)
        while missing > 0:
            try:
                part = self._read(self._fd, max(missing, 1 << 16))
            except OSError as error:
                raise Closed(str(error)) from None
            if not part:
                raise Closed("end of messages")
            parts.append(part)
            missing -= len(part)
        found = b"".join(parts)
        self._ahead = found[length:]
        return found[:length]
