"""Small real things that many tests train on: a nano model, a table of random documents, trainer arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from curricle.data.table import TokenTable
from curricle.models.choose import PACKED
from curricle.models.nano import nano_config

VOCAB = 97


def table(num: int = 40, seed: int = 0, low: int = 4, high: int = 30, domains: bool = False) -> TokenTable:
    """Random documents, each with a prompt and at least one learned token."""
    rng = np.random.default_rng(seed)
    ids, labels = [], []
    for length in rng.integers(low, high, num):
        tokens = rng.integers(4, VOCAB, length).tolist()
        prompt = int(rng.integers(1, length))
        ids.append(tokens)
        labels.append([-100] * prompt + tokens[prompt:])
    return TokenTable.from_lists(ids, labels, domains=["ab"[i % 2] for i in range(num)] if domains else None)


def model(kind: str = "llama", attn: str = PACKED, seed: int = 0, **shape: Any) -> Any:
    from transformers import AutoModelForCausalLM

    from curricle.models import attention  # registers the packed attention

    assert attention.PACKED == PACKED
    torch.manual_seed(seed)
    shape = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, **shape}
    config = nano_config(kind, **shape)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attn)


def lora(base: Any, dropout: float = 0.0) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    return get_peft_model(
        base, LoraConfig(r=4, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def arguments(folder: Path, kind: Any = None, **changes: Any) -> Any:
    from transformers import TrainingArguments

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 7,
    }
    return (kind or TrainingArguments)(**{**settings, **changes})


def mtp(num_heads: int = 3, kind: Any = "parallel", seed: int = 0, **shape: Any) -> Any:
    """A nano model with heads for several tokens ahead, made from scratch."""
    from transformers import AutoModelForCausalLM

    from curricle.models import attention
    from curricle.models.mtp.making import scratch_config

    torch.manual_seed(seed)
    shape = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, **shape}
    config = scratch_config(nano_config("llama", **shape), num_heads, kind)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention.PACKED)
