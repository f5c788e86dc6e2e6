"""`metadata.json`: what a model folder is, where it came from, and the SHA256 of each of its files.

Written by `curricle model convert` and `slice`; a folder that has one is checked against it whenever it is loaded here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...runtime.files import read_json, sha256_file, write_json

NAME = "metadata.json"
FORMAT, VERSION = "curricle-model", 1


def describe_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA256 of files, by name."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in paths}


def write_metadata(folder: Path, about: dict[str, Any]) -> None:
    """Beside `about` (dtype, source, ...), the version of this form and all files as they now are."""
    files = describe_files(sorted(path for path in folder.iterdir() if path.is_file() and path.name != NAME))
    write_json(folder / NAME, {"format": FORMAT, "version": VERSION, **about, "files": files})


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """What the folder says of itself; None where it has none, or somebody else's file of that name."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    if not isinstance(found.get("files"), dict) or "source" not in found:
        raise ModelError(f"{path} lacks the list of files or the source that such a file has; convert the model again")
    if found.get("version") != VERSION:
        raise ModelError(f"{path} is of version {found.get('version')}; version {VERSION} is known here")
    return found


def verify_files(folder: str | Path) -> dict[str, Any] | None:
    """The metadata, with every file found to be what it says; None where there is none. A file is read for this once in
    a process, and again when it was written anew."""
    folder = Path(folder)
    about = read_metadata(folder)
    if about is None:
        return None
    for name, known in about["files"].items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{folder} lacks {name}, which its {NAME} lists")
        state = path.stat()
        if state.st_size != known["bytes"]:
            raise ModelError(_changed(path, f"{state.st_size:,} bytes", f"{known['bytes']:,}"))
        found = _sha256(path.resolve(), state.st_mtime_ns)
        if found != known["sha256"]:
            raise ModelError(_changed(path, f"SHA256 {found[:12]}...", f"{known['sha256'][:12]}..."))
    return about


def _changed(path: Path, found: str, written: str) -> str:
    return (
        f"{path} has {found}, but {NAME} beside it says {written}: it was damaged or changed since it was written; "
        f"convert it again, or take {NAME} away if you changed it yourself"
    )


@lru_cache(maxsize=256)
def _sha256(path: Path, written: int) -> str:
    return sha256_file(path)
