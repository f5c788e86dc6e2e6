"""The trainer of a LoRA generator: the model's own loss, and a little that spreads the work over the experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..losses.reduction import count_supervised
from ..models.lora_gen.generator import balance_loss
from ..models.lora_gen.model import ABOUT, LoraGenModel, describe
from ..runtime.files import write_json
from .hf import Trainer


class LoraGenTrainer(Trainer):
    """`Trainer` on a `LoraGenModel`; order, weighting, packing and resume are the same."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Each micro batch adds its share of the balance, so a step adds their mean, whatever the accumulation."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if return_outputs or not model.training:
            return loss
        whole: LoraGenModel = self.accelerator.unwrap_model(model)
        assert whole.gates_ple is not None
        balance: torch.Tensor = balance_loss(whole.gates_ple)
        self.books.add_metrics({"expert_balance": balance.item()}, int(count_supervised(inputs["labels"])))
        return loss + whole.generator.config.balance * balance / self.args.gradient_accumulation_steps

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The generator's weights alone, and what they are weights of."""
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            generator = self.accelerator.unwrap_model(self.model).generator
            write_json(Path(output_dir or str(self.args.output_dir)) / ABOUT, describe(generator))
