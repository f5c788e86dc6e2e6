"""Every form in which an expert may lie on disk, read as its difference from the base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from .checkpoint import Checkpoint, model_folder, run_folder
from .difference import Difference, Lazy, learned
from .files import NAME as WRITTEN
from .files import TOGETHER, read_written
from .peft_files import CONFIG as ADAPTER
from .peft_files import read_adapter, recorded_base

if TYPE_CHECKING:
    from torch import Tensor


def read_difference(path: str | Path, base: Checkpoint | None = None, name: str | None = None) -> Difference:
    """From a folder of `curricle diff`, a PEFT adapter, a run of either kind, or a full checkpoint beside its base.

    With a base the names and shapes are held against it, and its fingerprint against the one that was recorded.
    """
    folder = run_folder(path)
    name = name or Path(path).name
    if (folder / TOGETHER).is_file():
        held = ", ".join(sorted(place.parent.name for place in folder.glob(f"*/{WRITTEN}")))
        raise ModelError(f"{path} holds several differences ({held}); name one of them")
    if (folder / WRITTEN).is_file():
        found = read_written(folder, name)
    else:
        folder = _with_weights(folder, ADAPTER) or model_folder(path)
        if (folder / ADAPTER).is_file():
            found = read_adapter(folder, name, base)
        elif base is None:
            raise ModelError(f"{path} is a full model, so its difference needs the base model; name it as well")
        else:
            found = _of_checkpoints(folder, name, base)
    if base is not None:
        found.check_base(base)
    return found


def _with_weights(folder: Path, file: str) -> Path | None:
    return next((place for place in (folder, folder / "model") if (place / file).is_file()), None)


def _of_checkpoints(folder: Path, name: str, base: Checkpoint) -> Difference:
    expert = Checkpoint(folder)
    ours, theirs = ({n for n in each.names if learned(each, n)} for each in (base, expert))
    for absent, has, lacks in (
        *((n, base, expert) for n in ours - theirs),
        *((n, expert, base) for n in theirs - ours),
    ):
        raise ModelError(
            f"expert {name}: {has.folder} has the tensor {absent} and {lacks.folder} has not"
            f"{_why_tied(absent, lacks)}; a difference is taken between models of one shape"
        )
    for tensor in sorted(ours):
        if base.shape(tensor) != expert.shape(tensor):
            raise ModelError(
                f"expert {name}: {tensor} is {list(expert.shape(tensor))} in {expert.folder} and "
                f"{list(base.shape(tensor))} in the base {base.folder} (another vocabulary or width?)"
            )
        if base.dtype(tensor) != expert.dtype(tensor):
            kinds = [str(each.dtype(tensor)).removeprefix("torch.") for each in (expert, base)]
            raise ModelError(
                f"expert {name}: {tensor} is {kinds[0]} in {expert.folder} and {kinds[1]} in the base {base.folder}; "
                "rounding would drown what was learned, so save both in one precision"
            )
    parts = {tensor: Lazy(base.shape(tensor), _subtraction(expert, base, tensor)) for tensor in sorted(ours)}
    recorded = recorded_base(folder)
    return Difference(name, recorded[0], recorded[1] or str(base.folder), parts)


def _why_tied(name: str, lacks: Checkpoint) -> str:
    return f" (there it shares its numbers with {lacks.tied[name]})" if name in lacks.tied else ""


def _subtraction(expert: Checkpoint, base: Checkpoint, name: str) -> Callable[[], Tensor]:
    return lambda: expert.read(name).float() - base.read(name).float()
