"""What `torchrun` starts on every rank: prompts answered together; `whole`, `sharded` by FSDP2, or `killed` on the way.

The same prompts and model are made in the test itself, which compares.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from curricle.data.config import DataConfig
from curricle.data.prompts import Prompts, make_prompts
from curricle.data.schema import Example, Where
from curricle.evaluation.config import Rouge
from curricle.evaluation.selection import watch_generation
from curricle.generation.answers import answer
from curricle.generation.config import GenerationConfig
from curricle.models.nano import train_tokenizer
from curricle.runtime.files import write_json
from curricle.runtime.ranks import join, rank
from support import model as nano_model

TOKENIZER = train_tokenizer(["a b c d e f g h i j"], 300)
CONFIG = GenerationConfig(batch_size=3, temperature=0.8)
WATCHED = [Rouge(metric="rouge", during_training=9)]


def prompts() -> Prompts:
    rows = [
        Example("plain", f"{i:016d}", Where("dev.jsonl", i + 1), prompt="abcdefghij"[i % 7 :], references=("c d",))
        for i in range(23)
    ]
    return make_prompts(rows, TOKENIZER, DataConfig(train="dev.jsonl"), 12)


def model() -> Any:
    torch.set_num_threads(1)
    made = nano_model("llama", vocab_size=len(TOKENIZER))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4.0)
    return made


def sharded(made: Any) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    for layer in made.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(made, mesh=mesh)


def main(kind: str, folder: Path) -> None:
    join(backend="gloo", use_cpu=True)
    made = sharded(model()) if kind == "sharded" else model()
    if kind == "killed" and rank() == 1:
        calls: list[int] = []
        made.register_forward_pre_hook(lambda module, args: calls.append(1))
        made.register_forward_pre_hook(
            lambda module, args: os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 25 else None
        )
    answers = answer(made, TOKENIZER, prompts(), CONFIG, folder / "samples_eval.jsonl")
    figures = watch_generation(prompts(), TOKENIZER, CONFIG, WATCHED)(made)
    write_json(folder / f"seen-{rank()}.json", {"predictions": [one.prediction for one in answers], "figures": figures})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
