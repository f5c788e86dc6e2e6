"""`toy:base`: a small Llama that has read plain text of the toy world, made once and kept in the cache.

Arms and seeds that start from it start from the same real base model: it knows the words, and that details are taken up
again; it has never seen a summary. It is pretrained by the same trainer as everything else, and lies in the cache as a
folder in the transformers format, loaded like any other.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from ..errors import ModelError, nearest
from ..models.config import ModelConfig
from ..runtime.cache import cache_root, cached_folder
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from ..runtime.ranks import world_size
from .document import Tree
from .recipe import Settings
from .toys import PREFIX, VERSION, place_toys

BASE = "base"
_KIND = "toy-base"
_SEED = 0
_HOW: Tree = {
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


def place_base(model: ModelConfig, how: Tree = _HOW) -> ModelConfig:
    """The section with the folder of the toy base in its name's stead; nothing is made yet."""
    if not model.name_or_path.startswith(PREFIX):
        return model
    name = model.name_or_path.removeprefix(PREFIX)
    if name != BASE:
        raise ModelError(f"there is no toy model called `{model.name_or_path}`; {nearest(name, [BASE])}")
    folder = cache_root() / _KIND / fingerprint(version("curricle"), VERSION, _SEED, how)
    return model.model_copy(update={"name_or_path": str(folder)})


def make_base(model: ModelConfig, how: Tree = _HOW) -> None:
    """Pretrain the toy base where this section names it and the cache has none."""
    folder = Path(model.name_or_path)
    if folder != Path(place_base(ModelConfig(name_or_path=PREFIX + BASE), how).name_or_path) or folder.is_dir():
        return
    if world_size() > 1:
        raise ModelError(
            f"{PREFIX}{BASE} is not in the cache, and several processes cannot make it together; make it first with "
            "one: curricle run RECIPE --plan"
        )
    cached_folder(_KIND, folder.name, lambda scratch: _pretrain(scratch, Settings.model_validate(how)))


def _pretrain(folder: Path, settings: Settings) -> None:
    from ..runtime.quiet import calm_libraries
    from .assemble import make_model, make_trainer
    from .material import gather
    from .one import save_model

    say(f"{PREFIX}{BASE}: a small Llama reads made-up text, once for all runs; under a minute on two free cores")
    run = folder / "run"
    with calm_libraries():
        material = gather(settings.model_copy(update={"data": place_toys(settings.data)}))
        trainer = make_trainer(material, make_model(material, _SEED, run), _SEED, run)
        trainer.train()
        save_model(trainer, folder / "model")
    for file in (folder / "model").iterdir():
        file.rename(folder / file.name)
    (folder / "model").rmdir()
    shutil.rmtree(run)
