"""What can be converted, told apart by what lies there, and read whole: every tensor accounted for by name and shape.

llama2c         a .bin file of llama2.c, and a tokenizer file
meta            a folder with params.json and consolidated.*.pth
transformers    a folder with config.json and safetensors, or pickled weights, which are opened without running code
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from ...runtime.files import read_json
from .layout import MetaWeights, block_state, llama_settings, plain_state
from .llama2c import is_llama2c, read_llama2c
from .meta import load_pickle, meta_files, named, read_meta
from .pieces import load_llama_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENIZERS = ("tokenizer.model", "tokenizer.bin", "tok*.bin", "tok*.model")
PICKLED = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")
REPORT = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Asks transformers for everything that does not fit, in place of filling it at random."""
OURS = "value_head."
"""Tensors with this beginning are a critic's, which stands beside any model."""


@dataclass
class Source:
    """A model as it was read, in its own precision, and what it was read from."""

    model: Any
    tokenizer: Any
    kind: str
    files: list[Path]
    weights: MetaWeights | None = None
    """Meta's layout, where the source has it: what logits are compared with."""
    left_out: tuple[str, ...] = ()


def kind_of(source: Path) -> str:
    """`llama2c`, `meta` or `transformers`; anything else is refused, with what was looked for."""
    if source.is_file():
        if is_llama2c(source):
            return "llama2c"
        raise ModelError(f"{source} is no llama2.c model; give such a file, or a folder that holds a model")
    if not source.is_dir():
        raise ModelError(f"there is no {source}")
    if (source / "config.json").exists():
        return "transformers"
    if meta_files(source):
        return "meta"
    held = ", ".join(sorted(path.name for path in source.iterdir())[:6]) or "nothing"
    raise ModelError(
        f"{source} holds no model: looked for config.json, or params.json with consolidated.*.pth; it holds {held}"
    )


def read_source(source: Path, tokenizer: Path | None = None) -> Source:
    """Model and tokenizer of any of the three. `tokenizer` names a file, or a folder of transformers, where it does not
    lie beside the model."""
    kind = kind_of(source)
    if kind == "transformers":
        return _read_folder(source, tokenizer)
    if kind == "llama2c":
        weights, version = read_llama2c(source)
        files, kind = [source], f"llama2.c version {version}"
    else:
        weights, files, kind = read_meta(source), [*meta_files(source), source / "params.json"], "Meta"
    file = tokenizer or _tokenizer_beside(source)
    read = read_tokenizer(file)
    if len(read) > weights.shape.vocab_size:
        raise ModelError(
            f"{file} has {len(read):,} tokens and the model only {weights.shape.vocab_size:,}; it is another model's"
        )
    model = build(weights)
    if kind.startswith("llama2.c"):
        model.generation_config.eos_token_id = [1, 2]  # llama2.c ends a text at the start token of the next one
    return Source(model, read, kind, [*files, *([file] if file.is_file() else [])], weights)


def read_tokenizer(path: Path) -> Any:
    """Of a file of sentencepiece or llama2.c, or of a folder of transformers."""
    from ..config import ModelConfig
    from ..loading import load_tokenizer

    if path.is_file():
        return load_llama_tokenizer(path)
    if not path.is_dir():
        raise ModelError(f"there is no tokenizer {path}")
    return load_tokenizer(ModelConfig(name_or_path=str(path)), need_pad=False)


def build(weights: MetaWeights) -> Any:
    """Meta's tensors as a Llama of transformers, with its further heads where it has some."""
    model = from_state(llama_settings(weights.shape), plain_state(weights), weights.tensors["norm.weight"].dtype)
    if weights.shape.num_future_tokens > 1:
        from ..mtp.making import add_heads

        model = add_heads(model, weights.shape.num_future_tokens)
        for i, head in enumerate(model.extra_heads):
            head.load_state_dict(block_state(weights, f"extra_heads.{i}"))
    return model.eval()


def from_state(settings: Any, state: dict[str, Tensor], dtype: torch.dtype) -> Any:
    """A model of these tensors and no others."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
    with _reported_here():
        model, report = known.from_pretrained(None, config=settings, state_dict=state, dtype=dtype, **REPORT)
    _complete("the weights", report)
    return model.eval()


def remade(model: Any, settings: Any, state: dict[str, Tensor], dtype: torch.dtype | None = None) -> Any:
    """Another model out of tensors of this one; what is tied is one tensor."""
    if settings.tie_word_embeddings:
        state = {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}
    other = from_state(settings, state, dtype or model.dtype)
    other.generation_config = model.generation_config
    return other


def read_model(folder: Path) -> tuple[Any, tuple[str, ...]]:
    """The model of a folder of transformers, and the names of what stands beside it."""
    from transformers import AutoModelForCausalLM

    from ..config import ModelConfig
    from ..loading import check_weights, model_settings

    config = ModelConfig(name_or_path=str(folder))
    settings = model_settings(config)
    pickled = _pickled(folder)
    if pickled:
        state: dict[str, Tensor] = {}
        for file in pickled:
            state.update(load_pickle(file))
        first = next(tensor.dtype for tensor in state.values() if tensor.is_floating_point())
        return from_state(settings, state, first), ()
    check_weights(config)
    from safetensors import SafetensorError

    loader: Any = AutoModelForCausalLM
    try:
        with _reported_here():
            model, report = loader.from_pretrained(folder, dtype="auto", use_safetensors=True, **REPORT)
    except SafetensorError as error:
        raise ModelError(f"the weights of {folder} cannot be read: {error}") from error
    return model.eval(), _complete(str(folder), report)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights."""
    return sorted(folder.glob("*.safetensors")) or _pickled(folder)


def _pickled(folder: Path) -> list[Path]:
    """Pickled shards, where the folder has no safetensors."""
    if any(folder.glob("*.safetensors")):
        return []
    index = folder / "pytorch_model.bin.index.json"
    if index.exists():
        names = sorted(set(read_json(index)["weight_map"].values()))
        absent = [name for name in names if not (folder / name).exists()]
        if absent:
            raise ModelError(f"{folder} lacks {absent[0]}, one of {len(names)} weight files that its index names")
        return [folder / name for name in names]
    return sorted(path for pattern in PICKLED for path in folder.glob(pattern))


def _read_folder(folder: Path, tokenizer: Path | None) -> Source:
    from .artifact import verify_files

    verify_files(folder)
    model, beside = read_model(folder)
    read = read_tokenizer(tokenizer or folder)
    return Source(model, read, "transformers", [folder / "config.json", *weight_files(folder)], left_out=beside)


@contextmanager
def _reported_here() -> Iterator[None]:
    """Inside, transformers leaves its own table of tensors that do not fit unsaid: here each one is an error."""

    def says_more(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(says_more)
    try:
        yield
    finally:
        logger.removeFilter(says_more)


def _complete(what: str, report: dict[str, Any]) -> tuple[str, ...]:
    """Refuse weights of which anything is missing, too much or of another shape; each is named."""
    beside = tuple(sorted(name for name in report["unexpected_keys"] if name.startswith(OURS)))
    wrong = [f"`{name}` is missing" for name in sorted(report["missing_keys"])]
    wrong += [f"`{name}` belongs to no such model" for name in sorted(report["unexpected_keys"]) if name not in beside]
    wrong += [
        f"`{name}` is {list(found)} and not {list(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    if wrong:
        raise ModelError(named(f"{what} are not those of the config" if what == "the weights" else what, wrong))
    return beside


def _tokenizer_beside(source: Path) -> Path:
    """The one tokenizer file beside the weights, or in the folder above (as in Meta's releases)."""
    folder = source if source.is_dir() else source.parent
    places = [folder, folder.parent] if source.is_dir() else [folder]
    for place in places:
        found = sorted({path for pattern in TOKENIZERS for path in place.glob(pattern)})
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise ModelError(f"{place} holds several tokenizers ({names}); name one with --tokenizer")
    raise ModelError(
        f"no tokenizer beside {source}: looked for {', '.join(TOKENIZERS)}; name its file with --tokenizer"
    )
