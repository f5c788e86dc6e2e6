"""What a model file or folder holds, from its headers: nothing is loaded but numbers and names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError
from .artifact import read_metadata


@dataclass(frozen=True)
class Inspection:
    """Facts about a model, each with its name."""

    facts: dict[str, str]

    def __str__(self) -> str:
        width = max(map(len, self.facts))
        return "\n".join(f"{name:<{width}}  {fact}" for name, fact in self.facts.items())


def inspect_model(source: str | Path) -> Inspection:
    """Of a llama2.c file, a folder of Meta's or a folder of transformers."""
    from .sources import kind_of

    source = Path(source)
    kind = kind_of(source)
    facts = _of_folder(source) if kind == "transformers" else _of_llama(source, kind)
    return Inspection({"path": str(source), **facts})


def _of_llama(source: Path, kind: str) -> dict[str, str]:
    from .layout import meta_shapes
    from .llama2c import read_header
    from .meta import load_pickle, meta_files, read_shape

    if kind == "llama2c":
        shape, version = read_header(source)
        kind, files = f"llama2.c version {version}", [source]
    else:
        files, kind = meta_files(source), "Meta"
        shape = read_shape(source, load_pickle(files[0]), len(files))
    count = sum(_product(size) for size in meta_shapes(shape).values())
    return {
        "format": kind,
        "family": "llama",
        "layers": _layers(shape.n_layers, shape.num_future_tokens),
        "width": f"{shape.dim}, inner {shape.hidden_dim}",
        "attention": f"{shape.n_heads} heads, {shape.n_kv_heads} of keys and values, {shape.head_dim} wide",
        "vocabulary": f"{shape.vocab_size:,}, {_ends(shape.tied)}",
        "length": f"{shape.max_seq_len:,} tokens",
        "parameters": f"{count:,}",
        "files": _files(files),
    }


def _of_folder(folder: Path) -> dict[str, str]:
    from ..config import ModelConfig
    from ..loading import model_settings
    from .sources import weight_files

    settings = model_settings(ModelConfig(name_or_path=str(folder)))
    text, several = settings.get_text_config(), settings.model_type == "curricle_mtp"
    files = weight_files(folder)
    if not files:
        raise ModelError(f"{folder} holds no weights: looked for *.safetensors and pytorch_model*.bin")
    count, dtypes = _tensors(files)
    heads = getattr(text, "num_attention_heads", 0)
    facts = {
        "format": f"transformers, {files[0].suffix.lstrip('.')}",
        "family": text.model_type,
        "layers": _layers(text.num_hidden_layers, settings.num_future_tokens if several else 1, settings),
        "width": f"{text.hidden_size}, inner {getattr(text, 'intermediate_size', 'not said')}",
        "attention": f"{heads} heads, {getattr(text, 'num_key_value_heads', None) or heads} of keys and values",
        "vocabulary": f"{text.vocab_size:,}, {_ends(settings.tie_word_embeddings)}",
        "length": f"{text.max_position_embeddings:,} tokens",
        **({"parameters": f"{count:,} saved, {', '.join(sorted(dtypes))}"} if count else {}),
        "files": _files(files),
    }
    return {**facts, **_said(folder)}


def _ends(tied: bool) -> str:
    return "one table for both ends" if tied else "a head of its own"


def _said(folder: Path) -> dict[str, str]:
    """What the folder's metadata adds."""
    about = read_metadata(folder)
    if about is None:
        return {"metadata": "none"}
    source = about["source"]
    named = ", ".join(f"{name} {file['sha256'][:12]}" for name, file in source["files"].items())
    origin = f"; {source['origin']}" if "origin" in source else ""
    layers = f"; layers {source['layers']}" if "layers" in source else ""
    return {
        "metadata": f"version {about['version']}, {len(about['files'])} files with SHA256",
        "source": f"{source['format']}: {named}{layers}{origin}",
    }


def _layers(number: int, num_future_tokens: int, settings: Any = None) -> str:
    if num_future_tokens == 1:
        return str(number)
    kind = getattr(settings, "kind", "parallel")
    trunk = number - 1 if kind == "parallel" else number
    return f"{number}, {num_future_tokens} {kind} heads on a trunk of {trunk}"


def _tensors(files: list[Path]) -> tuple[int, set[str]]:
    """How many numbers safetensors files hold, and of what types, from their headers."""
    from safetensors import SafetensorError, safe_open

    count, dtypes = 0, set()
    for file in files:
        if file.suffix != ".safetensors":
            continue
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    part = opened.get_slice(name)
                    count += _product(part.get_shape())
                    dtypes.add(str(part.get_dtype()))
        except SafetensorError as error:
            raise ModelError(f"{file} cannot be read: {error}") from error
    return count, dtypes


def _product(size: Any) -> int:
    from math import prod

    return prod(size)


def _files(files: list[Path]) -> str:
    total = sum(file.stat().st_size for file in files)
    return f"{len(files)}, {total / 2**20:,.1f} MiB: {', '.join(file.name for file in files[:4])}"
