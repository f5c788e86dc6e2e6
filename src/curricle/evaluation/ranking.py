"""hits@k of N, as PersonaChat and ConvAI2 measure dialogue: is the true answer among the k likeliest of N candidates?

    prompt                                  candidate                       mean log p
    ... How are you? [assistant]            Fine, and you?                    -1.9       the true one: rank 2
                                            I like dogs.                      -2.7       other rows' answers
                                            Good.                             -1.6

Candidates of a prompt share all that comes before them, so the model reads the prompt once, keeps its keys and values,
and reads the candidates beside each other after it. A model whose memory is no such list, or for which this gives other
numbers on the longest prompt, reads every candidate with its prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ..data.rows import Rows
from ..data.table import TokenTable
from ..errors import DataError, RecipeError
from ..losses.flat import IGNORED, keep_mask
from ..models.head import AllOne, HeadTap, accepts, base_model, supervised_losses
from ..models.likelihood import answer_losses_of, max_positions, over_ranks
from ..runtime import ranks
from ..runtime.progress import say, track
from .answers import last_answers
from .score import Score

if TYPE_CHECKING:
    from torch import nn

SLICE = 32
"""Rows whose candidates are read at a time where the prompt is not shared."""


@dataclass(frozen=True)
class Choice:
    """A prompt and its candidates, in tokens; the first is the true one."""

    prompt: list[int]
    candidates: list[list[int]]


def hits(
    model: nn.Module,
    table: TokenTable,
    rows: Rows,
    *,
    tokenizer: Any = None,
    candidates: int = 20,
    k: Sequence[int] = (1,),
    by: Literal["mean", "sum"] = "mean",
    given: Sequence[Sequence[list[int]]] | None = None,
    seed: int = 0,
    batch_size: int = 1,
) -> list[Score]:
    """hits@k in percent, for each k. Rows without a prompt and an answer weigh 0.

    `given` names each row's wrong candidates, in tokens; otherwise they are drawn from the other rows' answers, by the
    row's id. `tokenizer` tells answers apart by their text; without one they are told apart by their tokens.
    """
    if max(k) >= candidates:
        raise RecipeError(f"hits@{max(k)} of {candidates} candidates is always met; k must be below {candidates}")
    pairs = last_answers(table)
    usable = [i for i, (prompt, target) in enumerate(pairs) if prompt and target]
    wrong = given if given is not None else distractors(pairs, usable, table.ids, candidates - 1, seed, tokenizer)
    limit = max_positions(model)
    choices = [_fit(Choice(pairs[i][0], [pairs[i][1], *wrong[i][: candidates - 1]]), limit) for i in usable]
    places = np.array([rank(scores) for scores in candidate_scores(model, choices, rows, by, batch_size)])
    weights = np.zeros(len(pairs))
    weights[usable] = 1.0
    source = "other rows' answers, drawn by row id" if given is None else "given with the row"
    cut = sum(len(choice.prompt) < len(pairs[i][0]) for i, choice in zip(usable, choices, strict=True))
    note = (
        f"percent; {candidates} candidates: the true answer and {source} (seed {seed}); ranked by {by} log-likelihood, "
        f"end of turn included; a tie is a miss" + (f"; the beginning of {cut} prompts cut to fit" if cut else "")
    )
    return [_score(number, places, usable, weights, note) for number in k]


def rank(scores: npt.NDArray[np.float64]) -> int:
    """The true candidate's place, the first of `scores`; whoever is not below it is before it, and so is NaN."""
    return 1 + int((~(scores[1:] < scores[0])).sum())


def _score(k: int, places: npt.NDArray[np.int64], usable: list[int], weights: npt.NDArray[Any], note: str) -> Score:
    met = np.zeros(len(weights))
    met[usable] = 100.0 * (places <= k)
    return Score(f"hits@{k}", float(met[usable].mean()), met, weights, note=note)


# ---- candidates -----------------------------------------------------------------------------------------------------


def distractors(
    pairs: Sequence[tuple[list[int], list[int]]],
    usable: Sequence[int],
    ids: Sequence[str],
    num: int,
    seed: int,
    tokenizer: Any = None,
) -> dict[int, list[list[int]]]:
    """For each usable row `num` answers of other rows, all different, none equal to its own, drawn by the row's id.

    The draw is a hash, so it is the same on every machine and in every order of the rows.
    """
    texts = _texts([pairs[i][1] for i in usable], tokenizer)
    pool = dict(sorted(zip(texts, (pairs[i][1] for i in usable), strict=True)))
    if len(pool) <= num:
        raise DataError(
            f"hits of {num + 1} candidates needs as many different answers, and `data.eval` has {len(pool)}: "
            f"set candidates to {len(pool)} or less, or measure more rows"
        )
    known = list(pool.items())
    drawn = {}
    for i, own in zip(usable, texts, strict=True):
        chosen: dict[str, list[int]] = {}
        for number in count():
            digest = hashlib.sha256(f"{seed}\n{ids[i]}\n{number}".encode()).digest()
            text, target = known[int.from_bytes(digest[:8]) % len(known)]
            if text != own:
                chosen[text] = target
            if len(chosen) == num:
                break
        drawn[i] = list(chosen.values())
    return drawn


def _texts(targets: list[list[int]], tokenizer: Any) -> list[str]:
    """By what answers are told apart: their words, or their tokens."""
    if tokenizer is None:
        return [" ".join(map(str, target)) for target in targets]
    return [" ".join(text.split()) for text in tokenizer.batch_decode(targets, skip_special_tokens=True)]


def _fit(choice: Choice, limit: int | None) -> Choice:
    """The same for all candidates of a prompt: its beginning goes where the longest would not fit the model."""
    if limit is None:
        return choice
    room = limit - max(map(len, choice.candidates))
    if room < 1:
        raise DataError(f"a candidate of {limit - room} tokens leaves no room for its prompt: the model takes {limit}")
    return replace(choice, prompt=choice.prompt[-room:])


# ---- likelihoods ----------------------------------------------------------------------------------------------------


def candidate_scores(
    model: nn.Module, choices: Sequence[Choice], rows: Rows, by: Literal["mean", "sum"] = "mean", batch_size: int = 1
) -> list[npt.NDArray[np.float64]]:
    """Log-likelihoods of each choice's candidates after its prompt, a token or in all."""
    if not choices:
        raise DataError("hits needs rows with a prompt and an answer, and `data.eval` has none")
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), HeadTap(model) as tap:
            longest = max(choices, key=lambda choice: len(choice.prompt))  # where a window or a memory would show
            [whole] = _read_whole(model, [longest], rows, batch_size)
            if _shares_prompts(model, tap, longest, whole):
                sums = _read_shared(model, tap, choices)
            else:
                say("this model keeps no prompt in memory that candidates could share: each is read with its own")
                sums = _read_whole(model, choices, rows, batch_size)
    finally:
        model.train(was_training)
    if by == "sum":
        return sums
    return [own / [len(one) for one in choice.candidates] for own, choice in zip(sums, choices, strict=True)]


def _read_whole(
    model: nn.Module, choices: Sequence[Choice], rows: Rows, batch_size: int
) -> list[npt.NDArray[np.float64]]:
    """Every candidate with its prompt, in rows like any others."""
    found = []
    for start in range(0, len(choices), SLICE):
        part = choices[start : start + SLICE]
        pairs = [(choice.prompt, one) for choice in part for one in choice.candidates]
        losses = answer_losses_of(model, pairs, rows, batch_size=batch_size)
        ends = np.cumsum([len(choice.candidates) for choice in part])
        found += np.split(-losses.sums(), ends[:-1])
    return found


def _shares_prompts(model: nn.Module, tap: HeadTap, choice: Choice, whole: npt.NDArray[np.float64]) -> bool:
    """Whether reading the prompt once gives what reading it with every candidate gives, up to rounding."""
    if not accepts(base_model(model), "past_key_values"):
        return False
    shared = _after_prompt(model, tap, choice)
    if shared is None:
        return False
    half = any(weight.dtype in (torch.float16, torch.bfloat16) for weight in model.parameters())
    half |= torch.is_autocast_enabled(next(model.parameters()).device.type)
    return np.allclose(shared, whole, rtol=5e-2 if half else 1e-3, atol=1e-2 if half else 1e-3)


def _read_shared(model: nn.Module, tap: HeadTap, choices: Sequence[Choice]) -> list[npt.NDArray[np.float64]]:
    """Each rank reads its share of the prompts; all have all the sums."""
    sizes = np.cumsum([0, *(len(choice.candidates) for choice in choices)])
    values = np.zeros(sizes[-1])
    mine = range(ranks.rank(), len(choices), ranks.world_size())
    for i in track(mine, "ranking candidates", total=len(mine)):
        found = _after_prompt(model, tap, choices[i])
        assert found is not None
        values[sizes[i] : sizes[i + 1]] = found
    values = over_ranks(values, model)
    return np.split(values, sizes[1:-1])


def _after_prompt(model: nn.Module, tap: HeadTap, choice: Choice) -> npt.NDArray[np.float64] | None:
    """Summed log-likelihoods of the candidates; None where the model keeps another kind of memory.

    prompt a b c, candidates D E and F, padded on the right, where no token that counts looks:

        read once        a b                     its keys and values, repeated for each candidate
        input_ids        c D E   c F c           the prompt's last token foresees the first of a candidate
        labels           . D E   . F .
    """
    from transformers import cache_utils

    device = next(model.parameters()).device
    *before, last = choice.prompt
    inputs: dict[str, Any] = {}
    if before:
        few = {"logits_to_keep": 1} if "logits_to_keep" in tap.accepts else {}
        outputs = model(input_ids=torch.tensor([before], device=device), use_cache=True, **few)
        memory = getattr(outputs, "past_key_values", None)
        plain = (cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer)
        if not isinstance(memory, cache_utils.Cache) or not all(type(layer) in plain for layer in memory.layers):
            return None
        memory.batch_repeat_interleave(len(choice.candidates))
        inputs["past_key_values"] = memory
    width = 1 + max(map(len, choice.candidates))
    labels_bt = torch.full((len(choice.candidates), width), IGNORED, device=device)
    for row_t, one in zip(labels_bt, choice.candidates, strict=True):
        row_t[1 : 1 + len(one)] = torch.tensor(one, device=device)
    inputs["input_ids"] = torch.where(labels_bt == IGNORED, last, labels_bt)
    loss_n = supervised_losses(model, inputs, labels_bt, tap, AllOne()).loss_n
    owners_n = keep_mask(labels_bt).nonzero()[:, 0].cpu().numpy()
    return -np.bincount(owners_n, loss_n.cpu().double().numpy(), len(labels_bt)).astype(np.float64)
