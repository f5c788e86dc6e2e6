"""What a multi-token model is: the config of its own family, and its heads.

`num_hidden_layers` of the family's config counts the layers of the plain model: with parallel heads the last of them is
head 1, and the trunk that all heads share is what lies below.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PretrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ...errors import ModelError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "olmo2", "phi3")
"""Decoders of equal layers whose logits are the output head's own: what the heads are tested on."""


@strict
class MtpConfig(PretrainedConfig):
    """One of `FAMILIES` with `num_future_tokens` heads. What this config lacks, the family's own answers."""

    model_type = "curricle_mtp"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "mtp_logits"]
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    text_config: dict[str, Any] | PretrainedConfig | None = None
    num_future_tokens: int = 4
    kind: Literal["parallel", "sequential"] = "parallel"
    mtp_lambda: float = 0.3
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.__dict__.pop("rope_parameters", None)  # those of the family, which transformers has just copied up here
        self.tie_word_embeddings = bool(self.family.tie_word_embeddings)
        if self.kind == "sequential":  # under the names by which transformers' drafting looks for them
            self.family.num_mtp_layers = self.num_extra_heads
            if getattr(self.family, "layer_types", None):
                self.family.mtp_layer_types = self.family.layer_types[-1:] * self.num_extra_heads

    def __getattr__(self, name: str) -> Any:
        family = self.__dict__.get("text_config")
        if family is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(family, name)

    @property
    def family(self) -> Any:
        """The config of the plain model that head 1 belongs to."""
        return self.text_config

    @property
    def num_extra_heads(self) -> int:
        return self.num_future_tokens - 1

    @property
    def coefficients(self) -> list[float]:
        """What each head's mean loss counts: 1 for parallel heads, lambda / D for D sequential ones."""
        extra = 1.0 if self.kind == "parallel" else self.mtp_lambda / max(1, self.num_extra_heads)
        return [1.0] + [extra] * self.num_extra_heads

    def cached(self) -> Any:
        """The family's config with a layer for each extra head: what a cache for all heads is made from."""
        fields = self.family.to_dict()
        fields["num_hidden_layers"] += self.num_extra_heads
        if fields.get("layer_types"):
            fields["layer_types"] = fields["layer_types"] + fields["layer_types"][-1:] * self.num_extra_heads
        return type(self.family).from_dict(fields)


def check_heads(family: Any, num_future_tokens: int, kind: str) -> None:
    """Refuse what no model can be made of. `family` has the layers that the plain model will have."""
    if family.model_type not in FAMILIES:
        raise ModelError(
            f"model.mtp was asked of a {family.model_type} model; its heads are known to be right for "
            f"{', '.join(FAMILIES)}"
        )
    if num_future_tokens < 1:
        raise ModelError(f"model.mtp.num_future_tokens is {num_future_tokens}; head 1 is the next token, so at least 1")
    if kind == "parallel" and family.num_hidden_layers < 2:
        raise ModelError(
            f"{num_future_tokens} parallel heads leave no trunk: the plain model would have "
            f"{max(0, family.num_hidden_layers)} layers, and its last one is head 1; at least 2 are needed"
        )


def without_heads_layers(family: Any, num_future_tokens: int) -> Any:
    """The family's config for a model from scratch: the extra heads' layers are taken off, so its size stays."""
    left = family.num_hidden_layers - (num_future_tokens - 1)
    if left < 2:
        raise ModelError(
            f"{num_future_tokens} parallel heads leave no trunk: they are a layer each, and the model has "
            f"{family.num_hidden_layers} in all; give it at least {num_future_tokens + 1} "
            "(model.shape.num_hidden_layers) or ask for fewer tokens (model.mtp.num_future_tokens)"
        )
    fields = copy.deepcopy(family.to_dict())
    fields["num_hidden_layers"] = left
    if fields.get("layer_types"):
        fields["layer_types"] = fields["layer_types"][:left]
    return type(family).from_dict(fields)
