"""After a merge: the merged model against its base with the experts beside it, on the same tokens.

On one side the merged folder as it is loaded; on the other the base in float32, with w * scale * up @ (down @ x) added
to the outcome of each layer, so that no merged matrix is made a second time. Dense changes are added to the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..runtime.quiet import calm_libraries
from .checkpoint import Checkpoint
from .difference import Difference, Factors
from .reading import read_difference

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""By the merged model's precision: the largest difference of logits, as a share of the largest logit."""
ROWS, LENGTH = 2, 16


@dataclass(frozen=True)
class Proof:
    """How far the two are apart."""

    difference: float
    """The largest of any logit."""
    tolerance: float
    kl: float
    """Mean over places, in nats, of the merged model's distribution from the other's."""
    num_tokens: int

    def __str__(self) -> str:
        return (
            f"merged model against base and experts on {self.num_tokens} tokens: logits differ by at most "
            f"{self.difference:.2g} ({self.tolerance:.2g} allowed), KL {self.kl:.2g} nats"
        )


@calm_libraries()
def prove_merge(
    merged: str | Path,
    base: str | Path,
    experts: Mapping[str, str | Path | Difference],
    weights: Mapping[str, float],
    *,
    rows: Sequence[Sequence[int]] | None = None,
) -> Proof:
    """Compare their logits; `weights` are what each difference is multiplied by. Rows of token ids, of one length, may
    be given; others are drawn, always the same. A ModelError names the tensor that differs most."""
    import torch

    opened = Checkpoint(base)
    differences = [(_opened(name, path, opened), weights[name]) for name, path in experts.items()]
    ids_bt = _probe(int(opened.config["vocab_size"])) if rows is None else torch.tensor([list(row) for row in rows])
    wanted_btv = _logits(_beside(opened.folder, differences), ids_bt)
    model = _load(Checkpoint(merged).folder, "auto")
    kind = str(model.dtype).removeprefix("torch.")
    got_btv = _logits(model.float(), ids_bt)
    found = Proof(
        difference=float((got_btv - wanted_btv).abs().max()),
        tolerance=TOLERANCE[kind] * float(wanted_btv.abs().max()),
        kl=float(torch.nn.functional.kl_div(
            got_btv.log_softmax(-1), wanted_btv.log_softmax(-1), log_target=True, reduction="none"
        ).sum(-1).mean()),
        num_tokens=ids_bt.numel(),
    )  # fmt: skip
    if not found.difference <= found.tolerance:
        raise ModelError(f"{merged} is not what was asked for: {found}; {_most_different(merged, opened, differences)}")
    return found


def _opened(name: str, path: str | Path | Difference, base: Checkpoint) -> Difference:
    return path if isinstance(path, Difference) else read_difference(path, base, name)


def _probe(vocabulary: int) -> Tensor:
    import torch

    return torch.randint(vocabulary, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))


def _load(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    from ..models.value_head import expected_by_us

    with expected_by_us():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def _beside(folder: Path, differences: Sequence[tuple[Difference, float]]) -> Any:
    """The base with the experts beside its layers."""
    import torch

    model = _load(folder, "float32")
    with torch.no_grad():
        for difference, weight in differences:
            for name in difference.names:
                part, module = difference.part(name), model.get_submodule(name.rpartition(".")[0])
                if isinstance(part, Factors) and isinstance(module, torch.nn.Linear):
                    module.register_forward_hook(partial(_add, part, weight))
                else:  # an embedding, or a weight that is stored the other way round
                    dense = part.dense() if isinstance(part, Factors) else part
                    model.get_parameter(name).add_(weight * dense)
    return model


def _add(part: Factors, weight: float, module: Any, inputs: tuple[Tensor, ...], outcome: Tensor) -> Tensor:
    return outcome + weight * part.scale * ((inputs[0] @ part.down.T) @ part.up.T)


def _logits(model: Any, ids_bt: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=ids_bt, use_cache=False).logits
    return logits.float()


def _most_different(merged: str | Path, base: Checkpoint, differences: Sequence[tuple[Difference, float]]) -> str:
    """Tensor by tensor, which is only done when something is wrong."""
    made, worst = Checkpoint(merged), ("", 0.0)
    for name in made.names:
        wanted = base.read(name).float()
        for difference, weight in differences:
            if name in difference.parts:
                wanted = wanted + weight * difference.dense(name)
        share = float((made.read(name).float() - wanted).norm() / wanted.norm().clamp(min=1e-12))
        if not share <= worst[1]:
            worst = (name, share)
    return f"{worst[0]} differs most, by {worst[1]:.2g} of its norm"
