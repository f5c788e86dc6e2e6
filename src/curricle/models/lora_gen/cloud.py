"""The cloud model: frozen, it reads a system prompt and then one meta token for each layer of the edge model.

    prompt tokens            s0 s1 s2 .. sn                        no gradient: read once, its keys and values are kept
    meta tokens                            m0 m1 .. m(L-1)         learned embeddings: read at every step
    last hidden states                     T0 T1 .. T(L-1)         what the router sees

The attention is causal, so what the prompt's own tokens become does not depend on the meta tokens behind them.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import DataError, ModelError
from ..config import LoraGenConfig, ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEPT_PROMPTS = 16
"""Prompts whose keys and values stay in memory."""


class Cloud:
    """No module of the model that is trained: it has no part in parameters, gradients or checkpoints."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, name: str = "cloud") -> None:
        """`model` is a causal language model of transformers; its output head is not used."""
        self.model = model.base_model.eval().requires_grad_(False)
        self.tokenizer, self.name = tokenizer, name
        self._read: OrderedDict[str, Any] = OrderedDict()
        kinds = getattr(self.model.config.get_text_config(), "layer_types", None) or []
        if any(kind not in ("full_attention", "sliding_attention", "chunked_attention") for kind in kinds):
            raise ModelError(
                f"the cloud {name} has layers of kind {', '.join(sorted(set(kinds)))}, whose state cannot be kept "
                "after the prompt; use a model of attention layers, such as llama, qwen2, mistral or gemma2"
            )

    @classmethod
    def load(cls, config: LoraGenConfig) -> Cloud:
        """The cloud that a recipe names."""
        from transformers import AutoTokenizer

        from ..loading import load_model

        model = load_model(ModelConfig(name_or_path=config.cloud, dtype=config.cloud_dtype))
        return cls(model, AutoTokenizer.from_pretrained(config.cloud), config.cloud)

    @property
    def width(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[1])

    def read(self, prompt: str, meta_lc: Tensor) -> Tensor:
        """`[L, C]` the last hidden states of the meta tokens behind this prompt."""
        device = meta_lc.device
        if self.model.device != device:
            self.model.to(device)
            self._read.clear()
        # The same numbers in training and in use, whatever precision the edge computes in.
        with torch.autocast(device.type, enabled=False):
            cache = copy.deepcopy(self._prefix(prompt, device))
            meta = meta_lc.to(self.model.dtype)[None]
            return self.model(inputs_embeds=meta, past_key_values=cache, use_cache=True).last_hidden_state[0]

    @torch.no_grad()
    def _prefix(self, prompt: str, device: torch.device) -> Any:
        """Keys and values of the prompt, of which the latest few are kept."""
        if prompt not in self._read:
            tokens = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
            if not tokens.shape[1]:
                raise DataError("a system prompt is empty: the cloud model has nothing to read; write one")
            self._read[prompt] = self.model(input_ids=tokens.to(device), use_cache=True).past_key_values
        self._read.move_to_end(prompt)
        while len(self._read) > KEPT_PROMPTS:
            self._read.popitem(last=False)
        return self._read[prompt]
