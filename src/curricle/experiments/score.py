"""Label the rows of a file with how hard they are: the gap between a large and a small model, and simpler measures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..curriculum.labels import Labels, read_labels, write_labels
from ..curriculum.labels_json import export_json, import_json
from ..data.config import DataConfig
from ..difficulty.config import DifficultyConfig
from ..errors import ModelError, RunError
from ..runtime.files import sha256_file
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import barrier, is_main, join
from .document import Place, Places
from .evaluate import data_settings
from .resolve import check

if TYPE_CHECKING:
    from ..difficulty.measure import Measured
    from ..difficulty.reader import Reader
    from ..difficulty.samples import Role, Samples
    from ..models.config import ModelConfig

ENDINGS = (".parquet", ".json")

VERSION = 1
"""Changes when the same input would give other labels."""


@dataclass(frozen=True)
class Scored:
    """The labels of a file; prints itself."""

    output: Path
    labels: Labels = field(repr=False)

    def __str__(self) -> str:
        cost, layers = self.labels.about.get("cost", {}), self.labels.layers
        took = f"{cost.get('flops', 0):.3g} FLOPs, {cost.get('seconds', 0):,.0f} s"
        lines = [f"{self.output}: {len(self.labels):,} labels, {took}"]
        if layers is not None:
            most = np.argsort(-layers.mean(0))[:3] + 1
            lines.append(f"layers that differ most, of {layers.shape[1]}: {', '.join(map(str, most))}")
        for name, values in self.labels.columns.items():
            known = values[np.isfinite(values)]
            low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]) if len(known) else (np.nan,) * 3
            absent = f", {len(values) - len(known):,} unknown" if len(known) < len(values) else ""
            lines.append(f"{name:>14}: {middle:.4g} (5% {low:.4g}, 95% {high:.4g}{absent})")
        return "\n".join(lines)


@calm_libraries()
def score(
    data: str | Path,
    *,
    cloud: str | Path,
    edge: str | Path,
    output: str | Path,
    calibration: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    use_cpu: bool = False,
    **settings: Any,
) -> Scored:
    """Score every row of `data` by how far apart the `cloud` and the `edge` model see it, and write a label file.

    `settings` are the keys of `DifficultyConfig`: pool, space, metric, match, num_calibration, baselines, ... The rows
    are read as `recipe` says, when one is given. The same call goes on with what an interrupted one has done.

    >>> curricle.score("train.jsonl", cloud="models/8b", edge="models/1b", output="labels.parquet")   # doctest: +SKIP
    """
    output = Path(output)
    if output.suffix not in ENDINGS:
        raise RunError(f"-o {output}: the ending says what is written; it must be {' or '.join(ENDINGS)}")
    places: Places = {(key,): Place("curricle score", None, key) for key in settings}
    config = check(DifficultyConfig, {key: value for key, value in settings.items() if value is not None}, places)
    rows = _reading(data, recipe, overrides)
    anchors = None if calibration is None else rows.model_copy(update={"train": str(calibration)})
    join(use_cpu=use_cpu)
    asked = _Asked(rows, anchors, config, {"cloud": _model(cloud, config), "edge": _model(edge, config)})
    key = asked.fingerprint
    if output.exists() and not force:
        return _found(output, key)
    folder = output.with_name(f".{output.name}.parts") / key
    folder.mkdir(parents=True, exist_ok=True)
    labels = asked.measure(folder, use_cpu)
    if is_main():
        if output.suffix == ".json":
            export_json(labels, output)
        else:
            write_labels(output, labels.ids, labels.columns, labels.layers, labels.about)
        shutil.rmtree(folder.parent, ignore_errors=True)
    barrier()
    return Scored(output, labels)


@dataclass(frozen=True)
class _Asked:
    """What is to be scored, by which models, how."""

    rows: DataConfig
    anchors: DataConfig | None
    config: DifficultyConfig
    models: dict[Role, ModelConfig]

    @property
    def fingerprint(self) -> str:
        """Of everything that a label depends on."""
        from ..data.encode import tokenizer_fingerprint
        from ..data.sources import read_examples

        sources = [read_examples(one, "train").fingerprint for one in (self.rows, self.anchors) if one is not None]
        reading = {name: getattr(self.rows, name) for name in ("max_length", "on_long", "chat_template")}
        models = {role: [self._about(role), tokenizer_fingerprint(self.tokenizer(role))] for role in self.models}
        return fingerprint("difficulty", VERSION, sources, reading, self.config.model_dump(), models)

    def tokenizer(self, role: Role) -> Any:
        from ..data.templates import use_template
        from ..models.loading import load_tokenizer

        tokenizer = load_tokenizer(self.models[role], need_pad=False)
        use_template(tokenizer, self.rows.chat_template)
        return tokenizer

    def measure(self, folder: Path, use_cpu: bool) -> Labels:
        from ..difficulty.lens import refuse_other_vocabulary
        from ..difficulty.measure import measure
        from ..difficulty.reader import Reader
        from ..difficulty.samples import gather_samples

        tokenizers = {role: self.tokenizer(role) for role in self.models}
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
        from ..data.encode import tokenizer_fingerprint
        from ..data.sources import read_examples

        models = {
            role: self._about(role)
            | {"layers": reader.num_layers, "tokenizer": tokenizer_fingerprint(reader.tokenizer)}
            for role, reader in readers.items()
        }
        files = [{"path": one.path, "sha256": one.sha256} for one in read_examples(self.rows, "train").files]
        return {
            "version": VERSION,
            "what": "difference of two models at each layer",
            "models": models,
            "matched_layers": measured.matched,
            "settings": self.config.model_dump() | {"num_calibration": len(samples.calibration["edge"])},
            "system_prompt": self.rows.system_prompt,
            "fingerprint": self.fingerprint,
            "data": files,
            "cost": {"flops": measured.flops, "seconds": measured.seconds},
        }

    def _about(self, role: Role) -> dict[str, Any]:
        config = self.models[role]
        folder = Path(config.name_or_path)
        files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]) if folder.is_dir() else []
        weights = fingerprint([(file.name, sha256_file(file)) for file in files]) if files else config.revision
        return {"name": config.name_or_path, "fingerprint": weights}


def _reading(data: str | Path, recipe: str | Path | None, overrides: Sequence[str]) -> DataConfig:
    """The rows with their last answer, nothing of them in windows: one label a row."""
    rows = data_settings(data, recipe, overrides)
    changes = {"train": str(data), "eval": None, "learn": "last_turn"}
    if rows.on_long != "error":
        changes["on_long"] = "truncate"
    from .toys import place_toys

    return place_toys(rows.model_copy(update=changes))


def _model(name: str | Path, config: DifficultyConfig) -> ModelConfig:
    """A model folder, a name on the hub, or a run of ours whose model was trained whole."""
    from ..models.config import ModelConfig
    from .subject import run_folder

    run = run_folder(Path(name)) if Path(name).is_dir() else None
    if run is not None:
        name = run / "model"
        if not (name / "config.json").is_file():
            raise ModelError(f"{run} has no whole model; `curricle export` merges an adapter into one")
    if str(name).startswith(("nano:", "toy:")):
        raise ModelError(f"{name} is made for a recipe; difficulty needs two models that are saved")
    return ModelConfig(name_or_path=str(name), dtype=config.dtype)


def _found(output: Path, key: str) -> Scored:
    """Labels that are there already, if they are the ones asked for."""
    labels = _read(output)
    if labels.about.get("fingerprint") != key:
        raise RunError(
            f"{output} is there already, and holds labels of other data, models or settings; name another file, or "
            "replace it with --force"
        )
    say(f"{output}: these labels are there already")
    return Scored(output, labels)


def _read(output: Path) -> Labels:
    if output.suffix != ".json":
        return read_labels(output)
    with TemporaryDirectory() as scratch:
        import_json(output, Path(scratch) / "labels.parquet")
        return read_labels(Path(scratch) / "labels.parquet")
