"""mergekit's own YAML, unchanged: `linear`, `task_arithmetic`, `ties`, `dare_linear` and `dare_ties` over `models:`.

    merge_method: ties                     # which model counts how much may differ by tensor:
    base_model: models/base
    models:
      - model: models/code                 # a folder, or BASE+ADAPTER
        parameters: {weight: 0.5, density: 0.4}
      - model: models/web
        parameters:
          density: 0.4
          weight:                          # the first filter that is part of the tensor's name holds
            - {filter: mlp, value: [0.2, 0.8]}   # a list: from the first layer to the last, in a line
            - value: 0.5                         # no filter: all that is left
    parameters: {normalize: true, lambda: 1.0}
    dtype: float32                         # sums are in float32 here whatever it says
    out_dtype: bfloat16

What mergekit reads and this does not is refused by its name, as is a key that mergekit would pass over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any, get_args

import yaml

from ...errors import RecipeError, nearest
from ..checkpoint import Checkpoint
from .config import Dtype, MergeSettings
from .inputs import base_as_expert, open_base, open_expert
from .methods import Options, Rescale
from .plan import Plan, Rule

SUPPORTED = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties")
KEYS = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype")
UNSUPPORTED = {
    "slices": "layers put together from several models; list whole models under `models:`",
    "modules": "parts of a model merged in their own way; list whole models under `models:`",
    "tokenizer_source": "vocabularies joined; here all models must have the base's, which is written",
    "tokenizer": "vocabularies joined; here all models must have the base's, which is written",
    "chat_template": "another template; the base's is written, put yours in its place afterwards",
}
PER_MODEL = ("weight", "density")
SHARED = ("normalize", "rescale", "lambda", "int8_mask")
NORMALIZES = ("linear", "ties")
"""Methods that divide by the weights unless they are told not to, in mergekit."""
LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Asked:
    """A file of mergekit's, read but not yet held against the models."""

    file: Path
    text: str
    method: str
    base: str | None
    models: tuple[tuple[str, str, dict[str, Any]], ...]
    """Name, path as written, parameters."""
    shared: dict[str, Any]
    dtype: Dtype | None

    @property
    def paths(self) -> list[str | Path]:
        return [part for path in (self.base, *(path for _, path, _ in self.models)) if path for part in path.split("+")]


def read_config(file: Path) -> Asked:
    """The file, or one line about what in it cannot be done."""
    try:
        text = file.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{file} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise RecipeError(f"{file} is no merge configuration; it needs merge_method and models")
    _check_keys(found, file)
    method = found.get("merge_method")
    if method not in SUPPORTED:
        raise RecipeError(f"{file}: merge_method {method} is not done here; known: {', '.join(SUPPORTED)}")
    base = found.get("base_model")
    if method != "linear" and not isinstance(base, str):
        raise RecipeError(f"{file}: {method} needs base_model, the folder of the model that the others were made from")
    shared = _parameters(found.get("parameters"), (*PER_MODEL, *SHARED), f"{file}: parameters")
    models = _models(found.get("models"), file)
    if method == "linear" and base is not None and base not in [path for _, path, _ in models]:
        raise RecipeError(f"{file}: linear is a mean of `models`, and base_model {base} is not among them")
    return Asked(file, text, method, base, models, shared, _dtype(found, file))


def _check_keys(found: dict[str, Any], file: Path) -> None:
    for key in found:
        if key in UNSUPPORTED:
            raise RecipeError(f"{file}: `{key}` is not done here ({UNSUPPORTED[key]})")
        if key not in KEYS:
            raise RecipeError(f"{file} has the unknown key `{key}`; {nearest(str(key), KEYS)}")


def _parameters(found: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise RecipeError(f"{where} is {found!r}; a mapping such as {{weight: 0.5}} was expected")
    for key in found:
        if key in SHARED and key not in known:
            raise RecipeError(f"{where} has `{key}`, which holds for all models; put it under the file's parameters")
        if key not in known:
            raise RecipeError(f"{where} has the unknown key `{key}`; {nearest(str(key), known)}")
    return found


def _models(found: Any, file: Path) -> tuple[tuple[str, str, dict[str, Any]], ...]:
    if not isinstance(found, list) or not found:
        raise RecipeError(f"{file} lists no models under `models:`")
    models: list[tuple[str, str, dict[str, Any]]] = []
    for i, entry in enumerate(found):
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            raise RecipeError(f"{file}: models[{i}] is {entry!r}; it needs `model:`, a folder or BASE+ADAPTER")
        for key in entry:
            if key not in ("model", "parameters"):
                raise RecipeError(f"{file}: models[{i}] has the unknown key `{key}`; known: model, parameters")
        path = entry["model"]
        if path in [other for _, other, _ in models]:
            raise RecipeError(f"{file} lists the model {path} twice")
        parameters = _parameters(entry.get("parameters"), PER_MODEL, f"{file}: parameters of {path}")
        models.append((_name(path, [name for name, _, _ in models]), path, parameters))
    return tuple(models)


def _name(path: str, taken: list[str]) -> str:
    """The folder's own name, with a number where several have it."""
    stem = Path(path.rpartition("+")[2]).name or path
    return next(name for name in (stem, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))) if name not in taken)


def _dtype(found: dict[str, Any], file: Path) -> Dtype | None:
    asked: Any = None
    for key in ("dtype", "out_dtype"):
        value = found.get(key)
        if value is None:
            continue
        asked = str(value).removeprefix("torch.")
        if asked not in get_args(Dtype):
            raise RecipeError(f"{file}: {key} is {value}; known: {', '.join(get_args(Dtype))}")
    return asked


def plan_of_config(asked: Asked, settings: MergeSettings) -> Plan:
    """The models opened, and each tensor's weights worked out."""
    base = open_base(asked.base or asked.models[0][1])
    among = asked.base or asked.models[0][1]
    models = [model for model in asked.models if asked.method == "linear" or model[1] != asked.base]
    experts = [
        base_as_expert(name, base) if path == among else open_expert(name, _adapter(path, among, asked), base)
        for name, path, _ in models
    ]
    rule_of = _rules(asked, [parameters for _, _, parameters in models], base)
    about = {
        "method": asked.method if asked.method != "linear" else "mean of models",
        "normalize": "as the file says",
        "scale": 1.0,
        "weights": {name: _shown(parameters, asked, "weight") for name, _, parameters in models},
        "formula": f"as mergekit's {asked.method}, by {asked.file.name}",
    }
    settings = replace(settings, dtype=asked.dtype)
    return Plan(
        base, experts, rule_of, settings, about, from_zero=asked.method == "linear",
        other_files={"mergekit_config.yml": asked.text},
    )  # fmt: skip


def _adapter(path: str, base: str, asked: Asked) -> str:
    """`BASE+ADAPTER` is the adapter, if it stands on the base of all."""
    below, plus, adapter = path.partition("+")
    if not plus:
        return path
    if asked.method == "linear":
        raise RecipeError(f"{asked.file}: {path}: adapters are merged by task_arithmetic, ties and dare, not by linear")
    if Path(below).resolve() != Path(base).resolve():
        raise RecipeError(f"{asked.file}: {path} stands on {below}, but base_model is {base}, another folder")
    return adapter


def _shown(parameters: dict[str, Any], asked: Asked, key: str) -> Any:
    return parameters.get(key, asked.shared.get(key))


def _rules(asked: Asked, models: list[dict[str, Any]], base: Checkpoint) -> Callable[[str], Rule]:
    """The weights and options of each tensor, all worked out once so that a mistake comes before the work."""
    depth = 1 + max((int(found[1]) for found in map(LAYER.search, base.names) if found), default=0)
    sparse, names = asked.method in ("ties", "dare_linear", "dare_ties"), [path for _, path, _ in asked.models]

    def rule(name: str) -> Rule:
        layer = LAYER.search(name)
        at = _Place(name, 0.0 if layer is None else int(layer[1]) / (depth - 1) if depth > 1 else 1.0, asked.file)

        def of(key: str, default: Any, *places: Mapping[str, Any]) -> Any:
            for place in (*places, asked.shared):
                if key in place and (value := at.value(place[key], key)) is not None:
                    return value
            if default is None:
                raise RecipeError(f"{asked.file}: no {key} for {name} in one of {', '.join(names)}")
            return default

        weights = tuple(float(of("weight", None, parameters)) for parameters in models)
        densities = tuple(float(of("density", 1.0, parameters)) for parameters in models) if sparse else ()
        if any(not 0 <= density <= 1 for density in densities):
            raise RecipeError(f"{asked.file}: the densities for {name} are {densities}; they lie between 0 and 1")
        normalize = bool(of("normalize", asked.method in NORMALIZES))
        if asked.method == "linear" and normalize and abs(fsum(weights)) < 1e-8:
            raise RecipeError(f"{asked.file}: the weights for {name} sum to 0, and normalize divides by their sum")
        divides = normalize and (asked.method in ("ties", "dare_ties") or abs(fsum(weights)) >= 1e-8)
        rescale: Rescale = "norm" if of("rescale", asked.method.startswith("dare")) else "none"
        method = {"linear": "mean"}.get(asked.method, asked.method)
        return weights, Options(method, divides, float(of("lambda", 1.0)), densities, rescale)

    rules = {name: rule(name) for name in base.names}
    return rules.__getitem__


@dataclass(frozen=True)
class _Place:
    """A tensor, and how far down the model it lies: 0 at the first layer and outside of them, 1 at the last."""

    name: str
    depth: float
    file: Path

    def value(self, setting: Any, key: str) -> float | None:
        """A number, or a list of them along the layers, or the first of several conditions that holds."""
        if isinstance(setting, dict):
            setting = [setting]
        if not isinstance(setting, list):
            return self._number(setting, key)
        if setting and all(isinstance(entry, dict) for entry in setting):
            found = next(self._holding(setting, key), None)
            return None if found is None else self.value(found, key)
        if not setting:
            return None
        values = [float(self._number(entry, key)) for entry in setting]
        at = self.depth * (len(values) - 1)
        low = int(at)
        high = min(low + 1, len(values) - 1)
        return (1 - (at - low)) * values[low] + (at - low) * values[high]

    def _holding(self, conditions: list[dict[str, Any]], key: str) -> Iterator[Any]:
        for condition in conditions:
            if "value" not in condition or set(condition) - {"filter", "value"}:
                raise RecipeError(f"{self.file}: {key} has the condition {condition}; it is written {{filter, value}}")
            if condition.get("filter") in (None, "*") or str(condition["filter"]) in self.name:
                yield condition["value"]

    def _number(self, value: Any, key: str) -> float:
        if isinstance(value, bool | int | float):
            return value
        try:
            return float(value)  # YAML reads 1e-4 as a text
        except (TypeError, ValueError):
            raise RecipeError(f"{self.file}: {key} is {value!r}; a number was expected") from None
