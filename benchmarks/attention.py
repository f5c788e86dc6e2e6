"""Attention over packed rows: `curricle_packed` against transformers' own packed SDPA path, which masks a T x T square.

    python benchmarks/attention.py                 # rows of 2,048 and of 8,192 tokens
    python benchmarks/attention.py --kv-heads 2    # the same with grouped queries

The model is a Llama (hidden 384, 6 layers, 6 heads, vocabulary 32,000, tied); documents are about 200 tokens long, one
sixth of each supervised. Both paths do the same work, forward and backward through the whole model, and score the
supervised positions only. First they must agree to 1e-5 in fp32; then they are timed in bf16 autocast, in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from curricle.models.attention import PACKED, documents, packed_rows
from harness import compare_times, figure, versioned

TARGETS = {2048: 1.7, 8192: 5.0}
MEAN_LENGTH, SUPERVISED_SHARE, VOCABULARY = 200, 1 / 6, 32_000


def build_model(kv_heads: int) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=kv_heads,
        vocab_size=VOCABULARY,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def draw_lengths(num_tokens: int) -> list[int]:
    """Documents of log-normal length, mean about 200, the last one cut to fill the row."""
    rng = np.random.default_rng(0)
    lengths: list[int] = []
    while (room := num_tokens - sum(lengths)) > 0:
        lengths.append(min(room, max(8, int(rng.lognormal(np.log(MEAN_LENGTH) - 0.125, 0.5)))))
    return lengths


def packed_row(lengths: list[int]) -> dict[str, Tensor]:
    """Tokens, positions that restart, and which positions are scored: the last sixth of each document."""
    generator = torch.Generator().manual_seed(0)
    keep = [torch.arange(length) >= length * (1 - SUPERVISED_SHARE) for length in lengths]
    return {
        "input_ids": torch.randint(VOCABULARY, (1, sum(lengths)), generator=generator),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "logits_to_keep": torch.cat(keep)[None],
    }


def training_pass(model: PreTrainedModel, row: dict[str, Tensor], lengths: list[int], ours: bool) -> Tensor:
    """One forward and backward; returns the loss."""
    model.set_attn_implementation(PACKED if ours else "sdpa")
    model.zero_grad(set_to_none=True)
    with packed_rows() if ours else nullcontext():
        more: dict[str, Any] = documents(lengths, "cpu") if ours else {}
        logits = model(**row, use_cache=False, **more).logits.flatten(0, -2)
    targets = row["input_ids"][row["logits_to_keep"]]
    loss = torch.nn.functional.cross_entropy(logits.float(), targets)
    loss.backward()
    return loss.detach()


def largest_difference(model: PreTrainedModel, row: dict[str, Tensor], lengths: list[int]) -> float:
    """In fp32, over the loss and every gradient, each relative to its own largest entry."""
    ours = [training_pass(model, row, lengths, ours=True), *(p.grad.clone() for p in model.parameters())]
    peer = [training_pass(model, row, lengths, ours=False), *(p.grad.clone() for p in model.parameters())]
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, peer, strict=True))


def timed(model: PreTrainedModel, row: dict[str, Tensor], lengths: list[int], ours: bool) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return training_pass(model, row, lengths, ours)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kv-heads", type=int, default=6, choices=[1, 2, 3, 6], help="6: as many as query heads")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, peer_version = build_model(arguments.kv_heads), versioned("transformers")
    for num_tokens, target in TARGETS.items():
        lengths = draw_lengths(num_tokens)
        row = packed_row(lengths)
        name, about = (
            f"attention.packed_{num_tokens}",
            {"documents": len(lengths), "kv_heads": arguments.kv_heads, "threads": arguments.threads},
        )
        difference = largest_difference(model, row, lengths)
        figure(f"{name}.difference_fp32", ours=difference, target=1e-5, direction="at_most", **about)
        ours, peer = (timed(model, row, lengths, ours=ours) for ours in (True, False))
        compare_times(
            name, ours, peer, target=target, peer_version=peer_version, repeats=arguments.repeats, dtype="bf16", **about
        )


if __name__ == "__main__":
    main()
