"""Training with four heads against one: time beside what the operations predict, and the memory of a step.

    python benchmarks/mtp.py            a packed row of 1,024 tokens, hidden 512, 12 layers, vocabulary 32,000, float32
    python benchmarks/mtp.py --quick    smaller, to have a look

scratch   four heads from scratch: their layers are taken off the trunk, so both models have the same parameters
added     three heads beside all layers of the plain model, as after `model.mtp` on a checkpoint; no target
step      forward with every head's loss and weights, backward into every parameter

The peer is the plain model on the same path. Operations are those of the matrix products of forward and backward; what
heads compute again in backward to save memory is not among them, so it counts as overhead. Memory is what a step adds
to the process at its highest point (VmHWM, in a process of its own), less the gradients. Linux only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.losses.future import count_futures, head_scales
from curricle.models.attention import PACKED, for_model
from curricle.models.head import HeadTap, supervised_losses
from curricle.models.mtp.making import mtp_config, scratch_config
from curricle.models.nano import nano_config
from curricle.weighting import Uniform
from harness import figure, interleaved, versioned

HEADS, DOCUMENT = 4, 256
WAYS = ("plain", "scratch", "added")
SIZES = {
    "full": {"tokens": 1024, "hidden": 512, "layers": 12, "vocab": 32_000},
    "quick": {"tokens": 512, "hidden": 256, "layers": 8, "vocab": 8_000},
}
TIME_TARGET, MEMORY_TARGET = 1.15, 1.25


class Step:
    """One model and one row, and a pass through both."""

    def __init__(self, way: str, size: dict[str, int]) -> None:
        torch.manual_seed(0)
        hidden, heads = size["hidden"], {"num_attention_heads": 8, "num_key_value_heads": 8}
        shape = {"hidden_size": hidden, "intermediate_size": hidden * 8 // 3, "num_hidden_layers": size["layers"]}
        config: Any = nano_config("llama", size["vocab"], **shape, **heads)
        if way != "plain":
            config = (scratch_config if way == "scratch" else mtp_config)(config, HEADS)
        self.model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED).train()
        self.tap = HeadTap(self.model)
        self.row = made_row(size["tokens"], size["vocab"])
        self.labels = self.row.pop("labels")
        counts = count_futures(self.labels, self.row, len(self.tap.coefficients))
        self.scales = head_scales(counts, self.tap.coefficients)
        self.flops = self._flops(counts.tolist())
        self.gradient_bytes = sum(p.numel() * p.element_size() for p in self.model.parameters())

    def __call__(self) -> float:
        self.model.zero_grad()
        with for_model(self.row) as inputs:
            loss = supervised_losses(self.model, inputs, self.labels, self.tap, Uniform(), scales=self.scales).loss_sum
        loss.backward()
        return loss.item()

    def _flops(self, counts: list[int]) -> float:
        """Multiply-adds times six, as in 6ND: every layer on every token, the output head where a head learns."""
        config = self.model.config.get_text_config()
        num_tokens, hidden = self.row["input_ids"].numel(), config.hidden_size
        layers = [*self.model.model.layers, *getattr(self.model, "extra_heads", [])]
        weights = sum(p.numel() for layer in layers for p in layer.parameters())
        attention = len(layers) * DOCUMENT * hidden  # scores and values, half of each masked
        return 6.0 * (num_tokens * (weights + attention) + sum(counts) * hidden * config.vocab_size)


def made_row(num_tokens: int, vocab: int) -> dict[str, Any]:
    """Documents of one length, learned whole."""
    make = torch.Generator().manual_seed(1)
    documents = torch.randint(4, vocab, (num_tokens // DOCUMENT, DOCUMENT), generator=make).tolist()
    table = TokenTable.from_lists(documents, documents)
    row = Rows(num_tokens).collate(table, [list(range(len(documents)))])
    row.pop("example_ids")
    return row


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def bytes_of_a_step(way: str, size: dict[str, int]) -> int:
    """Above model and row, less the gradients; for a process of its own."""
    small = Step(way, {**SIZES["quick"], "tokens": DOCUMENT, "hidden": 64, "vocab": 100})
    small()  # threads and libraries are there before the count begins
    step = Step(way, size)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    step()
    return status("VmHWM") - before - step.gradient_bytes


def measured_apart(way: str, size: str) -> int:
    command = [sys.executable, __file__, "--size", size, "--memory-of", way]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(way: str, size: str, repeats: int, targets: bool) -> None:
    ours, peer = Step(way, SIZES[size]), Step("plain", SIZES[size])
    predicted = ours.flops / peer.flops
    ours_times, peer_times = interleaved(ours, peer, repeats)
    over = [o / p / predicted for o, p in zip(ours_times, peer_times, strict=True)]
    figure(
        f"mtp.{way}.time_over_flops",
        ours=statistics.median(ours_times),
        peer=statistics.median(peer_times),
        peer_version=versioned("transformers"),
        ratio=statistics.median(over),
        target=TIME_TARGET if targets else None,
        direction="at_most",
        spread=(min(over), max(over)),
        unit="s",
        flops_ratio=predicted,
        parameters=ours.gradient_bytes / peer.gradient_bytes,
    )
    figure(
        f"mtp.{way}.memory",
        ours=measured_apart(way, size),
        peer=measured_apart("plain", size),
        peer_version=versioned("transformers"),
        target=MEMORY_TARGET if targets else None,
        direction="at_most",
        unit="bytes",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", choices=WAYS, help="print the bytes of one way and stop")
    arguments = parser.parse_args()
    size = "quick" if arguments.quick else arguments.size
    if arguments.memory_of:
        print(bytes_of_a_step(arguments.memory_of, SIZES[size]))
        return
    for way in ("scratch", "added"):
        compare(way, size, arguments.repeats, targets=way == "scratch")


if __name__ == "__main__":
    main()
