"""What is to be scored, by which two models, how; and the label file that comes of it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...curriculum.labels import Labels, write_labels
from ...curriculum.labels_json import export_json
from ...data.config import DataConfig
from ...difficulty.config import DifficultyConfig
from ...errors import CurricleError, ModelError
from ...models.config import ModelConfig
from ...models.identity import weights_fingerprint
from ...runtime.fingerprint import fingerprint
from ...runtime.progress import counted, say
from ...runtime.quiet import calm_libraries
from ...runtime.ranks import barrier, is_main
from ...runtime.rundir import LOCK, hold
from ..subject import run_folder
from ..toys.base import make_base, place_base, toy_name
from ..toys.sources import PREFIX, place_sources

if TYPE_CHECKING:
    from ...difficulty.measure import Measured
    from ...difficulty.reader import Reader
    from ...difficulty.samples import Role, Samples

VERSION = 2
"""Changes when the same input would give other labels."""


@dataclass(frozen=True)
class Scoring:
    """Rows, models and settings: all that labels depend on."""

    rows: DataConfig
    anchors: DataConfig | None
    config: DifficultyConfig
    models: dict[Role, ModelConfig]

    @classmethod
    def of(
        cls, data: DataConfig, config: DifficultyConfig, models: dict[Role, ModelConfig], calibration: str | None
    ) -> Scoring:
        """The rows of `data.train` as that section reads them."""
        rows = _one_label_a_row(data)
        anchors = None if calibration is None else place_sources(rows.model_copy(update={"train": calibration}))
        for model in models.values():
            make_base(model)
        return cls(rows, anchors, config, models)

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that a label depends on."""
        from ...data.encode import tokenizer_fingerprint
        from ...data.sources import read_examples

        sources = [read_examples(one, "train").fingerprint for one in (self.rows, self.anchors) if one is not None]
        reading = {name: getattr(self.rows, name) for name in ("max_length", "on_long", "chat_template")}
        models = {role: [self._weights(role), tokenizer_fingerprint(self._tokenizer(role))] for role in self.models}
        return fingerprint("difficulty", VERSION, sources, reading, self.config.deciding().model_dump(), models)

    @calm_libraries()
    def write(self, output: Path, use_cpu: bool = False) -> Labels:
        """Measure, and write the label file. Parts of the work lie beside it until it is whole, so that it goes on
        after a kill; the processes of a torchrun share them, and another call waits its turn."""
        with hold(output.with_name(f".{output.name}.parts")) as root:
            return self._carry_out(output, root, use_cpu)

    def _carry_out(self, output: Path, root: Path, use_cpu: bool) -> Labels:
        folder = root / self.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        try:
            labels = self._measure(folder, use_cpu)
        except CurricleError:
            with suppress(OSError):  # parts that were made stay, an empty folder goes
                folder.rmdir()
            raise
        barrier()  # every rank has read the parts before the first removes them
        if is_main():
            if output.suffix == ".json":
                export_json(labels, output)
            else:
                write_labels(output, labels.ids, labels.columns, labels.layers, labels.about)
            shutil.rmtree(folder, ignore_errors=True)
            if others := [path for path in root.iterdir() if path.name != LOCK]:
                say(f"{root} keeps parts of {counted(len(others), 'other labelling')}; remove it if none is to go on")
        barrier()
        return labels

    def name_of(self, role: Role) -> str:
        """What a person calls the model."""
        path = self.models[role].name_or_path
        toy = toy_name(path)
        return path if toy is None else PREFIX + toy

    def _tokenizer(self, role: Role) -> Any:
        from ...data.templates import use_template
        from ...models.loading import load_tokenizer

        tokenizer = load_tokenizer(self.models[role], need_pad=False)
        use_template(tokenizer, self.rows.chat_template)
        return tokenizer

    def _measure(self, folder: Path, use_cpu: bool) -> Labels:
        from ...difficulty.lens import refuse_other_vocabulary
        from ...difficulty.measure import measure
        from ...difficulty.reader import Reader
        from ...difficulty.samples import gather_samples

        tokenizers = {role: self._tokenizer(role) for role in self.models}
        if self.config.metric == "kl":
            refuse_other_vocabulary(tokenizers["cloud"], tokenizers["edge"])
        readers = {
            role: Reader(role, model, tokenizers[role], self.config, folder, use_cpu)
            for role, model in self.models.items()
        }
        samples = gather_samples(self.rows, tokenizers, self.config, self.anchors)
        measured = measure(samples, readers, self.config, folder)
        about = self._whole_story(samples, measured, readers)
        return Labels(np.array(samples.ids, dtype=bytes), measured.columns, measured.layers, about)

    def _whole_story(self, samples: Samples, measured: Measured, readers: dict[Role, Reader]) -> dict[str, Any]:
        from ...data.encode import tokenizer_fingerprint
        from ...data.sources import read_examples

        models = {
            role: {
                "name": self.name_of(role),
                "fingerprint": self._weights(role),
                "layers": reader.num_layers,
                "tokenizer": tokenizer_fingerprint(reader.tokenizer),
            }
            for role, reader in readers.items()
        }
        files = [{"path": one.path, "sha256": one.sha256} for one in read_examples(self.rows, "train").files]
        return {
            "what": "difference of two models at each layer",
            "models": models,
            "matched_layers": measured.matched,
            "settings": self.config.model_dump() | {"num_calibration": len(samples.calibration["edge"])},
            "system_prompt": self.rows.system_prompt,
            "reading": self.rows.model_dump(mode="json", exclude={"train", "eval"}, exclude_defaults=True),
            "fingerprint": self.fingerprint,
            "data": files,
            "cost": {"flops": measured.flops, "seconds": measured.seconds, "columns": measured.column_flops},
        }

    def _weights(self, role: Role) -> str:
        """Of a folder its files, wherever it lies; of a name on the hub the name and the revision."""
        config = self.models[role]
        if Path(config.name_or_path).is_dir():
            return str(weights_fingerprint(config))
        return fingerprint(config.name_or_path, config.revision)


def _one_label_a_row(data: DataConfig) -> DataConfig:
    """The rows with their last answer, nothing of them in windows."""
    changes: dict[str, Any] = {"eval": None, "learn": "last_turn"}
    if data.on_long != "error":
        changes["on_long"] = "truncate"
    return place_sources(data.model_copy(update=changes))


def saved_model(name: str, config: DifficultyConfig, like: ModelConfig | None = None) -> ModelConfig:
    """A model folder, a name on the hub, a toy model, or a run of ours whose model was trained whole. `like` is how a
    recipe loads it."""
    name = trained_folder(name)
    if name.startswith("nano:"):
        raise ModelError(f"{name} is made for a recipe; difficulty needs two models that are saved")
    how = {"name_or_path": name, "dtype": config.dtype}
    if like is None:
        return place_base(ModelConfig.model_validate(how))
    without: dict[str, Any] = {"adapter": None, "lora_gen": None, "quantization": None, "pad_token": None}
    return place_base(like.model_copy(update=how | without | {"shape": {}}))


def trained_folder(name: str) -> str:
    """Of a run its model, where it was trained whole; any other name as it is."""
    run = run_folder(Path(name)) if Path(name).is_dir() else None
    return name if run is None else _whole(run)


def _whole(run: Path) -> str:
    """The model of a run, if it has one of its own."""
    model = run / "model"
    if (model / "config.json").is_file():
        return str(model)
    if not model.is_dir():
        raise ModelError(f"{run} has no model yet: its training is not finished; run its recipe again to go on")
    found, command = "an adapter", f"curricle export {run} -o DIR"
    if (model / "lora_gen.json").is_file():
        found, command = "a LoRA generator", f"curricle lora-gen export {run} --system-prompt TEXT -o DIR --merge"
    raise ModelError(f"{run} has {found}, no whole model to read states of; write one with `{command}`, and name DIR")
