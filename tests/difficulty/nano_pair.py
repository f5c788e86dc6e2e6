"""A Llama cloud and a Qwen2 edge of other depth, width and tokenizer, saved to disk; and rows for them to read."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = "the a cat dog runs sits big small red blue house tree under over and then sings loudly".split()  # noqa: SIM905


def make_rows(num: int, seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))

    return [{"prompt": f"{seed} {i} {text(3, 25)}", "completion": text(3, 9) + "."} for i in range(num)]


def write_rows(path: Path, num: int, seed: int = 0) -> Path:
    path.write_text("\n".join(map(json.dumps, make_rows(num, seed))), encoding="utf-8")
    return path


def save_model(folder: Path, kind: str, seed: int, text: list[str], vocab_size: int = 320, **shape: int) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    from curricle.models.nano import nano_config, train_tokenizer

    tokenizer = train_tokenizer(text, vocab_size)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(nano_config(kind, len(tokenizer), initializer_range=0.2, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_pair(folder: Path) -> tuple[Path, Path]:
    """(cloud, edge)."""
    cloud = save_model(folder / "cloud", "llama", 0, WORDS * 4, num_hidden_layers=5, hidden_size=48)
    edge = save_model(folder / "edge", "qwen2", 1, ["xyz cat loudly"] * 9, 290, num_hidden_layers=3, hidden_size=32)
    return cloud, edge
