"""The `model:` section of a recipe: which model, in what precision, trained whole or through an adapter."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..data.config import Source
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


class LoraGenConfig(Section):
    """LoRA-Gen: a frozen cloud model reads each row's system prompt, and what it makes of it becomes LoRA factors for
    the model, whose own weights stay as they are."""

    cloud: str
    """The model that reads system prompts: a folder or a name on the hub; its tokenizer and its size are its own."""
    cloud_dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """Precision of the cloud's weights in memory; `auto` takes what was saved."""
    num_experts: Annotated[int, Field(ge=1)] = 8
    """Experts, shared by all layers of the model."""
    top_k: Annotated[int, Field(ge=1)] = 2
    """Experts that each layer mixes."""
    rank: Annotated[int, Field(ge=1)] = 16
    """Rank of an expert's factors; an exported adapter has top_k times as much."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The mixture is scaled by alpha / rank."""
    targets: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: ["gate_proj", "up_proj", "down_proj"]
    )
    """Linear layers that get factors, by the ends of their names; every layer of the model has each of them once."""
    router_hidden: Annotated[int, Field(ge=1)] = 256
    """Width inside the router."""
    normalizer: Literal["softmax", "ratio"] = "softmax"
    """How the kept experts' numbers become shares: `softmax`, or `ratio`, each over their sum, as published."""
    balance: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the loss that spreads the work over the experts."""

    @model_validator(mode="after")
    def _enough_experts(self) -> LoraGenConfig:
        if self.top_k > self.num_experts:
            raise ValueError(f"model.lora_gen.top_k is {self.top_k}, more than num_experts, {self.num_experts}")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("model.lora_gen.targets names a layer twice")
        return self


class HeadsConfig(Section):
    """Multi-token prediction: beside the next token, heads of the model learn the tokens after it. A model loaded from
    a folder gets the extra heads beside its layers, unless it has them already; in a nano model parallel heads take
    the place of layers, so that its size stays."""

    num_future_tokens: Annotated[int, Field(ge=1)] = 4
    """Heads in all: head 1 learns the next token, head 2 the one after it, and so on."""
    kind: Literal["parallel", "sequential"] = "parallel"
    """`parallel`: each head is one layer on a trunk that all share (Gloeckle et al., 2024). `sequential`: each head
    reads the state of the one before and the token ahead (DeepSeek-V3)."""
    mtp_lambda: Annotated[float, Field(ge=0)] = 0.3
    """What the losses of all sequential extra heads count together, beside head 1; parallel heads count 1 each."""


class ModelConfig(Section):
    """Which model is trained, and how it is loaded."""

    name_or_path: str
    """A folder, a name on the hub, `nano:llama`, `nano:qwen2`, ...: a small random model made on the spot; or
    `toy:base` and `toy:cloud`, a small and a larger Llama that have read made-up text, for the toy data."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Precision of the weights in memory; `auto` takes what was saved. Compute precision is `training.bf16`."""
    attn_implementation: str = "auto"
    """`auto` chooses and verifies; or a name transformers knows: sdpa, eager, flash_attention_2, flex_attention, ..."""
    from_arm: str | None = None
    """Start from the model that this arm of the recipe trains with the same seed; the rest of the section is the same
    for both."""
    adapter: AdapterConfig | None = None
    """Train LoRA factors instead of the weights."""
    lora_gen: LoraGenConfig | None = None
    """Let a cloud model make LoRA factors out of system prompts, and train what lies between (LoRA-Gen)."""
    mtp: HeadsConfig | None = None
    """Give the model heads for several tokens ahead (multi-token prediction)."""
    quantization: Literal["nf4"] | None = None
    """Load the frozen weights in 4 bits (QLoRA); needs an adapter and `pip install 'curricle[qlora]'`."""
    pad_token: str | None = None
    """The token to pad with, where the tokenizer names none: one that it already has."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Never without being asked."""
    vocabulary: str | Source | list[str | Source] | None = None
    """Of a nano model: the rows that its tokenizer is trained on, where arms with other rows share it; by default
    `data.train`."""
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
        if self.lora_gen is not None and (self.adapter is not None or self.quantization is not None):
            other = "adapter" if self.adapter is not None else "quantization"
            raise ValueError(f"model.lora_gen does not go with model.{other}; leave one of them out, or set it to null")
        if self.lora_gen is not None and self.mtp is not None:
            raise ValueError("model.lora_gen does not go with model.mtp; leave one of them out, or set it to null")
        if self.quantization and self.adapter is None:
            raise ValueError(
                f"model.quantization is `{self.quantization}` without model.adapter, but 4-bit weights cannot be "
                "trained; add `adapter: {}` for QLoRA, or leave quantization out"
            )
        if self.quantization and self.nano_type:
            raise ValueError("model.quantization does not go with a nano model; leave it out")
        if self.vocabulary is not None and not self.nano_type:
            raise ValueError(
                f"model.vocabulary is for nano models, whose tokenizer is made; `{self.name_or_path}` has its own"
            )
        if self.shape and not self.nano_type:
            raise ValueError(
                f"model.shape belongs to nano models, but name_or_path is `{self.name_or_path}`; leave it out, or "
                "set model.shape to null"
            )
        return self
