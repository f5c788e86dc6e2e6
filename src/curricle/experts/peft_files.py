"""A PEFT LoRA adapter as a difference, read from its files: neither the base model nor PEFT is loaded.

    X.lora_A.weight [r, in], X.lora_B.weight [out, r]            X.weight += scale * B A
    X.lora_embedding_A [r, vocab], X.lora_embedding_B [dim, r]   X.weight += scale * (B A)^T
    X.weight, X.bias, X.base_layer.bias                          learned whole: what is stored less the base's

with scale = alpha / r, or alpha / sqrt(r) for rsLoRA.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .checkpoint import open_safetensors, read_object
from .difference import VALUE_HEAD, Difference, Factors, Lazy

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoint import Checkpoint

CONFIG, BASE = "adapter_config.json", "base.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.weight)?")
_MOVED = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin that take a part out of the base's weights, so that the factors alone are not the change."""

Read = Callable[[], "Tensor"]


def read_adapter(folder: Path, name: str, base: Checkpoint | None) -> Difference:
    """The difference that the adapter in `folder` makes; tensors that it holds whole need the base."""
    config = read_object(folder / CONFIG)
    _refuse_other_kinds(config, folder)
    tensors, shapes = _open(folder)
    fingerprint, base_name = recorded_base(folder)
    parts = _Parts(folder, config, base, tensors, shapes).all()
    return Difference(
        name, fingerprint, base_name or config.get("base_model_name_or_path"), dict(sorted(parts.items()))
    )


def recorded_base(folder: Path) -> tuple[str | None, str | None]:
    """Fingerprint and name of the model that training started from, where the run says so."""
    if not (folder / BASE).is_file():
        return None, None
    about = read_object(folder / BASE)
    found = str(about.get("fingerprint"))
    of_files = re.fullmatch(
        r"[0-9a-f]{20}", found
    )  # of a model of the hub it may be a branch, which tells nothing here
    return found if of_files else None, about.get("name_or_path")


def _refuse_other_kinds(config: dict[str, Any], folder: Path) -> None:
    start = str(config.get("init_lora_weights") or "")
    why = None
    if config.get("peft_type") != "LORA":
        why = f"its kind is {config.get('peft_type')}; LoRA adapters are read"
    elif config.get("use_dora"):
        why = "it is DoRA, whose change is no product of two factors"
    elif config.get("target_parameters") or config.get("layer_replication") or config.get("lora_bias"):
        why = "it uses target_parameters, layer_replication or lora_bias"
    elif config.get("trainable_token_indices"):
        why = "it has trainable_token_indices"
    elif start.startswith(_MOVED):
        why = f"it began with init_lora_weights {start}, which changes the base's own weights"
    if why:
        raise ModelError(
            f"{folder} cannot be read as a difference: {why}. Merge it into its base (`curricle export`, or PEFT's "
            "merge_and_unload) and give that model"
        )


def _open(folder: Path) -> tuple[dict[str, Read], dict[str, tuple[int, ...]]]:
    """Readers and shapes of all tensors, by their names in the model."""
    file = next((folder / file for file in FILES if (folder / file).is_file()), None)
    if file is None:
        raise ModelError(f"{folder} has {CONFIG}, but neither {FILES[0]} nor {FILES[1]}; was the run stopped?")
    if file.suffix == ".bin":
        loaded = {_plain(key): tensor for key, tensor in _unpickle(file).items()}
        return {key: partial(loaded.__getitem__, key) for key in loaded}, {k: tuple(t.shape) for k, t in loaded.items()}
    opened = open_safetensors(file)
    keys = list(opened.keys())
    shapes = {_plain(key): tuple(opened.get_slice(key).get_shape()) for key in keys}
    return {_plain(key): partial(opened.get_tensor, key) for key in keys}, shapes


def _unpickle(file: Path) -> dict[str, Tensor]:
    """Tensors only: a pickle that would run anything is refused by torch."""
    import pickle

    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as plain tensors: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ModelError(f"{file} holds something else than named tensors")
    return loaded


def _plain(key: str) -> str:
    """The name in the model itself; PEFT's wrappers leave marks in it."""
    key = key.removeprefix(_PREFIX).replace(".modules_to_save", "")
    return re.sub(r"\.(lora_(?:embedding_)?[AB])\.default", r".\1", key)


class _Parts:
    """From the adapter's tensors to the base's: each of them accounted for, or refused by name."""

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        base: Checkpoint | None,
        tensors: dict[str, Read],
        shapes: dict[str, tuple[int, ...]],
    ) -> None:
        self.folder, self.config, self.base, self.tensors, self.shapes = folder, config, base, tensors, shapes

    def all(self) -> dict[str, Lazy]:
        factors, whole = self._factors(), self._whole()
        for name in set(factors) & set(whole):
            raise ModelError(
                f"{self.folder} stores the frozen weight {name} beside its factors, and it is not the base's; the "
                "adapter was trained on another base"
            )
        parts = {**factors, **whole}
        return parts if self.base is None else self._tied_once(parts, self.base)

    def _factors(self) -> dict[str, Lazy]:
        found: dict[str, Lazy] = {}
        for key in self.tensors:
            match = _FACTOR.fullmatch(key)
            if match is None or match[3] == "B":
                continue
            module, other = match[1], key.replace(f"lora_{match[2] or ''}A", f"lora_{match[2] or ''}B")
            if other not in self.tensors:
                raise ModelError(f"{self.folder} has {key} and lacks {other}; the file is not whole")
            found[f"{module}.weight"] = self._pair(module, key, other, turned=match[2] is not None)
        return found

    def _pair(self, module: str, a: str, b: str, turned: bool) -> Lazy:
        """`turned`: the weight is stored as inputs x outputs, as embeddings are, and linear layers of GPT-2."""
        (rank, inputs), outputs = self._matrix(a), self._matrix(b)[0]
        stored = self.base.shape(f"{module}.weight") if self.base and f"{module}.weight" in self.base else None
        turned = turned or (bool(self.config.get("fan_in_fan_out")) and stored in (None, (inputs, outputs)))
        scale = self._scale(module, rank)

        def read() -> Factors:
            down, up = self.tensors[a]().float(), self.tensors[b]().float()
            return Factors(down.T.contiguous(), up.T.contiguous(), scale) if turned else Factors(up, down, scale)

        return Lazy((inputs, outputs) if turned else (outputs, inputs), read, rank)

    def _matrix(self, key: str) -> tuple[int, int]:
        if len(self.shapes[key]) != 2:
            raise ModelError(
                f"{self.folder}: {key} has {len(self.shapes[key])} dimensions; factors of matrices are read"
            )
        rows, columns = self.shapes[key]
        return rows, columns

    def _scale(self, module: str, rank: int) -> float:
        """alpha by the pattern that ends the module's name, as PEFT finds it."""
        patterns: dict[str, float] = self.config.get("alpha_pattern") or {}
        key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
        alpha = float(self.config["lora_alpha"] if key is None else patterns[key])
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def _whole(self) -> dict[str, Lazy]:
        """Tensors that were learned whole; those that equal the base's are left out."""
        found: dict[str, Lazy] = {}
        for key in self.tensors:
            if _FACTOR.fullmatch(key) or key.startswith(VALUE_HEAD):
                continue
            name = key.replace(".base_layer.", ".")
            if ".lora_" in key or "token_adapter" in key:
                raise ModelError(f"{self.folder} holds {key}, which is no factor of a plain LoRA adapter")
            if self.base is None and ".base_layer." in key and name.endswith(".weight"):
                continue  # a copy of the frozen weight beside the factors
            if self.base is None:
                raise ModelError(f"{self.folder} holds {key} whole, so its difference needs the base; name it as well")
            if name not in self.base and name not in self.base.tied:
                raise ModelError(f"{self.folder} holds {key}, and the base {self.base.folder} has no {name}")
            kept = self.base.tied.get(name, name)
            self._same_shape(name, key, self.base.shape(kept))
            found[name] = Lazy(self.shapes[key], self._less_base(key, self.base, kept))
        return {name: lazy for name, lazy in found.items() if _any(lazy.read())}

    def _less_base(self, key: str, base: Checkpoint, kept: str) -> Read:
        return lambda: self.tensors[key]().float() - base.read(kept).float()

    def _same_shape(self, name: str, key: str, shape: tuple[int, ...]) -> None:
        if self.shapes[key] != shape:
            raise ModelError(
                f"{self.folder}: {name} is {list(self.shapes[key])}, in the base {list(shape)} (another vocabulary?)"
            )

    def _tied_once(self, parts: dict[str, Lazy], base: Checkpoint) -> dict[str, Lazy]:
        """The head and the embedding that are one in the base are one change, which both must have learned."""
        for head, embedding in base.tied.items():
            if head not in parts and embedding not in parts:
                continue
            if head not in parts or embedding not in parts or not self._equal(parts.pop(head), parts[embedding]):
                raise ModelError(
                    f"{self.folder} changes {embedding} and {head} differently, and in the base they are one; train "
                    "the adapter with ensure_weight_tying, or leave both out"
                )
        return parts

    def _equal(self, one: Lazy, other: Lazy) -> bool:
        a, b = one.read(), other.read()
        if isinstance(a, Factors) and isinstance(b, Factors):
            return a.up.equal(b.up) and a.down.equal(b.down) and a.scale == b.scale
        return not isinstance(a, Factors) and not isinstance(b, Factors) and a.equal(b)


def _any(part: Factors | Tensor) -> bool:
    """Whether it changes anything."""
    return bool(part.norm() if isinstance(part, Factors) else part.any())
