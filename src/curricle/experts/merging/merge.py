"""`merge`: from a base and experts to a model folder that plain transformers loads, and says how it was made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, RunError
from ...runtime.files import disk_error, write_json
from ...runtime.progress import bar, counted, say
from ...runtime.rundir import LOCK, hold
from .config import MergeSettings, Method, Normalize, densities_of, effective, weights_of

if TYPE_CHECKING:
    from ..difference import Difference
    from .plan import Plan


@dataclass(frozen=True)
class Merged:
    """A merged model on disk, and what its `merge.json` says."""

    folder: Path
    num_tensors: int
    num_bytes: int
    about: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return (
            f"{self.folder}: {self.num_tensors} tensors, {_size(self.num_bytes)}, loadable with "
            f"AutoModelForCausalLM\n{self.about['formula']}"
        )


def merge(
    base: str | Path,
    experts: Mapping[str, str | Path | Difference],
    out: str | Path,
    *,
    weights: Mapping[str, float] | None = None,
    method: Method = "linear",
    normalize: Normalize = "none",
    settings: MergeSettings | None = None,
    prove: bool | None = None,
    force: bool = False,
) -> Merged:
    """Write base + sum of weight * (expert - base) to `out`.

    An expert is a difference folder, an adapter, a full checkpoint of the base's shape or a run that holds one of the
    last two. `normalize: none` leaves the weights as they are (DEM), `sum1` divides them by their sum (a mean of the
    experts). An interrupted merge is gone on with by the same call. Before the folder takes its name, `prove` compares
    the model's logits with those of the base with the experts beside it; by default where experts are adapters, their
    sum is linear and memory suffices.
    """
    from .prepare import plan_of
    from .proved import is_proved

    settings = settings or MergeSettings()
    names = list(experts)
    asked = weights_of(weights, method, normalize, names)
    densities = densities_of(settings, method, names)
    check_out(Path(out), [base, *(path for path in experts.values() if isinstance(path, str | Path))], force)
    plan = plan_of(base, experts, asked, densities, method, normalize, settings)
    proof = None
    if is_proved(plan, prove):
        multipliers = effective(dict(zip(names, asked, strict=True)), normalize, settings.scale)
        proof = partial(_prove, plan.base.folder, experts, multipliers)
    return carry_out(plan, Path(out), proof)


def _prove(base: Path, experts: Mapping[str, Any], multipliers: dict[str, float], merged: Path) -> dict[str, Any]:
    """For `merge.json`; a model that is not what was asked for is a ModelError."""
    from ..proof import prove_merge

    proof = prove_merge(merged, base, experts, multipliers)
    say(str(proof))
    return asdict(proof)


def merge_config(
    config: str | Path, out: str | Path, *, settings: MergeSettings | None = None, force: bool = False
) -> Merged:
    """As mergekit's YAML file `config` asks: linear, task_arithmetic, ties, dare_linear or dare_ties. Of `settings` the
    seed, the rounding and the size of a file count; the rest is the file's to say."""
    from .mergekit import plan_of_config, read_config

    asked = read_config(Path(config))
    check_out(Path(out), asked.paths, force)
    return carry_out(plan_of_config(asked, settings or MergeSettings()), Path(out))


def check_out(out: Path, inputs: list[str | Path], force: bool) -> None:
    """A new or empty folder, or with `force` any that is not one of the inputs."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; give a folder to write the merged model to")
    for path in inputs:
        if out.exists() and Path(path).exists() and Path(path).resolve().is_relative_to(out.resolve()):
            raise RunError(f"{out} holds {path}, which the merge reads; give another folder")
    if out.exists() and any(out.iterdir()) and not force:
        raise RunError(f"{out} is not empty; give another folder, or --force to replace it")


def carry_out(plan: Plan, out: Path, proof: Callable[[Path], dict[str, Any]] | None = None) -> Merged:
    """Everything into a hidden folder beside `out`, which takes its name at the end, when the proof holds."""
    from .card import describe, fingerprints, write_beside
    from .stream import peak_bytes, write_shards

    scratch = out.parent / f".{out.name}.merging"
    with hold(scratch):
        _check_space(plan, scratch)
        say(
            f"merging {counted(len(plan.base.names), 'tensor')} of {counted(len(plan.experts), 'expert')}: reads "
            f"{_size(plan.read_bytes)}, writes {_size(plan.num_bytes)}, holds at most about {_size(peak_bytes(plan))} "
            "of memory beside the libraries"
        )
        try:
            with fingerprints(plan) as prints, bar("merging", plan.num_bytes) as move:
                digests = write_shards(plan, scratch, None if move is None else lambda done: move(advance=done))
                about = describe(plan, digests, prints())
            write_beside(plan, about, scratch)
            if proof is not None:
                about["proof"] = proof(scratch)
        except ModelError:
            shutil.rmtree(scratch)  # the same again would end the same way
            raise
        write_json(scratch / "merge.json", about)
        _take_name(scratch, out)
    return Merged(out, len(plan.base.names), plan.num_bytes, about)


def _check_space(plan: Plan, scratch: Path) -> None:
    """Before the first byte; what an interrupted merge left there will be used or removed."""
    left = sum(path.stat().st_size for path in scratch.glob("*.safetensors"))
    free = shutil.disk_usage(scratch).free + left
    if free < plan.num_bytes:
        raise RunError(
            f"{scratch.parent} has {_size(free)} free and the merged model takes {_size(plan.num_bytes)}; nothing was "
            "written. Free some space, or write to another disk"
        )


def _take_name(scratch: Path, out: Path) -> None:
    (scratch / LOCK).unlink(missing_ok=True)
    old = scratch.with_suffix(".replaced")
    try:
        if out.exists():
            os.replace(out, old)
        os.replace(scratch, out)
    except OSError as error:
        raise disk_error(out, error) from error
    shutil.rmtree(old, ignore_errors=True)


def _size(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB" if number >= 2**20 else f"{number / 2**10:,.1f} KiB"
