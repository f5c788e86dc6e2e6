"""One LoRA adapter out of several weighted ones: delta = sum of w_e * scale_e * up_e @ down_e, for every weight.

Exact, by laying the factors side by side (ranks may differ; the rank is their sum):

    up_oR   = [w_1 s_1 up_1 | w_2 s_2 up_2 | ...]        down_Ri = [down_1; down_2; ...]

or the best of a given rank (Eckart and Young), through the factors alone: with up = Q_u R_u and down^T = Q_d R_d, the
singular values of the sum are those of the R x R core R_u R_d^T. The dense matrix is never made.

PEFT's `linear` adds up the ups and the downs each for itself, and so multiplies one expert's ups with another's downs.

Suffixes: o outputs, i inputs, r rank, R the sum of ranks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, RecipeError
from ..runtime.files import atomic_folder, write_json
from ..runtime.progress import counted, say
from .checkpoint import EMBEDDINGS, Checkpoint
from .difference import Difference, Factors
from .merging.card import COPIED
from .merging.config import Normalize, weights_of
from .merging.merge import check_out
from .peft_files import BASE, CONFIG, FILES
from .reading import read_difference

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 5
_TURNED = {"gpt2": ("c_attn", "c_proj", "c_fc"), "openai-gpt": ("c_attn", "c_proj", "c_fc")}
"""By model type: linear layers whose weights are stored inputs x outputs."""


@dataclass(frozen=True)
class AdapterMerge:
    """An adapter on disk, and how far it is from the weighted sum."""

    folder: Path
    ranks: Mapping[str, int]
    """By tensor of the base."""
    errors: Mapping[str, float]
    """Norm of what was left out over the norm of the sum, by tensor; 0 where nothing was."""
    error: float
    """The same over all tensors as one vector."""
    about: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        low, high = min(self.ranks.values()), max(self.ranks.values())
        rank = f"rank {high}" if low == high else f"ranks {low} to {high}"
        lines = [f"{self.folder}: {counted(len(self.ranks), 'tensor')}, {rank}, loadable with PEFT"]
        worst = sorted(self.errors.items(), key=lambda pair: -pair[1])[:SHOWN]
        if self.error == 0:
            lines.append("exact: the factors lie side by side, nothing was left out")
        else:
            lines.append(f"relative error {self.error:.3g} over all tensors; the largest of single ones:")
            lines += [f"  {error:.3g}  {name}" for name, error in worst]
            lines += [f"  all {len(self.errors)} are in merge.json"] if len(self.errors) > SHOWN else []
        return "\n".join([*lines, self.about["formula"]])


def merge_adapters(
    base: str | Path,
    experts: Mapping[str, str | Path | Difference],
    weights: Mapping[str, float],
    out: str | Path,
    *,
    rank: int | None = None,
    normalize: Normalize = "none",
    force: bool = False,
) -> AdapterMerge:
    """Write the weighted sum of the experts as one PEFT adapter on `base`: exact, or the best one of `rank`.

    A weight that an expert did not adapt counts as unchanged by it, which is said.
    """
    asked = _shares(weights, normalize, list(experts))
    if rank is not None and rank < 1:
        raise RecipeError(f"the rank is {rank}; give 1 or more, or none for an exact adapter")
    check_out(Path(out), [base, *(path for path in experts.values() if isinstance(path, str | Path))], force)
    opened = Checkpoint(base)
    differences = {
        name: path if isinstance(path, Difference) else read_difference(path, opened, name)
        for name, path in experts.items()
    }
    _say_unequal(differences)
    sums = Sum([(differences[name], share) for name, share in asked.items() if share]).all(rank)
    about = _about(opened, experts, differences, weights, normalize, sums)
    base_name = str(opened.folder) if Path(base).expanduser().is_dir() else str(base)
    _write(Path(out), opened, base_name, _at_both_ends({n: p.factors for n, p in sums.items()}, opened), about)
    ranks = {name: part.factors.rank for name, part in sums.items()}
    errors = {name: _relative(part) for name, part in sums.items()}
    return AdapterMerge(Path(out), ranks, errors, about["error"], about)


# --- the sum


@dataclass(frozen=True)
class Part:
    """One tensor's factors, and the squared norms of the whole sum and of what they leave out of it."""

    factors: Factors
    square: float = 0.0
    left_out: float = 0.0


class Sum:
    """Differences that are all factors, each with its weight."""

    def __init__(self, parts: Sequence[tuple[Difference, float]]) -> None:
        self.parts = parts
        for difference, _ in parts:
            for name in difference.names:
                if difference.rank(name) is None:
                    raise ModelError(
                        f"expert {difference.name} holds {name} whole, and an adapter is made of factors; merge into a "
                        "whole model instead (no --as-adapter)"
                    )
        self.names = sorted({name for difference, _ in parts for name in difference.names})

    def all(self, rank: int | None = None) -> dict[str, Part]:
        """Of every tensor, several at a time: matrices as thin as these gain nothing from threads of their own."""
        import torch

        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return dict(zip(self.names, pool.map(lambda name: self.at(name, rank), self.names), strict=True))
        finally:
            torch.set_num_threads(threads)

    def at(self, name: str, rank: int | None = None) -> Part:
        """Of one tensor, exact or the best of a rank."""
        side_by_side = stacked([(d.part(name), weight) for d, weight in self.parts if name in d.parts])
        return Part(side_by_side) if rank is None or rank >= side_by_side.rank else best(side_by_side, rank)


def stacked(parts: Sequence[tuple[Any, float]]) -> Factors:
    """The exact sum; its scale is 1."""
    import torch

    ups = [weight * factors.scale * factors.up for factors, weight in parts]
    return Factors(torch.cat(ups, dim=1), torch.cat([factors.down for factors, _ in parts]))


def best(factors: Factors, rank: int) -> Part:
    """The nearest of that rank in the Frobenius norm; both sides get the root of the singular values."""
    import torch

    q_up_oR, r_up_RR = torch.linalg.qr(factors.up)
    q_down_iR, r_down_RR = torch.linalg.qr(factors.down.T)
    core_RR = factors.scale * r_up_RR.double() @ r_down_RR.double().T
    u_RR, values_R, vh_RR = torch.linalg.svd(core_RR)
    squares_R, root_r = values_R.square(), values_R[:rank].sqrt()
    up_or = q_up_oR @ (u_RR[:, :rank] * root_r).float()
    down_ri = (root_r[:, None] * vh_RR[:rank]).float() @ q_down_iR.T
    return Part(Factors(up_or, down_ri), float(squares_R.sum()), float(squares_R[rank:].sum()))


def _relative(part: Part) -> float:
    return math.sqrt(part.left_out / part.square) if part.left_out else 0.0


def _whole(parts: Sequence[Part]) -> float:
    left_out = math.fsum(part.left_out for part in parts)
    if not left_out:
        return 0.0
    # A tensor that was not shortened has no singular values at hand; its norm is that of its factors.
    total = math.fsum(part.square or part.factors.norm() ** 2 for part in parts)
    return math.sqrt(left_out / total)


# --- what is asked


def _shares(weights: Mapping[str, float], normalize: Normalize, names: list[str]) -> dict[str, float]:
    """What each expert is multiplied by."""
    asked = weights_of(weights, "linear", normalize, names)
    total = math.fsum(asked) if normalize == "sum1" else 1.0
    if not any(asked):
        raise RecipeError("all weights are 0, so the adapter would change nothing; give one that is not")
    return {name: weight / total for name, weight in zip(names, asked, strict=True)}


def _say_unequal(differences: Mapping[str, Difference]) -> None:
    everything = {name for difference in differences.values() for name in difference.names}
    for expert, difference in differences.items():
        if absent := sorted(everything - set(difference.names)):
            shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
            say(f"expert {expert} does not change {shown}, which others do: it counts as zero there")


# --- the folder


def _about(
    base: Checkpoint,
    experts: Mapping[str, str | Path | Difference],
    differences: Mapping[str, Difference],
    weights: Mapping[str, float],
    normalize: Normalize,
    sums: Mapping[str, Part],
) -> dict[str, Any]:
    inner = " + ".join(f"{weights[name]:g} * {name}" for name in experts).replace("+ -", "- ")
    total = math.fsum(weights[name] for name in experts)
    said = f"normalize none: the weights, which sum to {total:g}, are used as they are"
    if normalize == "sum1":
        inner, said = f"({inner}) / {total:g}", "normalize sum1: divided by the sum of the weights"
    return {
        "format": "curricle-adapter-merge",
        "version": 1,
        "curricle": version("curricle"),
        "formula": f"adapter = {inner}; {said}",
        "normalize": normalize,
        "weights": {name: weights[name] for name in experts},
        "base": {"path": str(base.folder), "fingerprint": base.fingerprint()},
        "experts": {
            name: str(path) if isinstance(path, str | Path) else differences[name].name
            for name, path in experts.items()
        },
        "error": _whole(list(sums.values())),
        "tensors": {name: {"rank": part.factors.rank, "error": _relative(part)} for name, part in sums.items()},
    }


def _at_both_ends(parts: dict[str, Factors], base: Checkpoint) -> dict[str, Factors]:
    """Where head and embedding are one weight, PEFT has factors beside each."""
    return parts | {head: parts[embedding] for head, embedding in base.tied.items() if embedding in parts}


def _write(out: Path, base: Checkpoint, base_name: str, parts: Mapping[str, Factors], about: dict[str, Any]) -> None:
    import shutil

    from safetensors.torch import save_file

    kind = str(base.config.get("model_type"))
    tensors: dict[str, Tensor] = {}
    for name, factors in parts.items():
        tensors |= _stored(name, factors, kind)
    with atomic_folder(out) as scratch:
        save_file(tensors, scratch / FILES[0], {"format": "pt"})
        write_json(scratch / CONFIG, peft_settings(base, base_name, {n: p.rank for n, p in parts.items()}))
        write_json(scratch / BASE, {"fingerprint": about["base"]["fingerprint"], "name_or_path": base_name})
        write_json(scratch / "merge.json", about)
        for path in (path for pattern in COPIED for path in base.folder.glob(pattern) if path.suffix != ".py"):
            shutil.copyfile(path, scratch / path.name)


def _stored(name: str, factors: Factors, kind: str) -> dict[str, Tensor]:
    """As PEFT names and turns them."""
    module = name.removesuffix(".weight")
    ending = module.rpartition(".")[2]
    key = f"base_model.model.{module}"
    if ending in EMBEDDINGS:
        a_ri, b_or = factors.up.T, factors.down.T
        return {f"{key}.lora_embedding_A": a_ri.contiguous(), f"{key}.lora_embedding_B": b_or.contiguous()}
    a_ri, b_or = (factors.up.T, factors.down.T) if ending in _TURNED.get(kind, ()) else (factors.down, factors.up)
    return {f"{key}.lora_A.weight": a_ri.contiguous(), f"{key}.lora_B.weight": b_or.contiguous()}


def peft_settings(base: Checkpoint, base_name: str, ranks: Mapping[str, int]) -> dict[str, Any]:
    """`adapter_config.json`: alpha is the rank everywhere, so the factors count as they are."""
    by_module = {name.removesuffix(".weight"): rank for name, rank in ranks.items()}
    usual = Counter(by_module.values()).most_common(1)[0][0]
    others = {module: rank for module, rank in by_module.items() if rank != usual}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "ensure_weight_tying": any(head in ranks for head in base.tied),
        "fan_in_fan_out": str(base.config.get("model_type")) in _TURNED,
        "target_modules": _targets(base, list(by_module)),
    }


def _targets(base: Checkpoint, modules: Sequence[str]) -> list[str]:
    """The ending of their names where it is those modules and no others, else their whole names."""
    adapted = set(modules)
    linear = [name.removesuffix(".weight") for name in [*base.names, *base.tied] if name.endswith(".weight")]
    others = {module.rpartition(".")[2] for module in linear if module not in adapted}
    return sorted({module if (end := module.rpartition(".")[2]) in others else end for module in modules})
