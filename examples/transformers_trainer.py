"""A transformers script as a curriculum run: competence rises, and with it the share of the examples.

    python examples/transformers_trainer.py

One import and two arguments change. Model and data are made up; put your own in their place.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, LlamaConfig, TrainingArguments

from curricle import Trainer  # was: from transformers import Trainer
from curricle.curriculum.pacing import Competence
from curricle.data.rows import Rows


def make_dataset(num: int) -> Dataset:
    rows = [[1 + (i * (step + 1)) % 30 for step in range(4 + i % 9)] for i in range(num)]
    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def main(output_dir: str = "runs/example-transformers", max_steps: int = 12) -> Any:
    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    model = AutoModelForCausalLM.from_config(shape)
    dataset = make_dataset(64)
    difficulties = [len(row) for row in dataset["input_ids"]]  # or a column of a label file
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir,
            max_steps=max_steps,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            logging_steps=4,
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=dataset,
        order=Competence(torch.tensor(difficulties).numpy(), initial=0.1),
        rows=Rows(max_length=16, packing="none"),
    )
    return trainer.train()


if __name__ == "__main__":
    print(main())
