"""A weighting's own time beside a training step of the model of `sft.py`: at most 2% of it.

    python benchmarks/weighting.py

Timed: joining what rows bring to the flat table, the weights, and the means that are always logged; of a critic and a
reference model nothing but their numbers, as they are passes of models. The step is one packed forward and backward of
the same rows with every weight 1, without the optimizer, which would only make it longer. Weightings that must see the
losses first also pay for the logits a second time; that is a line of its own, against the same step.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded: threads that wait do not take the cores

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.losses.flat import FlatTokens, flatten, keep_mask
from curricle.models.attention import PACKED, for_model
from curricle.models.head import HeadTap, supervised_losses
from curricle.training.columns import Joined, RowColumns
from curricle.weighting import Uniform, Weighting, WeightingConfig, build_weighting
from harness import compare_times, figure, seconds

ROWS, PROMPT, RESPONSE, VOCABULARY, ROUNDS, CALLS, TARGET = 8, 180, 36, 32_000, 5, 20, 0.02
KINDS: dict[str, dict[str, Any]] = {
    "td_error": {"kind": "td_error"},
    "td_error_gae": {"kind": "td_error", "gae_lambda": 0.95, "normalize": True},
    "reference_excess": {"kind": "reference_excess", "reference": "any"},
    "reference_excess_soft": {"kind": "reference_excess", "reference": "any", "softness": 0.5},
    "column": {"kind": "column"},
    "own_probability": {"kind": "own_probability"},
    "correct_only": {"kind": "correct_only"},
    "random_tokens": {"kind": "random_tokens"},
    "shuffled": {"kind": "td_error", "control": "shuffled"},
    "random_matched": {"kind": "td_error", "control": "random_matched"},
}


def rows() -> TokenTable:
    """Eight examples of the mean length of `sft.py`, with a reward and a weight for each token."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(4, VOCABULARY, PROMPT + RESPONSE).tolist() for _ in range(ROWS)]
    labels = [[-100] * PROMPT + tokens[PROMPT:] for tokens in ids]
    rewards = [float(i % 2) for i in range(ROWS)]
    weights = [rng.random(RESPONSE).tolist() for _ in range(ROWS)]
    return TokenTable.from_lists(ids, labels, rewards=rewards, token_weights=weights)


def model() -> Any:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=PACKED)


def step(net: Any, tap: HeadTap, batch: dict[str, Any], weighting: Any) -> None:
    inputs = {name: value for name, value in batch.items() if name not in ("example_ids", "labels")}
    with for_model(inputs) as given, torch.autocast("cpu", torch.bfloat16):
        supervised_losses(net, given, batch["labels"], tap, weighting).loss_sum.backward()
    net.zero_grad(set_to_none=True)


class Seen(Weighting):
    """Weights of 1 that must see the losses: what that alone costs."""

    def __call__(self, tokens: FlatTokens) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.ones(len(tokens)), {}


def timed(work: Callable[[], Any], calls: int = 1) -> list[float]:
    """Seconds of one call, in several rounds of so many calls."""

    def repeated() -> None:
        for _ in range(calls):
            work()

    work()
    return [seconds(repeated) / calls for _ in range(ROUNDS)]


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    table, net = rows(), model()
    net.train()
    batch = Rows(max_length=ROWS * (PROMPT + RESPONSE)).collate(table, [list(range(ROWS))])
    flat = flatten(batch["labels"], keep_mask(batch["labels"]), batch)
    generator = torch.Generator().manual_seed(0)
    before_n, after_n, loss_n = torch.rand(3, len(flat), generator=generator)
    columns = RowColumns(table, np.random.default_rng(1).random(len(table.tokens)).astype(np.float32))
    flat = replace(flat, before_n=before_n, after_n=after_n, loss_n=loss_n)
    with HeadTap(net) as tap:
        plain, seeing = (partial(step, net, tap, batch, weighting) for weighting in (Uniform(), Seen()))
        mean = statistics.mean(timed(plain))
        compare_times("weighting.losses_seen_first.time_of_step", seeing, plain, target=None, direction="at_most")
    for name, settings in KINDS.items():
        weighting = Joined(
            build_weighting(WeightingConfig(**settings)), partial(columns.join, examples=batch["example_ids"])
        )
        own = timed(partial(weighting, flat), CALLS)
        spread = [min(own) / mean, max(own) / mean]
        figure(
            f"weighting.{name}.share_of_step",
            ours=statistics.median(own),
            peer=mean,
            target=TARGET,
            direction="at_most",
            spread=spread,
            unit="s",
        )


if __name__ == "__main__":
    main()
