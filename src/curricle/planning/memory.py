"""What a training run will hold in memory, by formula, before anything is loaded.

Per element kept for the backward pass of one Llama-shaped block, in units of one token (h hidden, f intermediate,
k key/value width):

    norm in h, norm out h, queries h, keys k, values k, attention out h, residual h, norm out h,
    gate f, up f, activated f, product f                                          = 6h + 2k + 4f

Of a Mamba block (e inner width, n state, H heads, l chunk), as transformers' own implementation keeps it, counted on
models of many shapes to within 5%; the kernels of mamba-ssm keep far less:

    mamba     three tensors of e n, nine of e, the residual's three of h                  = 3en + 9e + 3h + 2n
    mamba2    the chunk's scores, B and C of each head, states of chunks, the rest        = 7Hl/2 + 3Hn + 4en/l + 14e

Frozen weights in 4 bits (nf4 with doubly quantized scales, one to 64 weights) are those of the linear layers but the
head; the rest is then held in fp32. FSDP gives each rank its share of weights, gradients and optimizer state, and
leaves activations and logits whole; the layer it has gathered for the moment is not counted.

Attention over documents keeps no score matrix. With every block checkpointed only its input (h) stays, plus one block
being recomputed. The loss is chunked, so logits count once per chunk, not per token.
"""

from __future__ import annotations

from dataclasses import dataclass

ADAM_BYTES = 8
LOSS_CHUNK_TOKENS = 256
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class ModelShape:
    """What the formula needs to know of a model."""

    num_parameters: int
    """Of the model itself, without an adapter's factors."""
    num_linear: int
    """Those of them in linear layers other than the head, which is what quantization takes."""
    num_added: int
    """What an adapter puts beside them, in fp32."""
    num_trainable: int
    num_layers: int
    hidden: int
    intermediate: int
    kv_width: int
    vocab: int
    block_per_token: int = 0
    """Elements that a block keeps of each token; 0 where it is Llama-shaped."""


def mamba_block(hidden: int, inner: int, state: int) -> int:
    """Elements that a block of mamba keeps of each token."""
    return 3 * inner * state + 9 * inner + 3 * hidden + 2 * state


def mamba2_block(inner: int, state: int, heads: int, chunk: int) -> int:
    """The same of mamba2, in rows of whole chunks."""
    return 7 * heads * chunk // 2 + 3 * heads * state + 4 * inner * state // chunk + 14 * inner


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
    nf4: bool = False,
    shards: int = 1,
    checkpointed: bool = False,
) -> MemoryEstimate:
    """Adam keeps two fp32 moments of each trainable parameter; gradients have the dtype of their parameter."""
    per_token = shape.block_per_token or 6 * shape.hidden + 2 * shape.kv_width + 4 * shape.intermediate
    kept = shape.hidden * shape.num_layers + per_token if checkpointed else per_token * shape.num_layers
    num_nf4 = shape.num_linear if nf4 else 0
    rest_bytes = 4 if nf4 else weight_bytes
    parameters = (shape.num_parameters - num_nf4) * rest_bytes + num_nf4 * NF4_BYTES + shape.num_added * 4
    gradient_bytes = 4 if shape.num_added else weight_bytes
    return MemoryEstimate(
        parameters=round(parameters / shards),
        gradients=round(shape.num_trainable * gradient_bytes / shards),
        optimizer=round(shape.num_trainable * ADAM_BYTES / shards),
        activations=tokens_per_micro_batch * kept * activation_bytes,
        logits=min(LOSS_CHUNK_TOKENS, tokens_per_micro_batch) * shape.vocab * 4,
    )
