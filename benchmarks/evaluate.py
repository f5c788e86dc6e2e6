"""Answers to prompts, in batches that rows leave and join, against transformers' `generate` one prompt at a time.

    python benchmarks/evaluate.py            # 200 prompts, five rounds in turn
    python benchmarks/evaluate.py --quick    # 80 prompts, two rounds, to have a look

A Llama (hidden 384, 6 layers, 6 heads, vocabulary 32,000, tied) in float32, two threads, random weights. Prompts and
answers have log-normal lengths, 180 and 36 tokens in the mean; a random model ends nothing by itself, so each row has a
length of its own, the same on both sides. Each round ours answers all prompts, and the peer, for whom it makes no
difference, a fifth of them, drawn across all lengths; seconds a token are compared.

Greedy tokens are compared. Where two answers part, the two likeliest tokens have to lie within 1e-4: then rounding
decides, and neither is wrong. The floor is the bare matrix products: every prompt token once through the layers, and
every step of a full batch once through all weights; no attention, no norms, no cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "passive"  # as in sft.py: threads that wait sleep

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from curricle.generation.choice import Row
from curricle.generation.config import GenerationConfig
from curricle.generation.decode import decode
from curricle.generation.exchange import READ_AT_ONCE
from harness import figure, interleaved, seconds, versioned

VOCABULARY, PROMPT, ANSWER, BATCH, STOP, TIE = 32_000, 180, 36, 16, 2, 1e-4
Work = list[tuple[list[int], int]]


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def make_work(num: int, seed: int = 0) -> Work:
    """Prompts of random tokens, each with the length of its answer."""
    rng = np.random.default_rng(seed)

    def lengths(mean: float) -> np.ndarray:
        return np.clip(rng.lognormal(np.log(mean) - 0.125, 0.5, num), 4, 4 * mean).astype(int)

    prompts, answers = lengths(PROMPT), lengths(ANSWER)
    return [(rng.integers(4, VOCABULARY, n).tolist(), int(limit)) for n, limit in zip(prompts, answers, strict=True)]


def ours(model: Any, work: Work) -> list[list[int]]:
    rows = [Row(i, list(prompt), limit) for i, (prompt, limit) in enumerate(work)]
    decode(model, rows, [STOP], GenerationConfig(batch_size=BATCH))
    return [row.answer for row in rows]


def one_by_one(model: Any, work: Work) -> list[list[int]]:
    answers = []
    for prompt, limit in work:
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "max_new_tokens": limit, "eos_token_id": STOP, "pad_token_id": 0}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :].tolist()
        answers.append(out[: out.index(STOP)] if STOP in out else out)
    return answers


@torch.no_grad()
def gap(model: Any, prompt: list[int], one: list[int], other: list[int]) -> float:
    """Between the two likeliest tokens where two answers part."""
    place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    first, second = model(input_ids=torch.tensor([[*prompt, *one[:place]]])).logits[0, -1].topk(2).values.tolist()
    return float(first - second)


@torch.no_grad()
def floor(model: Any, work: Work) -> float:
    """Seconds of the matrix products alone."""
    layers = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    head = model.get_output_embeddings().weight

    def products(num_rows: int, weights: list[torch.Tensor]) -> float:
        inputs = {width: torch.randn(num_rows, width) for width in {weight.shape[1] for weight in weights}}
        return statistics.median(
            seconds(lambda: [linear(inputs[weight.shape[1]], weight) for weight in weights]) for _ in range(7)
        )

    num_read, num_made = sum(len(prompt) for prompt, _ in work), sum(limit for _, limit in work)
    return (
        products(READ_AT_ONCE, layers) * num_read / READ_AT_ONCE + products(BATCH, [*layers, head]) * num_made / BATCH
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="80 prompts, two rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(2)

    num, rounds = (80, 2) if quick else (200, 5)
    model, work = make_model(), make_work(num)
    by_length = sorted(work, key=lambda pair: len(pair[0]))
    shares = [by_length[start::rounds] for start in range(rounds)]
    made: dict[str, list[list[int]]] = {"ours": [], "peer": []}
    turn = iter(shares)

    ours(model, work[:BATCH])
    one_by_one(model, work[:2])
    ours_times, peer_times = interleaved(
        lambda: made.update(ours=ours(model, [pair for share in shares for pair in share])),
        lambda: made["peer"].extend(one_by_one(model, next(turn))),
        repeats=rounds,
        warmup=0,
    )
    tokens = sum(map(len, made["ours"]))
    ours_rates = [tokens / spent for spent in ours_times]
    lengths = iter(map(len, made["peer"]))
    peer_rates = [sum(next(lengths) for _ in share) / spent for share, spent in zip(shares, peer_times, strict=True)]
    ratios = [own / other for own, other in zip(ours_rates, peer_rates, strict=True)]
    peer = versioned("transformers") + " generate, one by one"
    figure(
        "generation.speed",
        ours=statistics.median(ours_rates),
        peer=statistics.median(peer_rates),
        peer_version=peer,
        ratio=statistics.median(ratios),
        target=3.0,
        spread=(min(ratios), max(ratios)),
        unit="tokens/s",
        prompts=num,
        repeats=rounds,
    )
    prompts = [prompt for share in shares for prompt, _ in share]
    pairs = list(zip(prompts, made["peer"], made["ours"], strict=True))
    gaps = [gap(model, prompt, one, other) for prompt, one, other in pairs if one != other]
    figure("generation.same_answers", ours=1 - len(gaps) / num, peer_version=peer, target=0.95)
    figure("generation.gap_where_they_part", ours=max(gaps, default=0.0), target=TIE, direction="at_most")
    bare, whole = floor(model, work), statistics.median(ours_times)
    figure(
        "generation.floor", ours=whole, peer=bare, peer_version="bare matrix products", unit="s", direction="at_most"
    )


if __name__ == "__main__":
    main()
