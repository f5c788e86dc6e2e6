"""What a training run will hold in memory, by formula, before anything is loaded.

Per element kept for the backward pass of one Llama-shaped block, in units of one token (h hidden, f intermediate,
k key/value width):

    norm in h, norm out h, queries h, keys k, values k, attention out h, residual h, norm out h,
    gate f, up f, activated f, product f                                          = 6h + 2k + 4f

Attention over documents keeps no score matrix. With every block checkpointed only its input (h) stays, plus one block
being recomputed. The loss is chunked, so logits count once per chunk, not per token.
"""

from __future__ import annotations

from dataclasses import dataclass

LOSS_CHUNK_TOKENS = 256


@dataclass(frozen=True)
class ModelShape:
    """What the formula needs to know of a model."""

    num_parameters: int
    num_trainable: int
    num_layers: int
    hidden: int
    intermediate: int
    kv_width: int
    vocab: int


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations + self.logits


def estimate_memory(
    shape: ModelShape,
    tokens_per_micro_batch: int,
    *,
    weight_bytes: int = 4,
    activation_bytes: int = 4,
    optimizer_states: int = 2,
    checkpointed: bool = False,
) -> MemoryEstimate:
    """Adam keeps two fp32 moments of each trainable parameter; gradients have the dtype of their parameter."""
    per_token = 6 * shape.hidden + 2 * shape.kv_width + 4 * shape.intermediate
    kept = shape.hidden * shape.num_layers + per_token if checkpointed else per_token * shape.num_layers
    return MemoryEstimate(
        parameters=shape.num_parameters * weight_bytes,
        gradients=shape.num_trainable * weight_bytes,
        optimizer=shape.num_trainable * optimizer_states * 4,
        activations=tokens_per_micro_batch * kept * activation_bytes,
        logits=min(LOSS_CHUNK_TOKENS, tokens_per_micro_batch) * shape.vocab * 4,
    )
