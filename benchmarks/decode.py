"""A multi-token model that drafts for itself, against transformers' greedy `generate` for the same model.

    python benchmarks/decode.py            # trains the model if the cache has none, then five rounds in turn
    python benchmarks/decode.py --quick    # two rounds, fewer prompts; the same model

The model is a Llama of 22.9M parameters in float32 (hidden 384, 6 layers, 6 heads, vocabulary 32,000, tied), made from
scratch with 4 parallel heads: two layers of trunk, and a layer for each head. It has read made-up programs
(`toy:contest`, right ones, each behind its problem) for under ten minutes, and goes on from problems that it has not
read. Only the 1,024 tokens of its tokenizer were trained; the other rows of the vocabulary are zero, so that a pass
costs what it costs.

Ours drafts three tokens with heads 2 to 4 and verifies them in the next pass; `generate` runs head 1 alone, which
leaves the other three layers out. One prompt at a time, greedy, 128 new tokens each; tokens are compared. Where two
answers part, the two likeliest tokens have to lie within 1e-4: then rounding decides. Without drafts, with more rows
at once and with drawn tokens ours is shown beside it, without a target.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from curricle.experiments.toys.sources import toy_rows
from curricle.generation.choice import Row
from curricle.generation.config import GenerationConfig
from curricle.generation.decode import decode
from curricle.generation.speculative import Drafted
from curricle.models.mtp.making import scratch_config
from curricle.models.mtp.model import MtpForCausalLM
from curricle.models.nano import train_tokenizer
from curricle.runtime.cache import cached_folder
from curricle.runtime.fingerprint import fingerprint
from curricle.runtime.progress import say
from harness import figure, interleaved, seconds, versioned

VOCABULARY, SPOKEN, HEADS, ANSWER, TIE = 32_000, 1024, 4, 128, 1e-4
STOP = VOCABULARY - 1  # a token that is never said: every answer has its full length
ROWS, BATCH, WIDTH, LEARNING_RATE = 12_000, 8, 256, 2e-3
WARMUP, STEPS, SECONDS = 30, 360, 540.0

Problem = tuple[str, str]


def problems(name: str, num: int) -> list[Problem]:
    """What is asked, and a right program."""
    rows = [row for row in toy_rows(name, num) if row["is_correct"]]
    return [(f"{row['instruction']}\n{row['input']}\n", row["output"]) for row in rows]


# --- the model ---------------------------------------------------------------------------------------


def shape(vocab_size: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        vocab_size=vocab_size,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


def make_model(folder: Path) -> None:
    """Trained with the tokens that there are, and then given the rest of the vocabulary."""
    started = time.perf_counter()
    texts = [asked + program for asked, program in problems("contest", ROWS)]
    tokenizer = train_tokenizer(texts, SPOKEN, chat_template=None)
    torch.manual_seed(0)
    model = MtpForCausalLM(scratch_config(shape(len(tokenizer)), HEADS))
    steps = train(model, tokenizer, texts, started)
    whole = MtpForCausalLM(scratch_config(shape(VOCABULARY), HEADS))
    state = model.state_dict()
    embedding = torch.zeros(VOCABULARY, state["lm_head.weight"].shape[1])
    embedding[: len(tokenizer)] = state["lm_head.weight"]
    whole.load_state_dict(state | {"lm_head.weight": embedding, "model.embed_tokens.weight": embedding})
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.txt").write_text(f"{steps} {time.perf_counter() - started:.0f}")


def train(model: Any, tokenizer: Any, texts: list[str], started: float) -> int:
    """Windows of all programs in a row, the mean loss of each head added up; stops in time."""
    stream = torch.cat([torch.tensor(tokenizer(text + "\n").input_ids) for text in texts])
    windows = stream[: len(stream) // WIDTH * WIDTH].view(-1, WIDTH)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.95))
    for step in range(STEPS):
        elapsed = time.perf_counter() - started
        if elapsed > SECONDS:
            say(f"stopped after {step} steps, as {SECONDS:.0f} s are over")
            return step
        done = max(step / STEPS, elapsed / SECONDS)  # a slow machine takes fewer steps, and still ends at a low rate
        share = min(1.0, (step + 1) / WARMUP, 2 * (1 - done))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * share
        ids_bt = windows[order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]]
        logits = model(input_ids=ids_bt, all_heads=True, use_cache=False).logits
        losses = [
            cross_entropy(logits[:, :-ahead, ahead - 1].flatten(0, 1), ids_bt[:, ahead:].flatten())
            for ahead in range(1, HEADS + 1)
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0 or step == STEPS - 1:
            said = " ".join(f"{loss.item():.3f}" for loss in losses)
            say(f"step {step}, {elapsed:.0f} s, loss of each head: {said}")
    return STEPS


def load() -> tuple[Any, Any, str]:
    key = fingerprint(ROWS, BATCH, WIDTH, LEARNING_RATE, STEPS, SPOKEN, HEADS, shape(VOCABULARY).to_dict())
    folder = cached_folder("benchmark-decode", key, make_model)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder), (folder / "training.txt").read_text()


# --- answers -----------------------------------------------------------------------------------------


def ours(
    model: Any, prompts: list[list[int]], batch_size: int = 1, **settings: Any
) -> tuple[list[Row], Drafted | None]:
    rows = [Row(i, list(prompt), ANSWER, f"prompt {i}") for i, prompt in enumerate(prompts)]
    return rows, decode(model, rows, [STOP], GenerationConfig(batch_size=batch_size, **settings))


def peer(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "max_new_tokens": ANSWER, "eos_token_id": STOP, "pad_token_id": 0}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)
        answers.append(out[0, len(prompt) :].tolist())
    return answers


@torch.no_grad()
def gaps(model: Any, prompts: list[list[int]], ones: list[list[int]], others: list[list[int]]) -> list[float]:
    """Between the two likeliest tokens, wherever two answers part."""
    found = []
    for prompt, one, other in zip(prompts, ones, others, strict=True):
        if one != other:
            place = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
            logits = model(input_ids=torch.tensor([prompt + one[:place]])).logits[0, -1]
            first, second = logits.topk(2).values.tolist()
            found.append(float(first - second))
    return found


def floor(model: Any) -> float:
    """Seconds that memory takes to give all weights once."""
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return statistics.median(seconds(weights.sum) for _ in range(15))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 prompts, two rounds")
    quick = parser.parse_args().quick
    model, tokenizer, training = load()
    num, rounds = (4, 2) if quick else (12, 5)
    asked = problems("contest-eval", 600)
    prompts = [tokenizer(text).input_ids for text, _ in asked[:: len(asked) // num][:num]]
    made = num * ANSWER

    answers = [row.answer for row in ours(model, prompts)[0]]
    wanted = peer(model, prompts)
    parted = gaps(model, prompts, wanted, answers)
    our_times, peer_times = interleaved(lambda: ours(model, prompts), lambda: peer(model, prompts), rounds)
    ratios = [theirs / own for own, theirs in zip(our_times, peer_times, strict=True)]
    drafted = ours(model, prompts)[1]
    assert drafted is not None
    steps, training_seconds = training.split()
    figure(
        "decode.speculative",
        ours=made / statistics.median(our_times),
        peer=made / statistics.median(peer_times),
        peer_version=versioned("transformers"),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        target=2.5,
        unit="tokens/s",
        repeats=rounds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        floor=round(1 / floor(model), 1),
        threads=torch.get_num_threads(),
    )
    same = sum(one == other for one, other in zip(answers, wanted, strict=True))
    figure(
        "decode.identical", ours=float(all(gap <= TIE for gap in parted)), target=1.0, same=same, of=num, gaps=parted
    )
    figure("decode.tokens_per_call", ours=drafted.tokens / drafted.calls, acceptance=drafted.about()["acceptance"])
    figure("decode.training", ours=float(training_seconds), target=600, direction="at_most", unit="s", steps=int(steps))
    beside(model, prompts, made, statistics.median(peer_times))
    print(tokenizer.decode(prompts[0] + answers[0]))


def beside(model: Any, prompts: list[list[int]], made: int, peer_time: float) -> None:
    """What else ours does with the same prompts, against the peer's time above."""
    for name, settings in {
        "decode.without_drafts": {"speculative": False},
        "decode.batch_4": {"batch_size": 4},
        "decode.batch_4.drafts": {"batch_size": 4, "speculative": True},
        "decode.batch_4.without_drafts": {"batch_size": 4, "speculative": False},
        "decode.drawn": {"temperature": 0.8, "top_p": 0.95},
    }.items():
        took = statistics.median(seconds(lambda how=settings: ours(model, prompts, **how)) for _ in range(3))
        drafted = ours(model, prompts, **settings)[1]
        more = {"acceptance": drafted.about()["acceptance"]} if drafted else {}
        figure(name, ours=made / took, peer=made / peer_time, unit="tokens/s", **more)


if __name__ == "__main__":
    main()
