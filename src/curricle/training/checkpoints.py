"""A checkpoint counts when it is whole.

transformers writes a checkpoint file by file; a kill in between leaves a folder that looks like one. Rank 0 writes
`trainer_state.json` last, and our own state before it, so a folder is whole when both parse and agree on the step, and
every rank's random state is a complete file. Rotation happens only after that, so one whole checkpoint always remains.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from ..errors import RunError
from ..runtime.files import disk_error, failed_write, read_json, write_json
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main

STATE_FILE = "curricle_state.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def save_state(folder: str | Path, state: dict[str, Any]) -> None:
    """Our part of a checkpoint: one file, the same for every rank."""
    if is_main():
        write_json(Path(folder) / STATE_FILE, state)


@contextmanager
def whole_or_removed(folder: Path) -> Iterator[None]:
    """Around the writing of a folder: when the disk does not take it, one line says so and no half of it stays."""
    try:
        yield
    except Exception as error:
        refusal = failed_write(error)
        if refusal is None and not isinstance(error, RunError):
            raise
        # A checkpoint may be whole, and what failed the removal of an older one.
        whole = _FOLDER.fullmatch(folder.name) and fault(folder) is None
        if is_main() and not whole:
            shutil.rmtree(folder, ignore_errors=True)
        if refusal is None:
            raise
        raise disk_error(folder, refusal) from error


def load_state(folder: str | Path) -> dict[str, Any]:
    try:
        return read_json(Path(folder) / STATE_FILE)
    except FileNotFoundError:
        raise RunError(
            f"{folder} holds no {STATE_FILE}, so it was not saved by Curricle and cannot be resumed exactly; "
            "load it as a model instead (model.name_or_path)."
        ) from None


def fault(folder: Path) -> str | None:
    """What is missing for this checkpoint to be whole; None when nothing is."""
    step = int(_FOLDER.fullmatch(folder.name).group(1))  # type: ignore[union-attr]
    try:
        ours, theirs = read_json(folder / STATE_FILE), read_json(folder / "trainer_state.json")
    except (FileNotFoundError, orjson.JSONDecodeError) as error:
        return f"unreadable state ({error})"
    if not ours["step"] == theirs["global_step"] == step:
        return f"steps disagree ({ours['step']}, {theirs['global_step']}, {step})"
    ranks = ours["world_size"]
    for name in [f"rng_state_{r}.pth" for r in range(ranks)] if ranks > 1 else ["rng_state.pth"]:
        # A zip archive ends with its directory: a file cut short has none.
        if not zipfile.is_zipfile(folder / name):
            return f"{name} is missing or cut short"
    return None


def checkpoints(run_folder: str | Path) -> list[Path]:
    """All checkpoint folders of a run, oldest first, whole or not."""
    run_folder = Path(run_folder)
    found = [p for p in run_folder.iterdir() if p.is_dir() and _FOLDER.fullmatch(p.name)] if run_folder.is_dir() else []
    return sorted(found, key=lambda p: int(p.name.split("-")[1]))


def newest_whole(run_folder: str | Path) -> Path | None:
    """The checkpoint to go on from. Broken newer ones, left by a kill, are removed and named."""
    for folder in reversed(checkpoints(run_folder)):
        problem = fault(folder)
        barrier()  # every rank has looked before rank 0 removes
        if problem is None:
            return folder
        say(f"removing {folder.name}: not whole, {problem}")
        if is_main():
            shutil.rmtree(folder)
        barrier()
    return None
