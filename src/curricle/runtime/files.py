"""Atomic writes and hashes: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from ..errors import RunError


def _scratch(path: Path) -> Path:
    """A name beside `path`, whose folder is made when it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def disk_error(path: Path, error: OSError) -> RunError:
    """One line for a write that failed, with the space that was left."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"no space left while writing {path}; nothing was replaced. Free some space and run again.")
    return RunError(f"cannot write {path}: {error.strerror or error}; nothing was replaced.")


_NUMBER = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITER = ("inline_container.cc", "PytorchStreamWriter")


def failed_write(error: Exception) -> OSError | None:
    """The operating system's refusal behind an exception; None when it is about something else.

    Writers in Rust (safetensors, tokenizers) raise types of their own, with the system's number in the text; torch.save
    loses the number.
    """
    if isinstance(error, OSError):
        return error
    if found := _NUMBER.search(str(error)):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    if any(place in str(error) for place in _TORCH_WRITER):
        return OSError(errno.EIO, "only a part of it could be written (is the disk full?)")
    return None


@contextmanager
def atomic_file(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends well."""
    path = Path(path)
    scratch = _scratch(path)
    try:
        with open(scratch, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A folder that takes its name only when the block ends well; an older folder of that name gives way then."""
    path = Path(path)
    scratch = _scratch(path)
    try:
        scratch.mkdir()
        yield scratch
        if path.exists():
            old = _scratch(path)
            os.replace(path, old)
            os.replace(scratch, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(scratch, path)
    except Exception as error:
        if (refusal := failed_write(error)) is None:
            raise
        raise disk_error(path, refusal) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    with atomic_file(path) as handle:
        handle.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """JSON, readable by a person: sorted keys, two spaces, one line feed at the end."""
    flags = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    with atomic_file(path, "wb") as handle:
        handle.write(orjson.dumps(value, option=flags, default=str))


def read_json(path: str | Path) -> Any:
    return orjson.loads(Path(path).read_bytes())


def sha256_file(path: str | Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
