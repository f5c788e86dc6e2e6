"""What a model must show before it is written: the same logits as its source, and that ordinary text is likelier to it
than guessing makes it.

Logits alone prove that nothing was lost on the way; they say nothing of a source that was wrong already, such as a
file whose matrices were written across. Such a model is fluent in nothing: on every text it does worse than a guess
among all tokens. A matrix of one kind that lies across may still leave it better than that; so each kind is tried the
other way round, where its shape allows it, and none may do better.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...errors import ModelError
from .layout import LAYER, MetaWeights, read_across
from .reference import reference_logits

TEXTS = (
    "Once upon a time there was a little girl who lived in a small house near the woods. One day she went out to play "
    "with her dog. They were very happy and ran all the way to the river.",
    "def fibonacci(n):\n    a, b = 0, 1\n    for i in range(n):\n        a, b = b, a + b\n    return a\n\n"
    "print(fibonacci(10))\n",
    "옛날 옛적에 작은 마을에 한 소년이 살았습니다. 소년은 날마다 숲에 가서 나무를 하고, 저녁이면 집으로 돌아왔습니다.",
    "The committee said on Monday that it would publish the results of the study in the first week of March, after "
    "they have been checked.",
)
MARGIN = 0.5
"""Nats a token above guessing that are still let pass (a model that was never trained lies a little above), and by
which a matrix read the other way round must do better to be believed."""

TRIED = 10**9
"""Models of more numbers are not read the other way round: it takes longer than a person waits."""

OF_A_LAYER = re.compile(r"(?:.*\.)?\d+\.(.+)\.weight")
"""A weight of one of several layers: what follows its number is the kind."""

Logits = Callable[[list[int]], Tensor]  # tokens to [T, V]


def limits(model: Any) -> tuple[int, int]:
    """How many tokens a model knows, and how long a text may be."""
    text = model.config.get_text_config()
    return text.vocab_size, getattr(text, "max_position_embeddings", None) or 2048


def probe_tokens(*models: Any) -> list[int]:
    """A few tokens that all of these can read; the same for every model of a size."""
    vocab_size, longest = (min(limit) for limit in zip(*map(limits, models), strict=True))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (min(16, longest),), generator=generator).tolist()


@torch.no_grad()
def logits_of(model: Any, tokens: list[int], **kwargs: Any) -> Tensor:
    """[T, V] in float32, or [T, n, V] of all heads; on the device of the model."""
    row = torch.tensor([tokens], device=next(model.parameters()).device)
    found: Tensor = model(input_ids=row, use_cache=False, **kwargs).logits[0]
    return found.float().cpu()


def precision(dtype: torch.dtype) -> float:
    """How coarse a type is."""
    return float(torch.finfo(dtype).eps)


def same_logits(ours: Tensor, theirs: Tensor, dtype: torch.dtype, what: str) -> float:
    """The largest difference, when it is rounding: the root of the precision times the size of the logits."""
    difference = (ours - theirs).abs().max().item()
    allowed = precision(dtype) ** 0.5 * max(1.0, theirs.abs().max().item())
    if not difference <= allowed:
        raise ModelError(
            f"{what}: the logits differ from the source's by {difference:.3g}, and rounding in "
            f"{str(dtype).removeprefix('torch.')} allows {allowed:.2g}"
        )
    return difference


def same_weights(ours: Any, theirs: Any, what: str) -> None:
    """Every tensor that two models both have is the same, bit for bit."""
    other = theirs.state_dict()
    moved = [
        name for name, tensor in ours.state_dict().items() if name in other and not torch.equal(tensor, other[name])
    ]
    if moved:
        raise ModelError(f"{what}: {', '.join(f'`{name}`' for name in moved[:10])} are not what they were")


def finite(model: Any) -> None:
    """Refuse weights that are no numbers, by name."""
    bad = [name for name, weight in model.state_dict().items() if not torch.isfinite(weight).all()]
    if bad:
        raise ModelError(
            f"not every number of {', '.join(f'`{name}`' for name in bad[:10])} is finite in "
            f"{str(model.dtype).removeprefix('torch.')}"
        )


def text_losses(logits: Logits, tokenizer: Any, longest: int) -> list[float]:
    """Nats a token of each of the texts."""
    losses = []
    for text in TEXTS:
        tokens = tokenizer(text)["input_ids"][:longest]
        of_next = torch.nn.functional.cross_entropy(logits(tokens)[:-1], torch.tensor(tokens[1:]))
        losses.append(of_next.item())
    return losses


def fluent(model: Any, tokenizer: Any) -> dict[str, float]:
    """Its best text's nats a token and those of guessing, when it is better than a guess somewhere."""
    vocab_size, longest = limits(model)
    logits = partial(logits_of, model)
    best, guess = min(text_losses(logits, tokenizer, longest)), math.log(vocab_size)
    if not best <= guess + MARGIN:
        raise ModelError(
            f"on none of {len(TEXTS)} texts (stories, code, Korean, news) is this model better than a guess among all "
            f"tokens: at best {best:.2f} nats a token, and guessing has {guess:.2f}; its weights are damaged or not "
            "where they should lie, or the tokenizer is another model's. If it speaks none of these, --no-check-text "
            "leaves this out"
        )
    return {"best": round(best, 4), "guessing": round(guess, 4)}


def nothing_across(weights: MetaWeights, tokenizer: Any) -> None:
    """Refuse matrices that make more sense the other way round: all of them, or all of one kind."""
    if sum(tensor.numel() for tensor in weights.tensors.values()) > TRIED:
        return
    longest = weights.shape.max_seq_len

    def best(candidate: MetaWeights) -> float:
        return min(text_losses(lambda tokens: reference_logits(candidate, tokens)[:, 0], tokenizer, longest))

    guess = math.log(weights.shape.vocab_size)
    found, across = best(weights), read_across(weights).tensors
    kinds = [kind for kind in LAYER if across[first := f"layers.0.{kind}.weight"] is not weights.tensors[first]]

    def turned(chosen: list[str]) -> float:
        """The best text's loss with these kinds the other way round."""
        names = {name for name in across for kind in chosen if f".{kind}." in name}
        return best(replace(weights, tensors={**weights.tensors, **{name: across[name] for name in names}}))

    _none_better_turned(kinds, turned, found, guess)


@torch.no_grad()
def nothing_turned(model: Any, tokenizer: Any) -> int | None:
    """The same of a model of any family: its layers' square matrices, the others' shapes being those of the config.
    The number of kinds that were tried; None where the model is too large for it."""
    if model.num_parameters() > TRIED:
        return None
    vocab_size, longest = limits(model)
    kinds: dict[str, list[Tensor]] = {}
    for name, weight in model.get_decoder().named_parameters():
        of_a_layer = OF_A_LAYER.fullmatch(name)
        if of_a_layer and weight.dim() == 2 and weight.shape[0] == weight.shape[1]:
            kinds.setdefault(of_a_layer[1], []).append(weight)

    def turned(chosen: list[str]) -> float:
        """The best text's loss with these kinds the other way round; the model is left as it was."""
        weights = [weight for kind in chosen for weight in kinds[kind]]
        kept = [weight.data for weight in weights]
        try:
            for weight in weights:
                weight.data = weight.data.T.contiguous()
            return min(text_losses(partial(logits_of, model), tokenizer, longest))
        finally:
            for weight, data in zip(weights, kept, strict=True):
                weight.data = data

    if kinds:
        _none_better_turned([*kinds], turned, turned([]), math.log(vocab_size))
    return len(kinds)


def _none_better_turned(kinds: list[str], turned: Callable[[list[str]], float], found: float, guess: float) -> None:
    tries = {"its layers' matrices": kinds, **{f"`{kind}` of its layers": [kind] for kind in kinds}}
    losses = {which: turned(chosen) for which, chosen in tries.items()}
    which = min(losses, key=losses.__getitem__)
    if losses[which] < min(found - MARGIN, guess):
        raise ModelError(
            f"{which} are written across (transposed): as they are, the best of {len(TEXTS)} texts costs {found:.2f} "
            f"nats a token, the other way round {losses[which]:.2f}; make the file again with rows as outputs"
        )
