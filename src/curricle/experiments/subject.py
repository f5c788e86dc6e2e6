"""A model to be used, whatever names it: a run of ours, a model folder, or a name on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecipeError, RunError
from ..runtime.files import read_json
from .document import Place, Places
from .meeting import meet
from .overrides import overlay, read_sets
from .recipe import Settings
from .resolve import check, resolve
from .toys.sources import place_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..data.config import DataConfig
    from ..data.table import TokenTable
    from .material import Material

LONGEST = 8192
"""Tokens of prompt and answer together, for a model whose recipe is not known and that may take more."""

NO_DATA = "-"
"""Stands for `data.train` of a model that was named without a recipe: it is not read."""


@dataclass(frozen=True)
class Subject:
    """What is asked, with the settings to ask it by."""

    label: str
    settings: Settings
    seed: int = 0
    folder: Path | None = None
    """Of a run."""

    def untouched(self) -> Subject:
        """The model that a run started from."""
        settings = self.settings.model_copy(update={"trainer": "none", "merge": None})
        return replace(self, label=f"base ({self.settings.model.name_or_path})", settings=settings)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """With the chat template that the model was trained with. The processes of a torchrun have met by then."""
        from ..data.templates import use_template
        from ..models.loading import load_tokenizer
        from .material import gather

        meet(self.settings)
        config = self.settings.model
        if self.folder is not None and (self.folder / "model").is_dir():
            config = config.model_copy(update={"name_or_path": str(self.folder / "model"), "shape": {}})
        elif config.nano_type:  # its tokenizer is trained on the recipe's data
            data = self.settings.data.model_copy(update={"eval": None})
            return gather(self.settings.model_copy(update={"data": data, "evaluation": []})).tokenizer
        tokenizer = load_tokenizer(config, need_pad=False)
        if tokenizer.pad_token_id is None:  # under the mask of an answer any token will do
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        use_template(tokenizer, self.settings.data.chat_template)
        return tokenizer

    def material(self, tokenizer: PreTrainedTokenizerBase, table: TokenTable | None = None) -> Material:
        """What measuring needs; the training data are not read again."""
        from .material import Material

        return Material(self.settings, tokenizer, table, table)  # type: ignore[arg-type]

    def load(self, tokenizer: PreTrainedTokenizerBase) -> Any:
        """The model, ready to answer."""
        from .assemble import load_saved

        if self.settings.generator is not None:
            raise RunError(
                f"{self.label} has a LoRA generator, which answers for one system prompt at a time: write its adapter "
                "with `curricle lora-gen export RUN --system-prompt TEXT -o DIR --merge` and use that"
            )
        # Prompts are not packed, so the model's own attention will do.
        data = self.settings.data.model_copy(update={"packing": "none"})
        alone = replace(self, settings=self.settings.model_copy(update={"data": data}))
        return load_saved(alone.material(tokenizer), self.seed, self.folder or Path(".")).eval()

    def data_for(self, model: Any) -> DataConfig:
        """The settings of `data` to make prompts by. A model named without a recipe takes what it has room for."""
        data = self.settings.data
        room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if data.train != NO_DATA or "max_length" in data.model_fields_set or room is None:
            return data
        return data.model_copy(update={"max_length": min(int(room), LONGEST)})


def find_subject(
    model: str | Path, recipe: str | Path | None = None, overrides: Sequence[str] = (), data: str | Path | None = None
) -> Subject:
    """What a person means by `model`. A run brings its own recipe; any other model takes the settings of `recipe`, if
    there is one. `data` becomes `data.eval`."""
    path, sets = Path(model), [*overrides]
    if not path.exists() and path.parent != Path(".") and path.parent.is_dir():
        beside = ", ".join(sorted(one.name for one in path.parent.iterdir())[:6])
        raise RunError(f"there is no {path}; in {path.parent}: {beside or 'nothing'}")
    folder = run_folder(path)
    if folder is not None:
        if recipe is not None:
            raise RecipeError(f"{model} is a run, and brings its own recipe; change keys of it with --set")
        return _run(folder, sets, data)
    if recipe is not None:
        settings = resolve(recipe, sets).base
    elif str(model).startswith("nano:"):
        raise RecipeError(f"{model} is made for a recipe's data; name that with --recipe")
    else:
        settings = resolve(
            {"model": {"name_or_path": str(model), "dtype": "auto"}, "data": {"train": NO_DATA}}, sets
        ).base
    named = settings.model.model_copy(
        update={"name_or_path": str(model), "adapter": None, "lora_gen": None, "quantization": None}
    )
    if not named.nano_type:
        named = named.model_copy(update={"shape": {}})
    changes = {"model": named, "trainer": "none", "data": _with_eval(settings, data)}
    return Subject(str(model), settings.model_copy(update=changes))


def _run(folder: Path, overrides: Sequence[str], data: str | Path | None) -> Subject:
    about = read_json(folder / "arm.json")
    tree, written = read_sets(overrides)
    places: Places = {(): Place(str(folder / "arm.json"), None, ""), **written}
    settings = check(Settings, overlay(about["settings"], tree), places)
    if settings.trainer != "none" and not (folder / "model").is_dir():
        raise RunError(f"{folder} has no model yet: its training is not finished; run its recipe again to go on")
    settings = settings.model_copy(update={"data": _with_eval(settings, data)})
    return Subject(f"{folder.parent.name}/{folder.name}", settings, int(folder.name.removeprefix("seed-")), folder)


def _with_eval(settings: Settings, data: str | Path | None) -> Any:
    changed = settings.data if data is None else settings.data.model_copy(update={"eval": str(data)})
    return place_sources(changed)


def run_folder(path: Path) -> Path | None:
    """The run that a path means: itself, or the only one below it; None when it is no folder of runs."""
    if (path / "arm.json").is_file():
        return path
    found = sorted(one.parent for level in ("seed-*/arm.json", "*/seed-*/arm.json") for one in path.glob(level))
    if len(found) > 1:
        names = ", ".join(str(one.relative_to(path)) for one in found[:6])
        raise RunError(f"{path} holds {len(found)} runs ({names}); name one of them")
    return found[0] if found else None
