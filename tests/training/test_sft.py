"""A script written for TRL runs with one import changed, and gives the same losses when no dial is turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM

from curricle.curriculum.order import Order
from curricle.data.rows import Rows
from curricle.errors import RecipeError
from curricle.models.nano import train_tokenizer
from curricle.runtime.logs import JsonLog
from curricle.training.hf import Trainer
from curricle.training.sft import SFTTrainer
from support import lora, model, table

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "looked",
    "at",
    "the",
    "rain",
    "while",
    "nobody",
    "came",
    "to",
    "open",
    "the",
    "old",
    "green",
    "door",
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([" ".join(WORDS)] * 4, 300)


def rows(kind: str, num: int = 24) -> Dataset:
    texts = [" ".join(WORDS[i % 9 : i % 9 + 3 + i % 7]) for i in range(num)]
    if kind == "text":
        return Dataset.from_dict({"text": texts})
    if kind == "prompt-completion":
        return Dataset.from_dict({"prompt": texts, "completion": [f" {w}" for w in texts[::-1]]})
    messages = [[{"role": "user", "content": t}, {"role": "assistant", "content": t[::-1]}] for t in texts]
    return Dataset.from_dict({"messages": messages})


def config(folder: Path, **changes: Any) -> trl.SFTConfig:
    settings = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "bf16": False,
        "activation_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "steps",
        "eval_steps": 4,
        "max_length": 64,
        "disable_tqdm": True,
    }
    return trl.SFTConfig(**{**settings, **changes})


def script(trainer_class: type, folder: Path, tokenizer: Any, kind: str, adapter: bool, **changes: Any) -> list[Any]:
    """What a user of TRL writes; only the class differs."""
    net = model(attn="sdpa", vocab_size=len(tokenizer))
    trainer = trainer_class(
        model=lora(net) if adapter else net,
        args=config(folder, **changes),
        train_dataset=rows(kind),
        eval_dataset=rows(kind, 6),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer.state.log_history


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("text", {}),
        ("prompt-completion", {}),
        ("messages", {}),
        ("text", {"packing": True}),
    ],
)
def test_with_no_dial_turned_losses_are_trl_s(
    tmp_path: Path, tokenizer: Any, kind: str, changes: dict[str, Any], adapter: bool
) -> None:
    theirs = script(trl.SFTTrainer, tmp_path / "trl", tokenizer, kind, adapter, **changes)
    ours = script(SFTTrainer, tmp_path / "curricle", tokenizer, kind, adapter, **changes)
    for name in ("loss", "eval_loss", "grad_norm"):
        want, got = ([entry[name] for entry in log if name in entry] for log in (theirs, ours))
        assert len(want) == len(got) > 0
        assert got == pytest.approx(want, abs=1e-4 if name != "grad_norm" else 1e-3)


def test_both_hosts_train_alike_on_our_rows(tmp_path: Path, tokenizer: Any) -> None:
    from support import arguments

    data, held_out = table(), table(12, seed=4)
    logs = []
    for host, args in (
        (Trainer, arguments(tmp_path / "hf", learning_rate=1e-3)),
        (SFTTrainer, config(tmp_path / "trl", gradient_accumulation_steps=1, lr_scheduler_type="linear", seed=7)),
    ):
        run = host(
            model(),
            args,
            train_dataset=data,
            eval_dataset=held_out,
            processing_class=tokenizer,
            rows=Rows(max_length=64, lookahead=8),
        )
        run.train()
        logs.append(JsonLog(Path(args.output_dir) / "metrics.jsonl").rows())
    for one, other in zip(*logs, strict=True):
        for name in ("loss", "grad_norm", "learning_rate", "tokens"):
            assert one[name] == other[name]


def test_a_dial_on_trl_data_takes_over_the_rows(tmp_path: Path, tokenizer: Any) -> None:
    run = SFTTrainer(
        model=model(vocab_size=len(tokenizer)),
        args=config(tmp_path, eval_strategy="no"),
        train_dataset=rows("prompt-completion"),
        processing_class=tokenizer,
        order=Order(),
        rows=Rows(max_length=64, lookahead=8),
    )
    run.train()
    log = JsonLog(tmp_path / "metrics.jsonl").rows()
    assert len(log) == 4
    assert 0 < log[0]["supervised_share"] < 1
    assert run.train_dataset.num_supervised.sum() > 0


def test_data_packed_by_the_host_is_refused_with_a_way_out(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(RecipeError, match="packing=False"):
        SFTTrainer(
            model=model(vocab_size=len(tokenizer)),
            args=config(tmp_path, eval_strategy="no", packing=True),
            train_dataset=rows("text"),
            processing_class=tokenizer,
            order=Order(),
        )


def test_a_model_may_be_named_by_path_as_in_trl(tmp_path: Path, tokenizer: Any) -> None:
    model(attn="sdpa", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    run = SFTTrainer(str(tmp_path / "base"), config(tmp_path / "run", eval_strategy="no"), train_dataset=rows("text"))
    run.train()
    run.save_model(str(tmp_path / "tuned"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").num_parameters() > 0
