"""A generation metric cheap enough to choose a checkpoint by: chrF of greedy answers on a fixed subset.

chrF (Popovic 2015) compares character n-grams, so it needs no tokenizer of words and treats Korean and English alike;
sacrebleu computes it. The subset is the first examples of the held-out table, the same at every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..data.table import TokenTable
from ..errors import RecipeError
from ..generation.greedy import greedy_tokens

if TYPE_CHECKING:
    from torch import nn


def prompt_and_target(tokens: list[int], supervised: list[bool]) -> tuple[list[int], list[int]]:
    """Split an encoded example at its last learned stretch.

    tokens       P  P  a  .  Q  b  c  .        supervised   0  0  1  1  0  1  1  1
    prompt       P  P  a  .  Q                 target       b  c  .
    """
    end = len(supervised)
    while end and not supervised[end - 1]:
        end -= 1
    start = end
    while start and supervised[start - 1]:
        start -= 1
    return tokens[:start], tokens[start:end]


def chrf_on_subset(
    table: TokenTable, tokenizer: Any, num_examples: int, max_new_tokens: int | None = None
) -> Callable[[nn.Module], dict[str, float]]:
    """A function of a model that gives {"chrf": 0..100}, on the same examples every time it is called."""
    from sacrebleu import corpus_chrf

    pairs = []
    for i in range(min(num_examples, len(table))):
        tokens, supervised = table.example(i)
        prompt, target = prompt_and_target(tokens.tolist(), supervised.tolist())
        if len(prompt) > 1 and target:  # an example that is learned whole still has a first token, which never is
            pairs.append((prompt, target))
    if not pairs:
        raise RecipeError(
            f"selection by chrf needs a prompt to answer, and the first {min(num_examples, len(table))} examples of "
            "`data.eval` have none: raw text, or `data.learn: all`; set `selection.metric: loss`"
        )
    prompts, targets = [p for p, _ in pairs], [t for _, t in pairs]
    stop_ids = sorted({target[-1] for target in targets} | {tokenizer.eos_token_id} - {None})
    longest = max_new_tokens or max(map(len, targets)) + 8
    references = tokenizer.batch_decode(targets, skip_special_tokens=True)

    def measure(model: nn.Module) -> dict[str, float]:
        answers = greedy_tokens(model, prompts, stop_ids, longest)
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        return {"chrf": corpus_chrf(texts, [references]).score}

    return measure
