"""Scoring by two models: against the bare forward passes over the same tokens, against one sample at a time, and the
memory of few and of many samples.

    python benchmarks/difficulty.py            # 400 rows, five rounds in turn
    python benchmarks/difficulty.py --quick    # 150 rows, two rounds, to have a look

A Llama cloud (hidden 384, 6 layers) and a Qwen2 edge (hidden 256, 4 layers) with random weights, in float32, two
threads, vocabulary 32,000 as in the other benchmarks; prompts have log-normal lengths, 60 tokens in the mean. The floor
is both models' blocks over the same number of tokens in rows of equal length, without padding or masks, so that every
row is one causal attention; no state is kept. One sample at a time is transformers' forward with
`output_hidden_states`, the usual script. Ours is everything from tokens to differences: calibration (on
rows of the data, as by default), states, the space, parts on disk. Padding is measured as the other way to batch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "passive"  # as in sft.py: threads that wait sleep

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from curricle.data.table import TokenTable
from curricle.difficulty.config import DifficultyConfig
from curricle.difficulty.measure import measure
from curricle.difficulty.reader import Reader
from curricle.difficulty.samples import Reading, Role, Samples
from curricle.difficulty.states import StateReader
from curricle.models.config import ModelConfig
from curricle.models.nano import nano_config, train_tokenizer
from harness import compare_times, figure, versioned

VOCABULARY, MEAN, BUDGET, CALIBRATION = 32_000, 60, 4096, 32
SHAPES: dict[Role, tuple[str, dict[str, int]]] = {
    "cloud": ("llama", {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6}),
    "edge": ("qwen2", {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4}),
}


def config_of(role: Role) -> PretrainedConfig:
    kind, shape = SHAPES[role]
    return nano_config(kind, VOCABULARY, num_attention_heads=4, **shape)


def save_models(folder: Path) -> None:
    tokenizer = train_tokenizer(["difficulty"], 300)
    for role in SHAPES:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config_of(role)).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)


def make_prompts(num: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(MEAN) - 0.125, 0.5, num), 4, 6 * MEAN).astype(int)
    return [rng.integers(4, VOCABULARY, length).tolist() for length in lengths]


def make_samples(num: int) -> Samples:
    prompts = make_prompts(num)
    table = TokenTable.from_lists(
        [[*prompt, 5] for prompt in prompts], [[-100] * len(prompt) + [5] for prompt in prompts]
    )
    reading = Reading(table, np.arange(num), np.zeros(num, dtype=bool))
    anchors = Reading(table, np.arange(CALIBRATION), np.zeros(CALIBRATION, dtype=bool))
    both: Any = {"cloud": reading, "edge": reading}
    known: Any = {"cloud": anchors, "edge": anchors}
    return Samples(list(table.ids[:]), both, {}, np.ones(num), known, 1, np.zeros(num, dtype=np.int8))


def ours(samples: Samples, readers: dict[Role, Reader], config: DifficultyConfig) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as scratch:
        for reader in readers.values():
            reader._about = Path(scratch) / f"{reader.role}.json"
            reader._write_size(reader.model)
        return torch.from_numpy(measure(samples, readers, config, Path(scratch)).layers)


class Kept(Reader):
    """A reader that keeps its model from round to round, so that loading is not timed."""

    def let_go(self) -> None:
        pass


def make_readers(models: Path, config: DifficultyConfig) -> dict[Role, Reader]:
    def reader(role: Role) -> Reader:
        return Kept(
            role, ModelConfig(name_or_path=str(models / role)), train_tokenizer(["x"], 262), config, models, True
        )

    return {role: reader(role) for role in SHAPES}


@torch.no_grad()
def floor(models: dict[Role, Any], prompts: list[list[int]]) -> None:
    """The same number of tokens in rows of their mean length."""
    total = sum(len(prompt) for prompt in prompts)
    width = round(total / len(prompts))
    ids = torch.randint(4, VOCABULARY, (round(total / width), width))
    for model in models.values():
        for part in ids.split(max(1, BUDGET // width)):
            model.model(input_ids=part, use_cache=False)


@torch.no_grad()
def one_by_one(models: dict[Role, Any], prompts: list[list[int]]) -> None:
    for model in models.values():
        for prompt in prompts:
            hidden = model(input_ids=torch.tensor([prompt]), output_hidden_states=True, use_cache=False).hidden_states
            torch.stack([state[0, -1] for state in hidden[1:]])


def peak_bytes(num: int, models: Path) -> int:
    """Peak memory of a process that scores so many samples, above what it holds when it begins. Large buffers go back
    to the system when they are freed: what the allocator keeps of them is tens of MB more or less from run to run."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    command = [sys.executable, __file__, "--memory-of", str(num), "--models", str(models)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return int(told.split()[-1])


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def print_memory(num: int, models: Path) -> None:
    config = DifficultyConfig(token_budget=BUDGET, baselines=())
    readers = make_readers(models, config)
    ours(make_samples(64), readers, config)  # libraries and models are there before the count begins
    samples = make_samples(num)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets the highest point back to now
    ours(samples, readers, config)
    print(status("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="150 rows, two rounds")
    parser.add_argument("--memory-of", type=int, help="print the peak memory of scoring so many rows and stop")
    parser.add_argument("--models", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.memory_of:
        print_memory(arguments.memory_of, arguments.models)
        return
    num, rounds = (150, 2) if arguments.quick else (400, 5)
    with tempfile.TemporaryDirectory() as scratch:
        measure_all(Path(scratch), num, rounds)


def measure_all(folder: Path, num: int, rounds: int) -> None:
    save_models(folder)
    config = DifficultyConfig(token_budget=BUDGET, baselines=())
    readers, samples = make_readers(folder, config), make_samples(num)
    stock = {role: AutoModelForCausalLM.from_pretrained(folder / role).eval() for role in SHAPES}
    prompts = [samples.readings["edge"].prompt(i).tolist() for i in range(num)]
    more = {"rows": num, "tokens": sum(map(len, prompts)), "peer_version": versioned("transformers"), "repeats": rounds}

    def score() -> torch.Tensor:
        return ours(samples, readers, config)

    compare_times("difficulty.floor", score, lambda: floor(stock, prompts), target=0.8, **more)
    compare_times("difficulty.one_by_one", score, lambda: one_by_one(stock, prompts), target=3.0, **more)
    packed, padded = (StateReader(readers["cloud"].model, token_budget=BUDGET, packed=how) for how in (True, False))
    compare_times("difficulty.padding", lambda: packed.read(prompts), lambda: padded.read(prompts), target=None, **more)
    few, many = (peak_bytes(size, folder) for size in (num, 4 * num))
    figure("difficulty.memory", ours=many, peer=few, target=1.2, direction="at_most", rows=4 * num, peer_rows=num)


if __name__ == "__main__":
    main()
