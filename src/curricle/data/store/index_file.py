"""The side file: columns beside a data file, written once, mapped ever after.

    curricle-index 2\\n | length of the header | its hash | header, JSON | column | column | ...

The header says what the data file was (size, time, hash of samples), and where each column lies; columns begin at
multiples of 64 bytes. It is one file, so that whoever maps it has columns that belong together.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ...runtime.cache import cache_root
from ...runtime.files import atomic_file
from ...runtime.fingerprint import fingerprint
from .columns import Array, Kind

ENDING = ".curricle-index"
_MAGIC = b"curricle-index 2\n"
_ALIGN = 64
_HASH = 32
_NUM_SAMPLES, _SAMPLE = 16, 1 << 12


@dataclass(frozen=True)
class Contents:
    """What an index holds."""

    data: dict[str, Any]
    """The data file as it was: `identity`."""
    num_rows: int
    kinds: dict[str, Kind]
    texts: dict[str, list[str]]
    arrays: Mapping[str, Array]
    """The columns; of JSON Lines also `:offsets`, where each row begins and the last ends, and `:blanks`, the numbers
    of the rows that blank lines come before."""


def beside(data: Path) -> Path:
    return data.with_name(data.name + ENDING)


def in_cache(data: Path) -> Path:
    return cache_root() / "index" / f"{fingerprint(str(data.resolve()))}{ENDING}"


def identity(handle: int) -> dict[str, Any]:
    """What a data file must still be for an index of it to hold: size, time, and the bytes of 16 places."""
    about = os.fstat(handle)
    last = max(about.st_size - _SAMPLE, 0)
    digest = hashlib.sha256()
    for place in range(_NUM_SAMPLES):
        digest.update(os.pread(handle, _SAMPLE, last * place // (_NUM_SAMPLES - 1)))
    return {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns, "samples": digest.hexdigest()}


def write(path: Path, contents: Contents) -> None:
    """Atomic: other processes see the index before or the one after."""
    places, at = {}, 0
    for name, values in contents.arrays.items():
        places[name] = {"at": at, "dtype": values.dtype.str, "length": len(values)}
        at += -(-values.nbytes // _ALIGN) * _ALIGN
    header = orjson.dumps(
        {
            "data": contents.data,
            "num_rows": contents.num_rows,
            "kinds": contents.kinds,
            "texts": contents.texts,
            "arrays": places,
            "bytes": at,
        }
    )
    with atomic_file(path, "wb") as handle:
        handle.write(_MAGIC + len(header).to_bytes(8, "little") + hashlib.sha256(header).digest() + header)
        handle.write(bytes(-handle.tell() % _ALIGN))
        for values in contents.arrays.values():
            handle.write(values.data.cast("B") if len(values) else b"")
            handle.write(bytes(-values.nbytes % _ALIGN))


def read(path: Path) -> Contents | None:
    """An index, mapped; None when there is none, or none of this form, or a part or a damaged one."""
    try:
        with open(path, "rb") as handle:
            if handle.read(len(_MAGIC)) != _MAGIC:
                return None
            length = int.from_bytes(handle.read(8), "little")
            digest, written = handle.read(_HASH), handle.read(min(length, os.fstat(handle.fileno()).st_size))
            if hashlib.sha256(written).digest() != digest:
                return None
            header = orjson.loads(written)
            start = -(-(len(_MAGIC) + 8 + _HASH + length) // _ALIGN) * _ALIGN
            if os.fstat(handle.fileno()).st_size != start + header["bytes"]:
                return None
            mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    arrays = {name: _array(mapped, start, place) for name, place in header["arrays"].items()}
    return Contents(header["data"], header["num_rows"], header["kinds"], header["texts"], arrays)


def _array(mapped: mmap.mmap, start: int, place: Mapping[str, Any]) -> npt.NDArray[Any]:
    return np.frombuffer(mapped, np.dtype(place["dtype"]), place["length"], start + place["at"])
