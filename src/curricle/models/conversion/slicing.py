"""A smaller model out of some layers of a larger one: for trying things out, not for use."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...runtime.quiet import calm_libraries
from .converting import Dtype, Written, cast, heads_of, new_folder, say_left_out, source_of, write

LAYER = re.compile(r"^model\.layers\.(\d+)\.(.*)$")


@calm_libraries()
def slice_model(
    source: str | Path,
    output: str | Path,
    layers: Sequence[int],
    *,
    dtype: Dtype | None = None,
    force: bool = False,
) -> Written:
    """Write a model that has only these layers of `source`, by number from 0 (or from the end, below 0), in this order.

    Embedding, norms, output head, extra heads and tokenizer stay. Of a model with several parallel heads the last of
    the layers is head 1.
    """
    from .sources import read_source

    output = new_folder(output, source, force)
    read = read_source(Path(source))
    say_left_out(read)
    model = read.model
    kept = _chosen(layers, model.config.get_text_config().num_hidden_layers)
    if heads_of(model) > 1 and getattr(model.config, "kind", "") == "parallel" and len(kept) < 2:
        raise ModelError("the last of the layers is head 1, and one layer leaves no trunk below it; keep at least 2")
    about = {"source": {**source_of(Path(source), read), "layers": kept}, "checks": {}}
    return write(output, cast(sliced(model, kept), dtype), read.tokenizer, about)


def sliced(model: Any, kept: Sequence[int]) -> Any:
    """A model of the same kind with these layers, sharing the tensors."""
    from .sources import remade

    if not any(LAYER.match(name) for name in model.state_dict()):
        raise ModelError(
            f"a {model.config.model_type} model does not keep its layers in model.layers; it is not sliced"
        )
    config = copy.deepcopy(model.config)
    text = config.get_text_config() if heads_of(model) == 1 else config.family
    _shorten(text, kept)
    places = {old: new for new, old in enumerate(kept)}
    state = {}
    for name, tensor in model.state_dict().items():
        found = LAYER.match(name)
        if found is None:
            state[name] = tensor
        elif int(found[1]) in places:
            state[f"model.layers.{places[int(found[1])]}.{found[2]}"] = tensor
    return remade(model, config, state)


def _shorten(text: Any, kept: Sequence[int]) -> None:
    """Whatever the config says of each layer is said of the kept ones."""
    number = text.num_hidden_layers
    for name, value in vars(text).items():
        if name.endswith(("layer_types", "rope_layers")) and isinstance(value, list) and len(value) == number:
            setattr(text, name, [value[i] for i in kept])
    text.num_hidden_layers = len(kept)
    if hasattr(text, "max_window_layers"):
        text.max_window_layers = min(text.max_window_layers, len(kept))


def _chosen(layers: Sequence[int], number: int) -> list[int]:
    kept = [i + number if i < 0 else i for i in layers]
    outside = [given for given, i in zip(layers, kept, strict=True) if not 0 <= i < number]
    if outside or not kept:
        raise ModelError(f"layers {list(layers)} were asked for; the model has layers 0 to {number - 1}")
    if len(set(kept)) < len(kept):
        raise ModelError(f"layers {list(layers)} name a layer twice")
    return kept
