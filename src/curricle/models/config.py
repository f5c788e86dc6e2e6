"""The `model:` section of a recipe: which model, in what precision, trained whole or through an adapter."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..runtime.config import Section


class AdapterConfig(Section):
    """LoRA: small factors beside the frozen weights. The key names are those of TRL and PEFT."""

    lora_r: Annotated[int, Field(ge=1)] = 16
    """Rank of the factors."""
    lora_alpha: Annotated[int, Field(ge=1)] = 32
    """The factors' product is scaled by lora_alpha / lora_r."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before the first factor."""
    lora_target_modules: str | list[str] = "all-linear"
    """Layers that get factors: `all-linear` (all but the head), a list of name endings, or a regular expression."""
    modules_to_save: list[str] = Field(default_factory=list)
    """Modules trained whole and saved beside the factors, such as `lm_head` or `embed_tokens`."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(lora_r) instead."""
    use_dora: bool = False
    """Learn the length of each weight column on its own (DoRA)."""

    @field_validator("lora_target_modules")
    @classmethod
    def _compiles(cls, given: str | list[str]) -> str | list[str]:
        if isinstance(given, str):
            try:
                re.compile(given)
            except re.error as error:
                raise ValueError(
                    f"`{given}` is no regular expression ({error}); write one, `all-linear`, or a list of name endings"
                ) from error
        return given


class ModelConfig(Section):
    """Which model is trained, and how it is loaded."""

    name_or_path: str
    """A folder, a name on the hub, `nano:llama`, `nano:qwen2`, ...: a small random model made on the spot; or
    `toy:base`, a small Llama that has read made-up text, for the toy data."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Precision of the weights in memory; `auto` takes what was saved. Compute precision is `training.bf16`."""
    attn_implementation: str = "auto"
    """`auto` chooses and verifies; or a name transformers knows: sdpa, eager, flash_attention_2, flex_attention, ..."""
    adapter: AdapterConfig | None = None
    """Train LoRA factors instead of the weights."""
    quantization: Literal["nf4"] | None = None
    """Load the frozen weights in 4 bits (QLoRA); needs an adapter and `pip install 'curricle[qlora]'`."""
    pad_token: str | None = None
    """The token to pad with, where the tokenizer names none: one that it already has."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Never without being asked."""
    shape: dict[str, Any] = Field(default_factory=dict)
    """Of a nano model: any field of its transformers config, such as {hidden_size: 128, num_hidden_layers: 4}; and
    vocab_size, of the tokenizer that is trained on your own text."""

    @property
    def nano_type(self) -> str | None:
        """The architecture of a model made on the spot, or None."""
        prefix, _, kind = self.name_or_path.partition(":")
        return kind if prefix == "nano" and kind else None

    @field_validator("shape", mode="before")
    @classmethod
    def _none_is_empty(cls, given: Any) -> Any:
        return {} if given is None else given

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        if self.quantization and self.adapter is None:
            raise ValueError(
                f"model.quantization is `{self.quantization}` without model.adapter, but 4-bit weights cannot be "
                "trained; add `adapter: {}` for QLoRA, or leave quantization out"
            )
        if self.quantization and self.nano_type:
            raise ValueError("model.quantization does not go with a nano model; leave it out")
        if self.shape and not self.nano_type:
            raise ValueError(
                f"model.shape belongs to nano models, but name_or_path is `{self.name_or_path}`; leave it out, or "
                "set model.shape to null"
            )
        return self
