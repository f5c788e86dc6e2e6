"""The models and differences that go into a merge, opened and held against each other before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import orjson
from torch import Tensor

from ...errors import ModelError
from ...models.config import ModelConfig
from ...models.identity import weights_fingerprint
from ...runtime.files import read_json, sha256_file
from ...runtime.progress import say
from ..checkpoint import Checkpoint, run_folder
from ..difference import Difference, Factors, learned
from ..files import NAME as DIFFERENCE_FILE
from ..peft_files import CONFIG as ADAPTER_FILE
from ..reading import read_difference
from .layout import can_hold


@dataclass(frozen=True)
class Whole:
    """An expert's own numbers, from which the base's are still to be taken."""

    tensor: Tensor


Operand = Whole | Factors | Tensor | None
"""What an expert has of a tensor, not yet computed; None where it changed nothing."""


@dataclass(frozen=True)
class Expert:
    """One input beside the base."""

    name: str
    folder: Path
    names: frozenset[str]
    read: Callable[[str], Operand]
    num_bytes: int
    """How much there is to read."""
    low_rank: bool = False
    """Whether all that it changed is factors."""

    def operand(self, name: str) -> Operand:
        return self.read(name) if name in self.names else None

    def fingerprint(self) -> str | None:
        return weights_fingerprint(ModelConfig(name_or_path=str(self.folder)))


def open_base(path: str | Path) -> Checkpoint:
    """The model that the experts were made of; anything that cannot be written again is refused."""
    base = Checkpoint(path)
    for name in base.names:
        if not can_hold(base.dtype(name)):
            raise ModelError(f"{name} of {base.folder} is {base.dtype(name)}, which is not merged here")
    return base


def open_expert(name: str, path: str | Path | Difference, base: Checkpoint) -> Expert:
    """A difference folder, an adapter, a full checkpoint or a run; what does not fit the base is refused.

    A full checkpoint is read itself and not through its difference, so that it can be taken in pieces.
    """
    if isinstance(path, Difference):
        path.check_base(base)
        return _of_difference(name, base.folder, path)
    difference = read_difference(path, base, name)
    folder = _beside_base(run_folder(path))
    if folder is not None:
        check_tokenizer(name, folder, base.folder)
        return _of_difference(name, folder, difference)
    checkpoint = Checkpoint(path)
    check_settings(name, checkpoint, base)
    check_tokenizer(name, checkpoint.folder, base.folder)
    return _whole(name, checkpoint)


def base_as_expert(name: str, base: Checkpoint) -> Expert:
    """The base itself as one of the models of a mean."""
    return _whole(name, base)


def _of_difference(name: str, folder: Path, difference: Difference) -> Expert:
    low_rank = all(difference.rank(key) is not None for key in difference.names)
    return Expert(name, folder, frozenset(difference.names), difference.part, _bytes_of(difference), low_rank)


def _whole(name: str, checkpoint: Checkpoint) -> Expert:
    names = frozenset(key for key in checkpoint.names if learned(checkpoint, key))
    size = sum(checkpoint.num_bytes(key) for key in names)
    return Expert(name, checkpoint.folder, names, lambda key: Whole(checkpoint.read(key)), size)


def _bytes_of(difference: Difference) -> int:
    """In float32, factors as factors."""
    total = 0
    for name in difference.names:
        shape, rank = difference.shape(name), difference.rank(name)
        total += 4 * (prod(shape) if rank is None else rank * sum(shape))
    return total


def _beside_base(folder: Path) -> Path | None:
    """Where the files of a difference or an adapter lie; None for a full model."""
    places = ((folder, DIFFERENCE_FILE), (folder, ADAPTER_FILE), (folder / "model", ADAPTER_FILE))
    return next((place for place, file in places if (place / file).is_file()), None)


# --- settings and tokens

_OWN_TO_A_FILE = (
    "_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


def check_settings(name: str, expert: Checkpoint, base: Checkpoint) -> None:
    """Another kind of model is refused; settings that differ are said, as the base's are written."""
    kinds = [each.config.get("model_type") for each in (expert, base)]
    if kinds[0] != kinds[1]:
        raise ModelError(f"expert {name} is a {kinds[0]} and the base a {kinds[1]}; only models of one kind are merged")
    if "quantization_config" in {**expert.config, **base.config}:
        raise ModelError(f"expert {name} or the base is quantized; merge what it was made from, then quantize")
    keys = sorted((set(expert.config) | set(base.config)) - set(_OWN_TO_A_FILE))
    other = [key for key in keys if expert.config.get(key) != base.config.get(key)]
    for key in other:
        values = [orjson.dumps(each.config.get(key)).decode() for each in (expert, base)]
        say(f"config.json of expert {name} has {key} {values[0]}, the base's {values[1]}; the base's is written")


def check_tokenizer(name: str, expert: Path, base: Path) -> None:
    """The same token must have the same number in both, where both folders hold a tokenizer. What an expert has beyond
    the base (a pad token, say) is no obstacle."""
    for file in ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt"):
        ours, theirs = base / file, expert / file
        if not (ours.is_file() and theirs.is_file()) or sha256_file(ours) == sha256_file(theirs):
            continue
        if file != "tokenizer.json":
            raise ModelError(f"{theirs} of expert {name} is not the base's {ours}; models of one vocabulary are merged")
        wrong = _other_vocabulary(read_json(theirs), read_json(ours))
        if wrong:
            raise ModelError(f"the tokenizer of expert {name} ({theirs}) is another than the base's: {wrong}")
        return


def _other_vocabulary(theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    mine, other = _tokens(ours), _tokens(theirs)
    for number in sorted(mine.keys() & other.keys()):
        if mine[number] != other[number]:
            return f"token {number} is {other[number]!r} there and {mine[number]!r} in the base"
    absent = min(mine.keys() - other.keys(), default=None)
    if absent is not None:
        return f"it lacks token {absent}, {mine[absent]!r}"
    if theirs.get("model", {}).get("merges") != ours.get("model", {}).get("merges"):
        return "it has the same tokens but joins them in another order (merges)"
    return None


def _tokens(tokenizer: dict[str, Any]) -> dict[int, str]:
    """Number to token, of a `tokenizer.json`."""
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, dict):
        found = {int(number): str(token) for token, number in vocabulary.items()}
    else:
        found = {number: str(entry[0]) for number, entry in enumerate(vocabulary)}
    return {**found, **{int(token["id"]): str(token["content"]) for token in tokenizer.get("added_tokens", [])}}
