"""The tensors of a model folder, one at a time: safetensors in one file or in shards, mapped and never read whole."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..models.config import ModelConfig
from ..models.identity import weights_fingerprint
from ..models.loading import weights_folder
from ..runtime.files import read_json
from ..runtime.rundir import find_run, runs_below

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
EMBEDDINGS = ("embed_tokens", "embeddings", "wte", "embed_in", "word_embeddings", "tok_embeddings")


class Checkpoint:
    """A model folder as transformers writes it, or the run folder that holds one. Files are mapped, not loaded."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = model_folder(folder)
        self._holders = self._open()
        stored = [name for name in self._holders if name not in self.tied]
        self.names = sorted(stored)

    def _open(self) -> dict[str, Any]:
        """The open file of every tensor."""
        files = [self.folder / WHOLE] if (self.folder / WHOLE).is_file() else self._shards()
        holders = {name: opened for opened in map(open_safetensors, files) for name in opened.keys()}  # noqa: SIM118
        if not (self.folder / WHOLE).is_file():
            listed = self._index()["weight_map"]
            absent = sorted(set(listed) - set(holders))
            if absent:
                raise ModelError(
                    f"{self.folder} lacks the tensor {absent[0]}, which {INDEX} says {listed[absent[0]]} holds; "
                    "copy the folder again"
                )
        return holders

    def _shards(self) -> list[Path]:
        if not (self.folder / INDEX).is_file():
            raise ModelError(f"{self.folder} holds no weights: looked for {WHOLE} or {INDEX}; {_instead(self.folder)}")
        shards = sorted(set(self._index()["weight_map"].values()))
        absent = [shard for shard in shards if not (self.folder / shard).is_file()]
        if absent:
            raise ModelError(f"{self.folder} lacks {absent[0]}, one of {len(shards)} weight files that its index names")
        return [self.folder / shard for shard in shards]

    def _index(self) -> dict[str, Any]:
        return read_object(self.folder / INDEX)

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_object(self.folder / "config.json")

    @cached_property
    def tied(self) -> dict[str, str]:
        """The head, with the embedding it shares its numbers with: left out of the file, or there a second time."""
        embedding = next(
            (name for name in sorted(self._holders) if name.endswith(tuple(f"{end}.weight" for end in EMBEDDINGS))),
            None,
        )
        if embedding is None:
            return {}
        head = next((name for name in HEADS if name in self._holders), None)
        if head is None:
            return {HEADS[1] if self.config.get("model_type") == "gpt_neox" else HEADS[0]: embedding}
        said = self.config.get("tie_word_embeddings", (self.config.get("text_config") or {}).get("tie_word_embeddings"))
        # Told that they are one, transformers still keeps two that differ apart.
        return {head: embedding} if said is True and self.read(head).equal(self.read(embedding)) else {}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        return _dtype(self._slice(name).get_dtype())

    def num_bytes(self, name: str) -> int:
        from math import prod

        return prod(self.shape(name)) * self.dtype(name).itemsize

    def read(self, name: str) -> Tensor:
        """The tensor as it is stored, in a mapped file: nothing is copied until it is written to."""
        tensor: Tensor = self._holder(name).get_tensor(name)
        return tensor

    def fingerprint(self) -> str:
        found = weights_fingerprint(ModelConfig(name_or_path=str(self.folder)))
        assert found is not None  # there are weight files, or opening would have said so
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._holders and name not in self.tied

    def _holder(self, name: str) -> Any:
        if name not in self._holders:
            raise ModelError(f"{self.folder} has no tensor {name}")
        return self._holders[name]

    def _slice(self, name: str) -> Any:
        return self._holder(name).get_slice(name)


def model_folder(path: str | Path) -> Path:
    """The folder of the weights: `path` itself, `model/` in the run there, or a model of the hub in the local cache."""
    folder = run_folder(path)
    if folder.is_file():
        raise ModelError(f"{folder} is a file; name the folder that holds it")
    if not folder.is_dir():
        cached = weights_folder(ModelConfig(name_or_path=str(path)))
        if cached is None:
            raise ModelError(f"{path} is neither a folder nor a model in the local cache of the hub")
        return cached
    if not (folder / "config.json").exists() and (folder / "model").is_dir():
        return folder / "model"
    return folder


def run_folder(path: str | Path) -> Path:
    """The one finished run of an arm or an experiment; any other folder as it is. Several are named."""
    folder = Path(path).expanduser()
    if any((folder / file).exists() for file in ("config.json", "adapter_config.json")) or not runs_below(folder):
        return folder
    return find_run(folder)


def open_safetensors(path: Path) -> Any:
    """A mapped file; a damaged one is one line."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read: {' '.join(str(error).split())[:160]}; it is cut short or no safetensors file, "
            "copy it again"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}")
    try:
        found = read_json(path)
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}; an object was expected")
    return found


def _instead(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return "it is an adapter, which stands beside a model; name the model it was trained on"
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        return "its weights are pickles and not opened; `curricle model convert` makes safetensors of them"
    held = sorted(path.name for path in folder.iterdir())[:6]
    return f"it holds {', '.join(held)}" if held else "it is empty"


def _dtype(text: str) -> torch.dtype:
    """`F32`, `BF16`, `F8_E4M3`, ... as safetensors spells them."""
    import torch

    special = {"BOOL": "bool", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn"}
    kind = {"F": "float", "I": "int", "U": "uint", "C": "complex"}
    found: torch.dtype = getattr(torch, special.get(text) or kind[text[0]] + text[1:].lower())
    return found
