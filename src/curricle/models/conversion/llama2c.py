"""llama2.c's `.bin` files: a header of seven integers, then every number of the model in float32, without names.

    version 0    7 integers; embedding, layers' norms and matrices, final norm, rotary tables (cos, sin), head if untied
    version 1    "ak42", version, 7 integers, a flag, up to byte 256; norms, embedding, matrices, head if untied

Each kind of tensor is stored for all layers together. Sizes must fit to the byte, and in version 0 the rotary tables
must be tables of cosines and sines, which they are only if everything before them lies where it should.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ModelError
from .layout import MetaWeights, Shape, meta_shapes

MAGIC = 0x616B3432
HEADER = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
NORMS = ("attention_norm", "ffn_norm")
MATRICES = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
FEED = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
MAX_DIM, MAX_LAYERS, MAX_VOCAB = 1 << 16, 1 << 10, 1 << 22  # beyond these a header is no header


def is_llama2c(path: Path) -> bool:
    """Whether a file looks like one, before it is read: its first integers are those of a model."""
    try:
        _header(path)
    except ModelError:
        return False
    return True


def read_header(path: Path) -> tuple[Shape, int]:
    """What the header says, and the version of the format."""
    shape, version, _ = _header(path)
    return shape, version


def read_llama2c(path: Path) -> tuple[MetaWeights, int]:
    """The weights and the version of the format."""
    import torch

    shape, version, start = _header(path)
    order = _order(shape, version)
    wanted = start + 4 * sum(int(np.prod(size)) for _, size in order)
    if (found := path.stat().st_size) != wanted:
        raise ModelError(
            f"{path} has {found:,} bytes, but its header ({_words(shape)}) makes {wanted:,}; "
            "it is cut short, or no llama2.c file of version 0 or 1"
        )
    data, place, read = np.memmap(path, dtype="<f4", mode="r", offset=start), 0, {}
    for name, size in order:
        end = place + int(np.prod(size))
        read[name], place = data[place:end].reshape(size), end
    if version == 0:
        shape = _with_theta(path, shape, read.pop("cos"), read.pop("sin"))
    tensors = {name: torch.from_numpy(np.array(one, dtype=np.float32)) for name, one in _by_layer(shape, read).items()}
    return MetaWeights(shape, tensors, flat=True), version


def _header(path: Path) -> tuple[Shape, int, int]:
    """The shape, the version and where the numbers begin."""
    with path.open("rb") as handle:
        head = handle.read(256)
    version, at = 0, 0
    if len(head) >= 8 and struct.unpack_from("<I", head)[0] == MAGIC:
        version, at = struct.unpack_from("<i", head, 4)[0], 8
        if version != 1:
            raise ModelError(
                f"{path} is a llama2.c file of version {version}; versions 0 and 1, in float32, are read, and "
                "quantized ones have lost what a model to train needs"
            )
    if len(head) < at + 28:
        raise ModelError(f"{path} has {len(head)} bytes, too few for a llama2.c header")
    dim, hidden, layers, heads, kv_heads, vocab, seq = struct.unpack_from("<7i", head, at)
    tied = bool(head[36]) if version == 1 and len(head) > 36 else vocab > 0
    shape = Shape(dim, hidden, layers, heads, kv_heads, abs(vocab), seq, tied)
    if not _is_a_model(shape):
        raise ModelError(f"{path} is no llama2.c file: its first integers would be {_words(shape)}")
    return shape, version, 256 if version else 28


def _is_a_model(shape: Shape) -> bool:
    small = shape.dim <= MAX_DIM and shape.hidden_dim <= 16 * MAX_DIM and shape.n_layers <= MAX_LAYERS
    counts = (shape.dim, shape.hidden_dim, shape.n_layers, shape.n_heads, shape.n_kv_heads, shape.max_seq_len)
    if not small or min(counts) < 1 or not 1 <= shape.vocab_size <= MAX_VOCAB:
        return False
    return shape.dim % shape.n_heads == 0 and shape.n_heads % shape.n_kv_heads == 0 and shape.head_dim % 2 == 0


def _words(shape: Shape) -> str:
    numbers = (shape.dim, shape.hidden_dim, shape.n_layers, shape.n_heads, shape.n_kv_heads, shape.vocab_size)
    return ", ".join(f"{name} {number}" for name, number in zip(HEADER, (*numbers, shape.max_seq_len), strict=True))


def _order(shape: Shape, version: int) -> list[tuple[str, tuple[int, ...]]]:
    """The blocks of a file as they follow each other; a layer's tensor stands for all layers, the first axis."""
    sizes = meta_shapes(shape)

    def layers(*names: str) -> list[tuple[str, tuple[int, ...]]]:
        return [(name, (shape.n_layers, *sizes[f"layers.0.{name}.weight"])) for name in names]

    def one(name: str) -> list[tuple[str, tuple[int, ...]]]:
        return [(name, sizes[name])] if name in sizes else []

    if version == 1:
        ends = one("norm.weight") + one("tok_embeddings.weight")
        return layers(*NORMS) + ends + layers(*MATRICES, *FEED) + one("output.weight")
    tables = [(name, (shape.max_seq_len, shape.head_dim // 2)) for name in ("cos", "sin")]
    middle = layers(NORMS[0], *MATRICES, NORMS[1], *FEED)
    return [*one("tok_embeddings.weight"), *middle, *one("norm.weight"), *tables, *one("output.weight")]


def _by_layer(shape: Shape, read: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    of_layers = {
        f"layers.{i}.{name}.weight": block[i]
        for name, block in read.items()
        if name in (*NORMS, *MATRICES, *FEED)
        for i in range(shape.n_layers)
    }
    return {**of_layers, **{name: block for name, block in read.items() if name.endswith(".weight")}}


def _with_theta(path: Path, shape: Shape, cos: npt.NDArray[np.float32], sin: npt.NDArray[np.float32]) -> Shape:
    """The base of the rotary angles, from the tables; and proof that they are what the shape says."""
    from dataclasses import replace

    pairs, theta = shape.head_dim // 2, shape.rope_theta
    if pairs > 1 and shape.max_seq_len > 1:  # position 1 turns the last pair by theta ** -((pairs - 1) / pairs)
        angle = float(np.arctan2(sin[1, -1].astype(np.float64), cos[1, -1].astype(np.float64)))
        theta = round(angle ** (-pairs / (pairs - 1)), 2) if angle > 1e-9 else 0.0
    angles = np.outer(np.arange(shape.max_seq_len), np.float64(max(theta, 1.0)) ** (-np.arange(pairs) / pairs))
    off = max(np.abs(cos - np.cos(angles)).max(), np.abs(sin - np.sin(angles)).max())
    if not off < 1e-2:
        raise ModelError(
            f"{path}: where its rotary tables should lie are other numbers, so its layers do not lie where llama2.c "
            f"puts them; the header says {_words(shape)}"
        )
    nearest = 10000.0 if abs(theta - 10000.0) < 20 else theta
    return replace(shape, rope_theta=nearest)
