"""From the `model:` section to a tokenizer and a model: whole, with LoRA, or with LoRA over 4-bit weights.

Everything a user can get wrong here (a folder without weights, a name that is not there, a pad token that is missing)
is one line that says which file or key.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, ModelError, nearest
from ..runtime.cache import locked
from ..runtime.files import atomic_folder, read_json
from ..runtime.seeds import derive_seed
from .adapter_targets import linear_endings, lora_targets
from .config import AdapterConfig, ModelConfig
from .nano import NANO_VOCABULARY, nano_config, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .value_head import Kind

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def load_tokenizer(
    config: ModelConfig,
    *,
    folder: str | Path | None = None,
    texts: Callable[[], Iterable[str]] | None = None,
    need_pad: bool = True,
) -> PreTrainedTokenizerBase:
    """The model's tokenizer. A nano model's is trained on `texts()` and kept in `folder` for a resumed run. Whoever
    only reads needs no pad token."""
    from transformers import AutoTokenizer

    if config.nano_type:
        name = str(_nano_tokenizer(config, folder, texts))
    else:
        name = config.name_or_path
        _check_folder(name, TOKENIZER_FILES, "tokenizer")
        _make_heads_known(name)
    with _one_line(config, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(name, **_source(config))
    if need_pad or config.pad_token is not None:
        _set_pad_token(tokenizer, config)
    return tokenizer


def _make_heads_known(name: str) -> None:
    """transformers looks at a folder's config for its tokenizer, and warns of a kind that nobody has registered."""
    from .mtp.configuration import MtpConfig

    config = Path(name).expanduser() / "config.json"
    kind = f'"{MtpConfig.model_type}"'.encode()
    if config.is_file() and kind in config.read_bytes():  # as text: a config that is no JSON is said where it is loaded
        from .mtp import model  # noqa: F401 (registers it)


def load_model(
    config: ModelConfig,
    *,
    attn: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    value_head: Kind | None = None,
) -> PreTrainedModel:
    """The model, in the asked precision, with its adapter when one is asked for.

    `attn` is the attention to load it with (None: transformers' own). A nano model takes its vocabulary from
    `tokenizer`. Whatever is drawn at random here, nano weights and LoRA factors, follows from `seed`. A model that was
    saved with a value head has it again; `value_head` gives one that has none a new one.
    """
    import torch

    from .value_head import add_value_head, has_value_head

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "model"))
        model = _nano_model(config, attn, tokenizer) if config.nano_type else _saved_model(config, attn)
        if value_head is not None and not has_value_head(model):
            add_value_head(model, value_head)
        return model if config.adapter is None else add_adapter(model, config.adapter, config.quantization is not None)


def model_settings(config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None = None) -> Any:
    """The transformers config of the model alone: enough to choose an attention or to estimate memory."""
    from transformers import AutoConfig

    from .mtp.making import config_with_heads  # and models with several heads are known to transformers

    if config.nano_type:
        return _nano_settings(config, tokenizer)
    _check_folder(config.name_or_path, ("config.json",), "config")
    with _one_line(config, "config"):
        settings = AutoConfig.from_pretrained(config.name_or_path, **_source(config))
    if not config.trust_remote_code:
        _refuse_other_kinds(settings.model_type, config.name_or_path)
    return settings if config.mtp is None else config_with_heads(settings, config.mtp, config.name_or_path)


def _refuse_other_kinds(model_type: str, name: str) -> None:
    """Encoders, translators, image models: what transformers has no causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from .mtp.configuration import MtpConfig

    if model_type not in (*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MtpConfig.model_type):
        raise ModelError(
            f"model.name_or_path is `{name}`, a {model_type} model; only causal language models are trained here, "
            "such as llama, qwen2, mistral or gemma2"
        )


def add_adapter(model: Any, adapter: AdapterConfig, quantized: bool = False) -> Any:
    """Freeze the model and put LoRA factors beside its layers."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from .value_head import NAME, has_value_head

    if quantized:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.lora_r,
        lora_alpha=adapter.lora_alpha,
        lora_dropout=adapter.lora_dropout,
        target_modules=lora_targets(model, adapter.lora_target_modules),
        modules_to_save=[*adapter.modules_to_save, *([NAME] if has_value_head(model) else [])] or None,
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        ensure_weight_tying=_touches_tied_weights(model, adapter),
    )
    layers = linear_endings(model)  # before factors stand beside some of them
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(
            f"model.adapter cannot be put on {type(model).__name__}: {_flat(error)}; its linear layers end in {layers}"
        ) from error


def _touches_tied_weights(model: Any, adapter: AdapterConfig) -> bool:
    """Whether the adapter names the embedding or the head of a model in which they are one: both must stay one."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = {name.rpartition(".")[2] for name, part in model.named_modules() if any(part is end for end in ends)}
    targets = adapter.lora_target_modules
    named = {*adapter.modules_to_save, *(targets if isinstance(targets, list) else ())}
    return bool(getattr(model.config, "tie_word_embeddings", False) and tied & named)


def refuse_prompt_learning(model: Any) -> None:
    """Virtual tokens shift every position: nothing supervised or packed would be where we look for it."""
    for adapter in getattr(model, "peft_config", {}).values():
        if getattr(adapter, "is_prompt_learning", False):
            raise ModelError(
                f"this model carries a {adapter.peft_type.value} adapter, whose virtual tokens shift every position; "
                "use a LoRA adapter"
            )


# --- saved models


def check_weights(config: ModelConfig) -> None:
    """Refuse a folder without weights, before anything is loaded."""
    if not config.nano_type:
        _check_folder(config.name_or_path, WEIGHTS, "weights")


def _saved_model(config: ModelConfig, attn: str | None) -> Any:
    from transformers import AutoModelForCausalLM

    from .conversion.artifact import verify_files
    from .mtp.making import model_with_heads
    from .value_head import expected_by_us, load_value_head

    quantization = _quantization(config)
    _check_folder(config.name_or_path, ("config.json",), "config")
    check_weights(config)
    verify_files(Path(config.name_or_path).expanduser())
    _register(attn)
    with _one_line(config, "model"), expected_by_us():
        model: Any = AutoModelForCausalLM.from_pretrained(
            config.name_or_path,
            dtype=config.dtype,
            attn_implementation=attn,
            use_safetensors=True,
            quantization_config=quantization,
            **_source(config),
        )
    if (folder := weights_folder(config)) is not None:
        load_value_head(model, folder)  # first, so that heads for tokens are refused beside one that read a last layer
    return model if config.mtp is None else model_with_heads(model, config.mtp, config.name_or_path)


def weights_folder(config: ModelConfig) -> Path | None:
    """Where the model's files lie: its own folder, or the hub's in the local cache; None while it is in neither."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(config.name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if config.nano_type or config.name_or_path.count("/") > 1:
        return None
    found = try_to_load_from_cache(config.name_or_path, "config.json", revision=config.revision)
    return Path(found).parent if isinstance(found, str) else None


def _quantization(config: ModelConfig) -> Any:
    if config.quantization is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("model.quantization needs bitsandbytes; install it with pip install 'curricle[qlora]'")
    import torch
    from transformers import BitsAndBytesConfig

    compute = torch.bfloat16 if config.dtype == "auto" else getattr(torch, config.dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _source(config: ModelConfig) -> dict[str, Any]:
    revision = {} if config.revision is None else {"revision": config.revision}
    return {"trust_remote_code": config.trust_remote_code, **revision}


def _check_folder(name: str, one_of: tuple[str, ...], what: str) -> None:
    """A path must hold one of these files; a name of the hub is left to the hub's client."""
    folder = Path(name).expanduser()
    if not folder.exists():
        beside = folder.parent if "/" in name and folder.parent.is_dir() else None
        if beside or name.startswith((".", "/", "~")) or name.count("/") > 1:
            held = sorted(path.name for path in beside.iterdir() if path.is_dir()) if beside else []
            hint = f"; {nearest(folder.name, held)}" if held else ""
            raise ModelError(f"model.name_or_path is `{name}`, and there is no such folder{hint}")
        return
    if not folder.is_dir():
        raise ModelError(f"model.name_or_path is `{name}`, a file; it must be the folder that holds config.json")
    found = [file for file in one_of if (folder / file).exists()]
    if not found:
        raise ModelError(f"{name} holds no {what}: looked for {' or '.join(one_of)}; {_instead(folder)}")
    if found == ["model.safetensors.index.json"]:
        shards = set(read_json(folder / found[0])["weight_map"].values())
        absent = sorted(shard for shard in shards if not (folder / shard).exists())
        if absent:
            raise ModelError(f"{name} lacks {absent[0]}, one of {len(shards)} weight files that its index names")


def _instead(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return "it is an adapter; `curricle export` merges one into a whole model"
    if any(folder.glob("*.bin")) or any(folder.glob("consolidated*.pth")):
        return "its weights are pickles and not opened; `curricle model convert` makes safetensors of them"
    held = sorted(path.name for path in folder.iterdir())[:6]
    return f"it holds {', '.join(held)}" if held else "it is empty"


@contextmanager
def _one_line(config: ModelConfig, what: str) -> Iterator[None]:
    """What transformers says in a page, in one line; anything that is not the user's doing passes through."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    name = config.name_or_path
    try:
        yield
    except (SafetensorError, StrictDataclassError) as error:
        raise ModelError(f"the {what} of {name} cannot be read: {_flat(error)}") from error
    except (ValueError, ImportError) as error:
        if "trust_remote_code" in str(error) and not config.trust_remote_code:
            raise ModelError(
                f"{name} brings Python code of its own, which is not run; "
                "set model.trust_remote_code: true if you trust it"
            ) from error
        raise ModelError(f"the {what} of {name} cannot be loaded: {_flat(error)}") from error
    except OSError as error:
        if Path(name).expanduser().exists():
            raise ModelError(f"the {what} of {name} cannot be read: {_flat(error)}") from error
        offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
        where = (
            "not in the local cache, and HF_HUB_OFFLINE is set" if offline else "neither a folder nor found on the hub"
        )
        raise ModelError(f"model.name_or_path is `{name}`: {where} ({_flat(error)})") from error


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())[:240]


def _register(attn: str | None) -> None:
    """Our attention is known to transformers once its file is imported."""
    from .choose import PACKED

    if attn == PACKED:
        from . import attention

        assert attention.PACKED == PACKED


def _set_pad_token(tokenizer: Any, config: ModelConfig) -> None:
    if config.pad_token is not None:
        if config.pad_token not in tokenizer.get_vocab():
            raise ModelError(
                f"model.pad_token is `{config.pad_token}`, which the tokenizer of {config.name_or_path} lacks"
            )
        tokenizer.pad_token = config.pad_token
    elif tokenizer.pad_token is None:
        raise ModelError(
            f"the tokenizer of {config.name_or_path} has no pad token; set model.pad_token to one of its tokens, "
            f"such as `{tokenizer.eos_token or tokenizer.unk_token}` (labels are masked by position)"
        )


# --- nano models


def _nano_tokenizer(config: ModelConfig, folder: str | Path | None, texts: Callable[[], Iterable[str]] | None) -> Path:
    if folder is None:
        raise ModelError(f"{config.name_or_path} trains a tokenizer: load_tokenizer needs a `folder` to keep it in")
    folder = Path(folder)
    if not (folder / "tokenizer.json").exists():
        if texts is None:
            raise ModelError(f"{config.name_or_path} trains a tokenizer: load_tokenizer needs `texts` to train it on")
        with locked(folder):  # of several ranks one trains it, the rest find it made
            if not (folder / "tokenizer.json").exists():
                with atomic_folder(folder) as scratch:
                    train_tokenizer(texts(), config.shape.get("vocab_size", NANO_VOCABULARY)).save_pretrained(scratch)
    return folder


def _nano_settings(config: ModelConfig, tokenizer: PreTrainedTokenizerBase | None) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind, shape = str(config.nano_type), {key: value for key, value in config.shape.items() if key != "vocab_size"}
    if kind not in CONFIG_MAPPING:
        raise ModelError(f"model.name_or_path is `nano:{kind}`; {nearest(kind, CONFIG_MAPPING.keys())}")
    _refuse_other_kinds(kind, config.name_or_path)
    known = vars(CONFIG_MAPPING[kind]())
    for key in shape:
        if key not in known:
            raise ModelError(f"model.shape has `{key}`, which a {kind} config lacks; {nearest(key, known)}")
    vocab_size = config.shape.get("vocab_size", NANO_VOCABULARY) if tokenizer is None else len(tokenizer)
    ids = {} if tokenizer is None else {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    try:
        settings = nano_config(kind, vocab_size, **{**ids, **shape})
    except (ValueError, StrictDataclassError) as error:
        raise ModelError(f"{config.name_or_path} with shape {config.shape} cannot be made: {_flat(error)}") from error
    if config.mtp is None:
        return settings
    from .mtp.making import scratch_config

    return scratch_config(settings, **config.mtp.model_dump())


def _nano_model(config: ModelConfig, attn: str | None, tokenizer: PreTrainedTokenizerBase | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    _register(attn)
    dtype = torch.float32 if config.dtype == "auto" else getattr(torch, config.dtype)
    return AutoModelForCausalLM.from_config(_nano_settings(config, tokenizer), attn_implementation=attn, dtype=dtype)
