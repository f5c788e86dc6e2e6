"""A TRL script as a curriculum run: three stages, easy prompts first, and from the lowest layers up.

    python examples/trl_sft.py

One import and three arguments change. Model and data are made up; put your own in their place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from curricle import SFTTrainer  # was: from trl import SFTTrainer
from curricle.curriculum.layers import StagedLayers
from curricle.curriculum.pacing import Stages
from curricle.data.rows import Rows
from curricle.models.nano import nano_config, train_tokenizer


def make_dataset(num: int) -> Dataset:
    names = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    counts = [[names[(i + step) % 10] for step in range(3 + i % 6)] for i in range(num)]
    return Dataset.from_dict(
        {"prompt": ["count: " + " ".join(row[:-1]) for row in counts], "completion": [" " + row[-1] for row in counts]}
    )


def main(output_dir: str = "runs/example-trl", max_steps: int = 12) -> Any:
    torch.manual_seed(0)
    dataset = make_dataset(60)
    tokenizer = train_tokenizer([p + c for p, c in zip(dataset["prompt"], dataset["completion"], strict=True)], 300)
    model = AutoModelForCausalLM.from_config(nano_config("llama", len(tokenizer)))
    difficulties = np.array([len(prompt) for prompt in dataset["prompt"]])  # or a column of a label file
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir,
            max_steps=max_steps,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            logging_steps=4,
            save_strategy="no",
            report_to="none",
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
        order=Stages(difficulties, [0.33, 0.66, 1.0]),
        depth=StagedLayers("bottom_up", num_stages=3),
        rows=Rows(max_length=64),
    )
    return trainer.train()


if __name__ == "__main__":
    print(main())
