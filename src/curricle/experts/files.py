"""The folder of one difference: the factors as they are, dense forms of it for other tools, and how it is read again.

    difference.json                 base, normalizing and norm; each tensor's shape, kind and file
    difference-00001.safetensors    float32: NAME.up and NAME.down, or NAME where it is dense; never scaled
    dense-00001.safetensors         on demand: every changed tensor dense, under its own name
    diff_NAME.npy                   on demand: the same numbers as one flat float32 array
    diff_NAME_index.json            key, shape and offset of each tensor in that array

The dense forms are normalized where that was asked for. Files are written a tensor at a time, in shards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..runtime.files import write_json
from .checkpoint import open_safetensors, read_object
from .difference import Difference, Factors, Lazy, norm

if TYPE_CHECKING:
    from torch import Tensor

NAME, TOGETHER = "difference.json", "differences.json"
FORMAT, VERSION = "curricle-difference", 1
SHARD = 1 << 29  # bytes that are gathered before a file is written


def write_difference(difference: Difference, folder: Path, *, dense: bool = False, npy: bool = False) -> None:
    """Into a folder that is there. Tensors that turn out to be zero are left out."""
    raw = difference.restored()
    tensors: dict[str, dict[str, Any]] = {}
    squares: list[float] = []

    def pieces() -> Iterator[tuple[str, Tensor]]:
        for name in raw.names:
            part = raw.part(name)
            squares.append(norm(part) ** 2)
            if isinstance(part, Factors) and part.up.any() and part.down.any():
                tensors[name] = {"kind": "low_rank", "shape": part.shape, "rank": part.rank, "scale": part.scale}
                yield f"{name}.up", part.up
                yield f"{name}.down", part.down
            elif not isinstance(part, Factors) and part.any():
                tensors[name] = {"kind": "dense", "shape": tuple(part.shape)}
                yield name, part

    files = _write_shards(folder, "difference", pieces())
    for name, about in tensors.items():
        about["file"] = files[f"{name}.down" if about["kind"] == "low_rank" else name]
        if about["kind"] == "low_rank":
            about["up_file"] = files[f"{name}.up"]
    about = {
        "format": FORMAT,
        "version": VERSION,
        "name": difference.name,
        "base": {"fingerprint": difference.base, "name_or_path": difference.base_name},
        "normalize": "none" if difference.scale == 1.0 else "l2",
        "norm": math.sqrt(math.fsum(squares)),
        "scale": difference.scale,
        "tensors": tensors,
    }
    if dense:
        about["dense"] = _write_shards(folder, "dense", ((name, difference.dense(name)) for name in tensors))
    write_json(folder / NAME, about)
    if npy:
        _write_npy(difference, list(tensors), folder)


def _write_shards(folder: Path, stem: str, pieces: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """Which file holds each tensor."""
    from safetensors.torch import save_file

    files: dict[str, str] = {}
    gathered: dict[str, Tensor] = {}
    number = 0

    def flush() -> None:
        nonlocal number
        number += 1
        file = f"{stem}-{number:05}.safetensors"
        save_file(gathered, folder / file, {"format": "pt"})
        files.update(dict.fromkeys(gathered, file))
        gathered.clear()

    for name, tensor in pieces:
        gathered[name] = tensor.contiguous()
        if sum(held.nbytes for held in gathered.values()) >= SHARD:
            flush()
    if gathered:
        flush()
    return files


def npy_bytes(difference: Difference) -> int:
    """How large the flat array would be at most."""
    return 4 * sum(math.prod(difference.shape(name)) for name in difference.names)


def _write_npy(difference: Difference, names: list[str], folder: Path) -> None:
    """One array, written tensor by tensor behind its header; numpy reads it without pickle."""
    import numpy as np

    index, offset = [], 0
    for name in names:
        shape = difference.shape(name)
        index.append({"key": name, "shape": shape, "offset": offset})
        offset += math.prod(shape)
    file = folder / f"diff_{difference.name}.npy"
    with file.open("wb") as handle:
        about = {"descr": "<f4", "fortran_order": False, "shape": (offset,)}
        np.lib.format.write_array_header_1_0(handle, about)
        for name in names:
            handle.write(difference.dense(name).contiguous().numpy().data)
    write_json(folder / f"diff_{difference.name}_index.json", {"file": file.name, "dtype": "float32", "tensors": index})


# --- reading


def read_written(folder: Path, name: str | None = None) -> Difference:
    """The difference that `write_difference` wrote, normalized as it was then."""
    about = read_object(folder / NAME)
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise ModelError(
            f"{folder / NAME} is {about.get('format')} version {about.get('version')}; here {FORMAT} version {VERSION} "
            "is read"
        )
    tensors: dict[str, dict[str, Any]] = about["tensors"]
    names = {file for one in tensors.values() for file in (one["file"], one.get("up_file")) if file}
    opened = {file: open_safetensors(folder / file) for file in sorted(names)}
    parts = {key: _stored(opened, key, one) for key, one in tensors.items()}
    base = about["base"]
    return Difference(name or about["name"], base["fingerprint"], base["name_or_path"], parts, about["scale"])


def _stored(opened: dict[str, Any], name: str, about: dict[str, Any]) -> Lazy:
    file, shape = opened[about["file"]], tuple(about["shape"])
    if about["kind"] == "dense":
        return Lazy(shape, lambda: file.get_tensor(name))
    ups, scale = opened[about["up_file"]], about["scale"]

    def read() -> Factors:
        return Factors(ups.get_tensor(f"{name}.up"), file.get_tensor(f"{name}.down"), scale)

    return Lazy(shape, read, about["rank"])
