"""What a model must show before it is written: the same logits as its source, and that ordinary text is likelier to it
than guessing makes it.

Logits alone prove that nothing was lost on the way; they say nothing of a source that was wrong already, such as a
file whose matrices were written across. Such a model is fluent in nothing: on every text it does worse than a guess
among all tokens. A matrix of one kind that lies across may still leave it better than that; so each kind is tried the
other way round, where a file gave no shapes, and none may do better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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

Logits = Callable[[list[int]], Tensor]  # tokens to [T, V]


def probe_tokens(vocab_size: int, longest: int = 16) -> list[int]:
    """The same few tokens for every model of a size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (longest,), generator=generator).tolist()


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


def finite(model: Any) -> None:
    """Refuse weights that are no numbers, by name."""
    bad = [name for name, weight in model.state_dict().items() if not torch.isfinite(weight).all()]
    if bad:
        raise ModelError(f"not every number of {', '.join(f'`{name}`' for name in bad[:10])} is finite")


def text_losses(logits: Logits, tokenizer: Any, longest: int) -> list[float]:
    """Nats a token of each of the texts."""
    losses = []
    for text in TEXTS:
        tokens = tokenizer(text)["input_ids"][:longest]
        of_next = torch.nn.functional.cross_entropy(logits(tokens)[:-1], torch.tensor(tokens[1:]))
        losses.append(of_next.item())
    return losses


def fluent(logits: Logits, tokenizer: Any, vocab_size: int, longest: int) -> dict[str, float]:
    """Its best text's nats a token and those of guessing, when it is better than a guess somewhere."""
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
    longest = weights.shape.max_seq_len

    def best(candidate: MetaWeights) -> float:
        return min(text_losses(lambda tokens: reference_logits(candidate, tokens)[:, 0], tokenizer, longest))

    guess = math.log(weights.shape.vocab_size)
    found, across = best(weights), read_across(weights).tensors
    kinds = [kind for kind in LAYER if across[f"layers.0.{kind}.weight"].dim() == 2]
    for chosen in (kinds, *([kind] for kind in kinds)):
        turned = {n: across[n] if any(f".{kind}." in n for kind in chosen) else t for n, t in weights.tensors.items()}
        other = best(MetaWeights(weights.shape, turned))
        if other < min(found - MARGIN, guess):
            which = "its layers' matrices" if len(chosen) > 1 else f"`{chosen[0]}` of its layers"
            raise ModelError(
                f"{which} are written across (transposed): as they are, the best of {len(TEXTS)} texts costs "
                f"{found:.2f} nats a token, the other way round {other:.2f}; make the file again with rows as outputs"
            )
