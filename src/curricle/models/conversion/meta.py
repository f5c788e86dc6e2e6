"""Meta's own files: `params.json`, and `consolidated.*.pth` cut over one or more shards.

A `.pth` is a pickle; it is opened with `weights_only`, so tensors come out and code never runs. With several shards
each holds a part of most tensors; along which axis follows from the size that the whole one must have.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from ...runtime.files import read_json
from .layout import MetaWeights, Shape, meta_shapes

if TYPE_CHECKING:
    from torch import Tensor

KNOWN = {
    "dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier", "norm_eps",
    "rope_theta", "n_future_tokens", "max_seq_len", "max_batch_size",
}  # fmt: skip
FRACTIONS = {"ffn_dim_multiplier", "norm_eps", "rope_theta"}
MAX_LENGTH = 4096
"""The length of Llama 2 and of Meta's multi-token models; params.json does not say it."""
MADE_ANEW = {"rope.freqs"}
"""Angles of the rotary embedding that older files carry; they follow from `rope_theta`."""


def meta_files(folder: Path) -> list[Path]:
    """The shards in order; empty where a folder is none of Meta's."""
    return sorted(folder.glob("consolidated*.pth")) if (folder / "params.json").exists() else []


def read_meta(folder: Path) -> MetaWeights:
    """The whole model, shards joined, every tensor accounted for."""
    files = meta_files(folder)
    parts = [load_pickle(file) for file in files]
    shape = read_shape(folder, parts[0], len(parts))
    expected = meta_shapes(shape)
    wrong = _wrong(files, parts, expected)
    if wrong:
        raise ModelError(named(f"{folder} is not the model of its params.json", wrong))
    tensors = {name: _joined([part[name] for part in parts], size) for name, size in expected.items()}
    return MetaWeights(shape, tensors)


def read_shape(folder: Path, part: dict[str, Tensor], num_parts: int) -> Shape:
    """params.json, and from the first shard what it leaves out."""
    params = _params(folder)
    dim, num_future = params["dim"], params.get("n_future_tokens", 1)
    vocab, embedding = params.get("vocab_size", -1), part.get("tok_embeddings.weight")
    if vocab < 1 and embedding is not None and embedding.dim() == 2:
        vocab = embedding.shape[0] * (num_parts if embedding.shape[1] == dim else 1)
    shape = Shape(
        dim=dim,
        hidden_dim=_hidden(params, part, num_parts),
        n_layers=params["n_layers"] - (num_future - 1),
        n_heads=params["n_heads"],
        n_kv_heads=params.get("n_kv_heads") or params["n_heads"],
        vocab_size=vocab,
        max_seq_len=params.get("max_seq_len", MAX_LENGTH),
        tied=False,
        num_future_tokens=num_future,
        norm_eps=params.get("norm_eps", 1e-5),
        rope_theta=float(params.get("rope_theta", 10000.0)),
    )
    if vocab < 1 or dim % shape.n_heads or shape.n_heads % shape.n_kv_heads or shape.head_dim % 2:
        raise ModelError(f"{folder / 'params.json'} describes no Llama: {params}")
    if shape.n_layers < 1 + (num_future > 1):
        raise ModelError(
            f"{folder / 'params.json'} has {params['n_layers']} layers and n_future_tokens {num_future}, which leaves "
            "no trunk: each head is a layer"
        )
    return replace(shape, tied="output.weight" not in part and num_parts == 1)


def load_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.bin`, by name; a file that holds code is refused unread."""
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickles that torch did not write: what follows says more
            found = _loaded(torch, path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than tensors, and unpickling it would run code that came with it; it is not opened. "
            "Ask for the weights as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise ModelError(f"{path} holds no table of tensors by name, so it is no model's weights")
    return found


def _loaded(torch: Any, path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6


def named(what: str, wrong: list[str], most: int = 40) -> str:
    """One line with every name, or with the first ones of very many and their number."""
    more = f"; and {len(wrong) - most} more" if len(wrong) > most else ""
    return f"{what}: {'; '.join(wrong[:most])}{more}"


def _params(folder: Path) -> dict[str, Any]:
    path = folder / "params.json"
    try:
        params = read_json(path)
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}") from error
    if not isinstance(params, dict):
        raise ModelError(f"{path} holds no table of parameters")
    if params.get("use_scaled_rope"):
        raise ModelError(
            f"{path} has use_scaled_rope, whose factors are not in the file; take the same model for transformers"
        )
    unknown = {key for key in set(params) - KNOWN if params[key] not in (None, False)}
    if unknown:
        raise ModelError(f"{path} has {sorted(unknown)}, which no Llama of Meta's that is known here has")
    given = {key: value for key, value in params.items() if value is not None and key in KNOWN}
    for key in {*given, "dim", "n_layers", "n_heads"} - {"vocab_size"}:
        value, fraction = given.get(key), key in FRACTIONS
        if not isinstance(value, int | float if fraction else int) or value <= 0:
            raise ModelError(
                f"{path} has {key} {value!r}; a {'number above 0' if fraction else 'whole number from 1'} belongs there"
            )
    return given


def _hidden(params: dict[str, Any], part: dict[str, Tensor], num_parts: int) -> int:
    """Meta's rule for the width between w1 and w2; without `multiple_of` what w1 has."""
    if "multiple_of" not in params:
        first = part.get("layers.0.feed_forward.w1.weight")
        return first.shape[0] * num_parts if first is not None and first.dim() == 2 else 0
    hidden = int(2 * 4 * params["dim"] / 3)
    if params.get("ffn_dim_multiplier"):
        hidden = int(params["ffn_dim_multiplier"] * hidden)
    multiple = params["multiple_of"]
    return int(multiple * ((hidden + multiple - 1) // multiple))


def _wrong(files: list[Path], parts: list[dict[str, Tensor]], expected: dict[str, tuple[int, ...]]) -> list[str]:
    """Every tensor that is missing, too much or of another shape, in any shard."""
    found = []
    for file, part in zip(files, parts, strict=True):
        where = f" in {file.name}" if len(files) > 1 else ""
        found += [f"`{name}` is missing{where}" for name in expected if name not in part]
        found += [
            f"`{name}` belongs to no such model{where}"
            for name in part
            if name not in expected and name not in MADE_ANEW
        ]
    for name, size in expected.items():
        shards = [tuple(part[name].shape) for part in parts if name in part]
        if len(shards) == len(parts) and _axis(shards, size) is None:
            seen = " and ".join(str(list(one)) for one in dict.fromkeys(shards))
            found.append(f"`{name}` is {seen}, which makes no {list(size)} of {len(parts)}")
    return found


def _axis(shards: list[tuple[int, ...]], size: tuple[int, ...]) -> int | None:
    """Along which axis the shards make the whole; -1 where each of them is the whole. None where they do not."""
    if all(one == size for one in shards):
        return -1
    for axis in range(len(size)):
        others = [{one[i] for one in shards if len(one) == len(size)} for i in range(len(size))]
        fits = all(others[i] == {size[i]} for i in range(len(size)) if i != axis)
        if fits and all(len(one) == len(size) for one in shards) and sum(one[axis] for one in shards) == size[axis]:
            return axis
    return None


def _joined(shards: list[Tensor], size: tuple[int, ...]) -> Tensor:
    import torch

    axis = _axis([tuple(one.shape) for one in shards], size)
    assert axis is not None
    return shards[0] if axis < 0 else torch.cat(shards, dim=axis)
