"""Meta's layout of a Llama (also llama2.c's), and how it becomes transformers'.

The two differ in names, and in how rotary embedding pairs the dimensions of a head. Meta turns neighbours, transformers
turns halves; so rows of wq and wk move, and nothing else does:

    Meta            0 1 | 2 3 | 4 5          pairs (0,1) (2,3) (4,5)
    transformers    0 2 4 | 1 3 5            pairs (0,1) (2,3) (4,5): place i of each half
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LAYER = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
"""Of one layer: Meta's name and transformers'."""


@dataclass(frozen=True)
class Shape:
    """What a file says of its Llama. `n_layers` counts the layers of the plain model, which is head 1; each further
    head is one more layer beside the last one."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    tied: bool
    num_future_tokens: int = 1
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads


@dataclass(frozen=True)
class MetaWeights:
    """A Llama by Meta's names: `layers.0.attention.wq.weight`, ...; `extra_heads.0.` is head 2."""

    shape: Shape
    tensors: dict[str, Tensor]
    flat: bool = False
    """The file gave numbers without shapes, so that a matrix of any shape could have been written across."""


def meta_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor that belongs to such a model, by Meta's name."""
    dim, kv_dim = shape.dim, shape.n_kv_heads * shape.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm": (dim,),
        "attention.wq": (dim, dim),
        "attention.wk": (kv_dim, dim),
        "attention.wv": (kv_dim, dim),
        "attention.wo": (dim, dim),
        "ffn_norm": (dim,),
        "feed_forward.w1": (shape.hidden_dim, dim),
        "feed_forward.w2": (dim, shape.hidden_dim),
        "feed_forward.w3": (shape.hidden_dim, dim),
    }
    blocks = [f"layers.{i}" for i in range(shape.n_layers)]
    blocks += [f"extra_heads.{i}" for i in range(shape.num_future_tokens - 1)]
    ends = {"tok_embeddings.weight": (shape.vocab_size, dim), "norm.weight": (dim,)}
    if not shape.tied:
        ends["output.weight"] = (shape.vocab_size, dim)
    return {**{f"{block}.{name}.weight": size for block in blocks for name, size in layer.items()}, **ends}


def llama_settings(shape: Shape) -> Any:
    """The config of the plain Llama in transformers' words."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.dim,
        intermediate_size=shape.hidden_dim,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        max_position_embeddings=shape.max_seq_len,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tied,
    )


def plain_state(weights: MetaWeights) -> dict[str, Tensor]:
    """The tensors of head 1 by transformers' names: a whole plain Llama."""
    given, state = weights.tensors, {}
    for i in range(weights.shape.n_layers):
        state.update({f"model.layers.{i}.{name}": one for name, one in block_state(weights, f"layers.{i}").items()})
    state["model.embed_tokens.weight"] = given["tok_embeddings.weight"]
    state["model.norm.weight"] = given["norm.weight"]
    if not weights.shape.tied:
        state["lm_head.weight"] = given["output.weight"]
    return state


def block_state(weights: MetaWeights, block: str) -> dict[str, Tensor]:
    """One layer, `layers.3` or `extra_heads.0`, by transformers' names."""
    shape, state = weights.shape, {}
    for name, theirs in LAYER.items():
        tensor = weights.tensors[f"{block}.{name}.weight"]
        if name in ("attention.wq", "attention.wk"):
            tensor = halves(tensor, shape.head_dim)
        state[f"{theirs}.weight"] = tensor
    return state


def halves(weight: Tensor, head_dim: int) -> Tensor:
    """Rows of each head reordered from neighbours to halves, as drawn above."""
    rows, columns = weight.shape
    return weight.reshape(rows // head_dim, head_dim // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def read_across(weights: MetaWeights) -> MetaWeights:
    """The same numbers, had each layer matrix been written column by column: what a transposed file needs."""

    def turned(name: str, tensor: Tensor) -> Tensor:
        of_a_layer = name.startswith(("layers.", "extra_heads.")) and tensor.dim() == 2
        if not of_a_layer or not (weights.flat or tensor.shape[0] == tensor.shape[1]):
            return tensor
        return tensor.reshape(tensor.shape[1], tensor.shape[0]).T.contiguous()

    return replace(weights, tensors={name: turned(name, tensor) for name, tensor in weights.tensors.items()})
