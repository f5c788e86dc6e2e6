"""`toy:base`: a small Llama that has read plain text of the toy world, made once and kept in the cache.

Arms and seeds that start from it start from the same real base model: it knows the words, and that details are taken up
again; it has never seen a summary. It is pretrained by the same trainer as everything else, and lies in the cache as a
folder in the transformers format, loaded like any other. `toy:cloud` is a larger one, with the same tokenizer, that has
read the same text for longer: the large model of a difficulty. `toy:general` has read a little of the five toy domains,
and is what experts start from. `toy:coder` foresees four tokens, and has read right and wrong programs of the embedded
contest alike, without being told which is which.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from ...errors import ModelError, nearest
from ...models.config import ModelConfig
from ...runtime.cache import cache_root, cached_folder
from ...runtime.fingerprint import fingerprint
from ...runtime.progress import say
from ...runtime.ranks import world_size
from ..document import Tree
from ..recipe import Settings
from .domains import DOMAINS
from .sources import PREFIX, VERSION, place_sources

BASE, CLOUD, CODER, GENERAL = "base", "cloud", "coder", "general"
_KIND = "toy-base"
_SEED = 0
_BASE: Tree = {
    "model": {
        "name_or_path": "nano:llama",
        "shape": {
            "vocab_size": 1024,
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
    },
    "data": {"train": f"{PREFIX}text#4000", "format": "text", "max_length": 512},
    "training": {
        "max_steps": 120,
        "per_device_train_batch_size": 8,
        "learning_rate": 3.0e-3,
        "max_grad_norm": 2.0,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.15,
        "logging_steps": 20,
        "save_strategy": "no",
        "use_cpu": True,
    },
}
_CLOUD: Tree = {
    "model": {
        "name_or_path": "nano:llama",
        "shape": {
            "vocab_size": 1024,
            "hidden_size": 192,
            "intermediate_size": 528,
            "num_hidden_layers": 5,
            "num_attention_heads": 6,
        },
    },
    "data": _BASE["data"],  # the same rows, and so the same tokenizer
    "training": _BASE["training"] | {"max_steps": 240, "learning_rate": 2.0e-3},
}
_CODER: Tree = {
    "model": {
        "name_or_path": "nano:llama",
        "shape": _BASE["model"]["shape"] | {"num_hidden_layers": 6},
        "mtp": {"num_future_tokens": 4},
    },
    "data": {"train": f"{PREFIX}contest-mixed#6000", "format": "alpaca", "max_length": 192},
    "training": _BASE["training"] | {"max_steps": 2000, "max_grad_norm": 8.0, "logging_steps": 100},
}
_READ = [0, 0.85]
"""The part of each domain's rows that is there to be trained on; what experts are measured on lies above it."""
_GENERAL: Tree = {
    "model": _BASE["model"],
    "data": {
        "train": [{"path": f"{PREFIX}domain-{name}", "rows": 1200, "between": _READ} for name in DOMAINS],
        "format": "prompt-completion",
        "learn": "all",
        "max_length": 320,
    },
    "training": _BASE["training"] | {"max_steps": 200, "logging_steps": 50},
}
TOY_MODELS: Mapping[str, Tree] = {BASE: _BASE, CLOUD: _CLOUD, CODER: _CODER, GENERAL: _GENERAL}
_SAID = {
    BASE: "a small Llama reads made-up text, once for all runs; under a minute on two free cores",
    CLOUD: "a larger Llama reads the same text for longer, once for all runs; two to four minutes on two free cores",
    GENERAL: "a small Llama reads a little of five domains, once for all runs; about a minute on two free cores",
    CODER: "a Llama that foresees four tokens reads right and wrong programs, once for all runs; some minutes",
}


def place_base(model: ModelConfig, hows: Mapping[str, Tree] = TOY_MODELS) -> ModelConfig:
    """The section with the folder of a toy model in its name's stead; nothing is made yet."""
    if not model.name_or_path.startswith(PREFIX):
        return model
    name = model.name_or_path.removeprefix(PREFIX)
    if name not in hows:
        raise ModelError(f"there is no toy model called `{model.name_or_path}`; {nearest(name, hows)}")
    return model.model_copy(update={"name_or_path": str(_folder(hows[name]))})


def toy_name(path: str, hows: Mapping[str, Tree] = TOY_MODELS) -> str | None:
    """The name of the toy model that lies in this folder, or will; None for any other folder."""
    return next((name for name, how in hows.items() if _folder(how) == Path(path)), None)


def make_base(model: ModelConfig, hows: Mapping[str, Tree] = TOY_MODELS) -> None:
    """Pretrain the toy model that this section names where the cache has none."""
    folder, name = Path(model.name_or_path), toy_name(model.name_or_path, hows)
    if name is None or folder.is_dir():
        return
    if world_size() > 1:
        raise ModelError(
            f"{PREFIX}{name} is not in the cache, and several processes cannot make it together; make it first with "
            "one: curricle run RECIPE --plan"
        )
    settings = Settings.model_validate(hows[name])
    cached_folder(_KIND, folder.name, lambda scratch: _pretrain(name, scratch, settings))


def _folder(how: Tree) -> Path:
    return cache_root() / _KIND / fingerprint(version("curricle"), VERSION, _SEED, how)


def _pretrain(name: str, folder: Path, settings: Settings) -> None:
    from ...runtime.quiet import calm_libraries
    from ..assemble import make_model, make_trainer
    from ..material import gather
    from ..one import save_model

    say(f"{PREFIX}{name}: {_SAID[name]}")
    run = folder / "run"
    with calm_libraries():
        material = gather(settings.model_copy(update={"data": place_sources(settings.data)}))
        trainer = make_trainer(material, make_model(material, _SEED, run), _SEED, run)
        trainer.train()
        save_model(trainer, folder / "model")
    for file in (folder / "model").iterdir():
        file.rename(folder / file.name)
    (folder / "model").rmdir()
    shutil.rmtree(run)
