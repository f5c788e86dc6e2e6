"""A LoRA adapter folded into its base: exactly what ran in training, or an error.

Where embedding and head share one weight, PEFT (0.21) adds the factors of each end to the shared weight, so that both
ends get both changes. Here each end has a weight of its own first; they are one again where they come out the same.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RunError
from ..runtime.progress import say

TOLERANCE = 1e-4
"""The largest difference of logits in float32, as a share of the largest logit."""
_ROUNDING = 1e-6
"""The same product summed in another order, as a share of the largest weight."""
_SETTLED = (
    "Model has `tie_word_embeddings=True` and a tied layer is",
    "Input and output embeddings are no longer tied",
)
ROWS, LENGTH = 2, 16


def merge_adapter(base: Any, folder: Path) -> Any:
    """`base`, in float32, with the adapter in `folder` in its weights; refused when it then gives other logits."""
    from peft import PeftModel

    ids_bt = _probe(base.get_input_embeddings().weight.shape[0])
    were_one = _are_one(base)
    with warnings.catch_warnings():
        for settled in _SETTLED:
            warnings.filterwarnings("ignore", settled, UserWarning)
        adapted = PeftModel.from_pretrained(base, folder).eval()
        wanted_btv = _logits(adapted, ids_bt)
        if were_one:
            _part_ends(base)
        merged: Any = adapted.merge_and_unload(safe_merge=True)
    if were_one and not _are_one(merged):
        _join_ends(merged)
    _check(_logits(merged, ids_bt), wanted_btv, folder)
    return merged


def _are_one(model: Any) -> bool:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return head is not None and head.weight is embedding.weight


def _part_ends(model: Any) -> None:
    """Give the head its own copy of the weight that it shares with the embedding, where factors are beside either."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embedding, head = (end.get_base_layer() if hasattr(end, "get_base_layer") else end for end in ends)
    if (embedding, head) != ends and head.weight is embedding.weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        _say_tied(model, False)


def _join_ends(model: Any) -> None:
    """One weight again where both ends learned the same; else the model is written with two."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    apart = float((head.weight - embedding.weight).abs().max())
    can_be_one = apart <= _ROUNDING * float(embedding.weight.abs().max())
    _say_tied(model, can_be_one)
    if can_be_one:
        head.weight = embedding.weight
        return
    say(
        "embedding and head shared one weight, and the adapter changes them differently: both are written "
        "(tie_word_embeddings false)"
    )


def _say_tied(model: Any, tied: bool) -> None:
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = tied


def _probe(vocabulary: int) -> Tensor:
    return torch.randint(vocabulary, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _logits(model: Any, ids_bt: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids_bt, attention_mask=torch.ones_like(ids_bt), use_cache=False).logits
    return logits


def _check(got_btv: Tensor, wanted_btv: Tensor, folder: Path) -> None:
    difference, allowed = float((got_btv - wanted_btv).abs().max()), TOLERANCE * float(wanted_btv.abs().max())
    if not difference <= allowed:
        raise RunError(
            f"{folder} cannot be merged into its base: logits of the merged model differ by {difference:.2g} from the "
            f"adapted one's ({allowed:.2g} allowed), and nothing was written; use base and adapter as they are"
        )
