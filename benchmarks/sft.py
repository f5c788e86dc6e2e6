"""Supervised fine-tuning, real tokens a second: ours against TRL, against a plain transformers Trainer, and against a
bare PyTorch loop on the same packed rows.

    python benchmarks/sft.py             # every contestant, five rounds in turn
    python benchmarks/sft.py --quick     # two rounds, to have a look
    python benchmarks/sft.py --only ours,bare,trl_packed

A Llama (hidden 384, 6 layers, 6 heads, vocabulary 32,000, tied), bf16 autocast, two threads. Everyone trains on the
same 24 examples in three optimizer steps, so a step has the same real tokens on average, and pays for all it does in a
step: rows, forward, backward, clipping, fused AdamW, logging. Parameters and optimizer are the same tensors for all and
are there beforehand, as after a warm-up step; a first round warms up and is not counted.

The 24 examples are three of the batches of eight that grouping by length makes of 512: the middle of the short, of the
medium and of the long third. So grouping pads as little here as on a large set.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

# Read when torch is loaded. Threads that wait for each other sleep rather than spin: 8% slower for everyone on idle
# cores, but where one other process runs beside two spinning threads, a run may take twenty times as long.
os.environ["OMP_WAIT_POLICY"] = "passive"

import numpy as np
import torch
import transformers
import trl
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, LlamaConfig, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from curricle.data.packing import pack
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.models.attention import PACKED, documents, packed_rows
from curricle.models.nano import train_tokenizer
from curricle.training.hf import Trainer as OursOnTransformers
from curricle.training.sft import SFTTrainer as OursOnTRL
from harness import figure, seconds, versioned

BATCH, STEPS, DRAWN, VOCABULARY, LEARNING_RATE, MAX_NORM = 8, 3, 512, 32_000, 1e-5, 1.0
PROMPT, RESPONSE = 180, 36
TARGETS = {"trl_best": 3.0, "transformers_grouped": 1.5, "bare": 0.9}
SLACK = 1.03  # of a packed row over the mean step, so that BFD and ordered packing both need STEPS rows


# ---- the work -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Work:
    """What everyone trains on."""

    input_ids: list[list[int]]
    labels: list[list[int]]
    row_length: int

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.input_ids))

    @property
    def num_supervised(self) -> int:
        return sum(label != -100 for labels in self.labels for label in labels)

    def dataset(self) -> Dataset:
        return Dataset.from_dict({"input_ids": self.input_ids, "labels": self.labels})


def make_work(seed: int = 0) -> Work:
    """Log-normal prompts and responses of random tokens; the labels are the responses."""
    rng = np.random.default_rng(seed)

    def lengths(mean: float) -> np.ndarray:
        return np.clip(rng.lognormal(np.log(mean) - 0.125, 0.5, DRAWN), 4, 4 * mean).astype(int)

    prompts, responses = lengths(PROMPT), lengths(RESPONSE)
    groups = np.argsort(prompts + responses, kind="stable").reshape(-1, BATCH)
    thirds = ((np.arange(STEPS) + 0.5) / STEPS * len(groups)).astype(int)
    chosen = rng.permutation(groups[thirds].ravel())
    input_ids = [rng.integers(4, VOCABULARY, prompts[i] + responses[i]).tolist() for i in chosen]
    labels = [[-100] * prompts[i] + tokens[prompts[i] :] for i, tokens in zip(chosen, input_ids, strict=True)]
    return Work(input_ids, labels, round(SLACK * sum(map(len, input_ids)) / STEPS))


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
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


@dataclass
class Bench:
    """The work, the parameters and optimizer state that all contestants share, and the machine's rates by round."""

    work: Work
    folder: Path
    model: Any = field(default_factory=make_model)
    tokenizer: Any = field(default_factory=lambda: train_tokenizer(["a b c"], 300))

    rates: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def fresh_model(self, attention: str = "sdpa") -> Any:
        """Modules of its own, which a trainer may wrap and patch, around the shared parameters."""
        shared = {id(parameter): parameter for parameter in self.model.parameters()}
        model = copy.deepcopy(self.model, shared)
        model.set_attn_implementation(attention)
        return model

    def arguments(self, kind: type = TrainingArguments, **changes: Any) -> Any:
        """The same for every trainer, ours too; each says what it changes."""
        settings: dict[str, Any] = {
            "output_dir": str(self.folder),
            "max_steps": STEPS,
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": 1,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "max_grad_norm": MAX_NORM,
            "bf16": True,
            "use_cpu": True,
            "activation_checkpointing": False,
            "logging_steps": 100,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        return kind(**{**settings, **changes})


# ---- the contestants: each trains on all the work once and returns the seconds it took -----------------------------


def read_clocks() -> np.ndarray:
    """Wall and processor seconds: on a machine with other work, the second tells how much of the first was waiting."""
    return np.array([time.perf_counter(), time.process_time()])


class Clock(TrainerCallback):
    """The training loop alone: from before its first batch is drawn to after its last step."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        gc.collect()
        self.start = read_clocks()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = read_clocks() - self.start


class SortsAll:
    """Gives the sampler the mega-batch of a large set: on 24 examples it would sort within single batches, that is
    not at all."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)  # type: ignore[misc]
        if isinstance(sampler, LengthGroupedSampler):
            sampler.batch_size = len(sampler)
        return sampler


class PlainTrainer(SortsAll, transformers.Trainer):
    pass


class TRLTrainer(SortsAll, trl.SFTTrainer):
    pass


def timed(trainer: Any) -> np.ndarray:
    trainer.remove_callback(PrinterCallback)  # it would print between the figures
    trainer.train()
    assert trainer.state.global_step == STEPS
    clock = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Clock))
    return clock.seconds


def ours(bench: Bench, host: type = OursOnTransformers, arguments: type = TrainingArguments) -> np.ndarray:
    work = bench.work
    trainer = host(
        bench.fresh_model(PACKED),
        bench.arguments(arguments, per_device_train_batch_size=1),
        train_dataset=TokenTable.from_lists(work.input_ids, work.labels),
        rows=Rows(max_length=work.row_length),
        processing_class=bench.tokenizer,
        optimizers=(bench.optimizer, None),
        callbacks=[Clock()],
    )
    taken = timed(trainer)
    assert trainer.monitor.totals["tokens"] == work.num_tokens
    return taken


def ours_on_trl(bench: Bench) -> np.ndarray:
    return ours(bench, OursOnTRL, trl.SFTConfig)


def trl_sft(bench: Bench, **changes: Any) -> np.ndarray:
    trainer = TRLTrainer(
        bench.fresh_model(),
        bench.arguments(trl.SFTConfig, **changes),
        train_dataset=bench.work.dataset(),
        processing_class=bench.tokenizer,
        optimizers=(bench.optimizer, None),
        callbacks=[Clock()],
    )
    return timed(trainer)


def trl_grouped(bench: Bench) -> np.ndarray:
    return trl_sft(bench, train_sampling_strategy="group_by_length")


def trl_packed(bench: Bench, rows_a_step: int = 4) -> np.ndarray:
    """Several short rows a step: on a CPU a packed row has a dense mask, which a long row pays for."""
    return trl_sft(
        bench,
        packing=True,
        packing_strategy="bfd",
        max_length=shortest_rows(bench.work, STEPS * rows_a_step),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=rows_a_step,
    )


@cache
def shortest_rows(work: Work, num_rows: int) -> int:
    """The row length at which TRL packs the work into no more than this many rows."""
    longest, dataset = max(map(len, work.input_ids)), work.dataset()
    return next(n for n in range(longest, work.num_tokens) if len(trl.pack_dataset(dataset, n)) <= num_rows)


def plain(bench: Bench, **changes: Any) -> np.ndarray:
    """Labels on the responses only; the model's own loss."""
    trainer = PlainTrainer(
        bench.fresh_model(),
        bench.arguments(**changes),
        train_dataset=bench.work.dataset(),
        data_collator=DataCollatorForSeq2Seq(bench.tokenizer),
        optimizers=(bench.optimizer, None),
        callbacks=[Clock()],
    )
    return timed(trainer)


def plain_grouped(bench: Bench) -> np.ndarray:
    return plain(bench, train_sampling_strategy="group_by_length")


def bare(bench: Bench) -> np.ndarray:
    """No trainer, no books: our packed attention, logits at supervised positions only, cross-entropy."""
    work, model, optimizer = bench.work, bench.fresh_model(PACKED).train(), bench.optimizer
    rows = pack(np.array([len(tokens) for tokens in work.input_ids]), work.row_length, DRAWN)
    assert len(rows) == STEPS
    gc.collect()
    start = read_clocks()
    for row in (rows[i] for i in range(STEPS)):
        batch, targets_n = packed_batch(work, row)
        with torch.autocast("cpu", torch.bfloat16), packed_rows():
            logits_nv = model(**batch, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits_nv.flatten(0, -2).float(), targets_n).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()
    return read_clocks() - start


def packed_batch(work: Work, row: Sequence[int]) -> tuple[dict[str, Any], torch.Tensor]:
    lengths = [len(work.input_ids[i]) for i in row]
    input_ids = torch.tensor([token for i in row for token in work.input_ids[i]])
    next_labels = torch.tensor([label for i in row for label in (*work.labels[i][1:], -100)])
    positions = torch.cat([torch.arange(length) for length in lengths])
    keep = next_labels != -100
    batch = {"input_ids": input_ids[None], "position_ids": positions[None], "logits_to_keep": keep[None]}
    return batch | documents(lengths, "cpu"), next_labels[keep]


CONTESTANTS: dict[str, Callable[[Bench], np.ndarray]] = {
    "ours": ours,
    "ours_on_trl": ours_on_trl,
    "bare": bare,
    "transformers_grouped": plain_grouped,
    "transformers_padded": plain,
    "trl_grouped": trl_grouped,
    "trl_packed": trl_packed,
    "trl_padded": trl_sft,
}


# ---- the floor ------------------------------------------------------------------------------------------------------


def needed(work: Work, model: Any) -> tuple[float, float]:
    """Operations and bytes that one pass over the work cannot do without.

    Each matrix meets each token three times (forward, and two gradients), the head only where a token is learned;
    attention is causal and computes its scores twice. Of the bytes only those of the optimizer step are counted, in
    float32: AdamW reads a parameter, its gradient and two moments and writes three of them; the gradient is written
    once, read for its norm, and scaled. Activations are taken to stay in cache.
    """
    config = model.config
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    head = config.vocab_size * config.hidden_size
    attention = 7 * config.num_hidden_layers * config.hidden_size * sum(len(tokens) ** 2 for tokens in work.input_ids)
    matrices = 6 * ((num_parameters - head) * work.num_tokens + head * work.num_supervised)
    return matrices + attention, STEPS * num_parameters * 4 * (7 + 1 + 1 + 2)


def machine_rates(size: int = 1024) -> tuple[float, float]:
    """Operations a second of bf16 products as wide as the model's, and bytes a second of a copy larger than caches."""
    left, right = torch.randn(size, 384, dtype=torch.bfloat16), torch.randn(384, 1024, dtype=torch.bfloat16)
    source, target = torch.ones(1 << 25), torch.ones(1 << 25)
    product = min(seconds(lambda: [torch.mm(left, right) for _ in range(200)]) for _ in range(3))
    copy_ = min(seconds(lambda: target.copy_(source)) for _ in range(5))
    return 200 * 2 * left.numel() * right.shape[1] / product, 2 * source.nbytes / copy_


def report_floor(bench: Bench, ours_seconds: float) -> None:
    """Our fastest round against the least that the machine, at its best of all rounds, would have needed."""
    operations, num_bytes = needed(bench.work, bench.model)
    product_rate, copy_rate = np.max(bench.rates, axis=0)
    floor = operations / product_rate + num_bytes / copy_rate
    figure(
        "sft.floor",
        ours=ours_seconds,
        peer=floor,
        peer_version="operations and bytes at this machine's rates",
        direction="at_most",
        unit="s",
        operations=operations,
        bytes=num_bytes,
        operations_per_second=round(product_rate),
        bytes_per_second=round(copy_rate),
    )


# ---- rounds and figures ---------------------------------------------------------------------------------------------


def play(bench: Bench, names: Sequence[str], rounds: int) -> dict[str, np.ndarray]:
    """Wall and processor seconds of every contestant, `[round, 2]`; who goes first moves on by one each round."""
    taken: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        bench.rates.append(machine_rates())
        first = round_ % len(names)
        for name in (*names[first:], *names[:first]):
            taken[name].append(CONTESTANTS[name](bench))
    return {name: np.stack(times[1:]) for name, times in taken.items()}


def compare(bench: Bench, taken: dict[str, np.ndarray], name: str, peer: str, target: float | None = None) -> None:
    """How many times as fast as the peer ours is: the median of the rounds' ratios."""
    ratios = taken[peer] / taken["ours"]
    speed = {who: bench.work.num_tokens / np.median(taken[who][:, 0]) for who in ("ours", peer)}
    library = peer.split("_")[0]
    figure(
        f"sft.{name}",
        ours=speed["ours"],
        peer=speed[peer],
        peer_version=versioned(library if library in ("trl", "transformers") else "torch"),
        ratio=float(np.median(ratios[:, 0])),
        target=target,
        spread=(float(ratios[:, 0].min()), float(ratios[:, 0].max())),
        unit="real tokens/s",
        ours_supervised_per_second=round(speed["ours"] * bench.work.num_supervised / bench.work.num_tokens, 1),
        ratio_of_processor_time=round(float(np.median(ratios[:, 1])), 3),
        peer_mode=peer,
        repeats=len(ratios),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds instead of five")
    parser.add_argument("--only", help="ours and some others, separated by commas: " + ", ".join(CONTESTANTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    disable_progress_bars()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    names = arguments.only.split(",") if arguments.only else list(CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(make_work(), Path(folder))
        taken = play(bench, names, 2 if arguments.quick else arguments.repeats)
        speeds = {name: float(np.median(times[:, 0])) for name, times in taken.items()}
        for name in names[1:]:
            compare(bench, taken, name, name, TARGETS.get(name))
        modes_of_trl = [name for name in names if name.startswith("trl_")]
        if modes_of_trl:
            compare(bench, taken, "trl_best", min(modes_of_trl, key=speeds.__getitem__), TARGETS["trl_best"])
        report_floor(bench, float(taken["ours"][:, 0].min()))


if __name__ == "__main__":
    main()
