"""The sources' name for a multi-token model, with its two ways through: to the trunk's state, and to the logits of all
heads. Both go through the model's own forward, so it may be wrapped or sharded before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ..config import HeadsConfig, ModelConfig
from .model import MtpForCausalLM
from .trunk import state_of, trunk_of


class MetaLlamaMTPAdapter(nn.Module):
    """A model with several heads, of this library's own folders or of any Llama, Mistral or Qwen with heads added.

    >>> adapter = MetaLlamaMTPAdapter.from_pretrained("models/micro", num_future_tokens=4)      # doctest: +SKIP
    >>> adapter.full_forward(input_ids).shape                            # [batch, seq, n_future_tokens, vocab]
    """

    def __init__(self, model: MtpForCausalLM) -> None:
        super().__init__()
        if not isinstance(model, MtpForCausalLM):
            raise ModelError(
                f"MetaLlamaMTPAdapter was given a {type(model).__name__}, which has one head; take from_pretrained("
                "folder, num_future_tokens=4), or add_heads of curricle.models.mtp.making"
            )
        self.model = model

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        num_future_tokens: int | None = None,
        dtype: str = "auto",
        device: str | torch.device = "auto",
    ) -> MetaLlamaMTPAdapter:
        """A saved model. One without heads gets as many as are named; one that has heads must have that many."""
        from ..loading import load_model

        heads = None if num_future_tokens is None else HeadsConfig(num_future_tokens=num_future_tokens)
        config = ModelConfig.model_validate({"name_or_path": str(name_or_path), "dtype": dtype, "mtp": heads})
        model: Any = load_model(config)
        if device == "auto":
            device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        return cls(model.to(device))

    @property
    def num_future_tokens(self) -> int:
        return self.model.config.num_future_tokens

    def trunk_forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, S, hidden]: the state that all heads read, and a value head."""
        states: list[Tensor] = []
        handle = trunk_of(self.model).register_forward_hook(lambda _, __, output: states.append(state_of(output)))
        try:
            nothing_bt = torch.zeros_like(input_ids, dtype=torch.bool)
            self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=nothing_bt)
        finally:
            handle.remove()
        return states[0]

    def full_forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, S, n_future_tokens, vocab]: at each place, the logits of the next token, of the one after it, ..."""
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, all_heads=True)
        logits: Tensor = outputs.logits
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.full_forward(input_ids, attention_mask)

    def save_pretrained(self, folder: str) -> None:
        """The model as safetensors, which `from_pretrained` and transformers' Auto classes read."""
        self.model.save_pretrained(folder)
