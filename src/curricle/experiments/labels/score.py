"""Label the rows of a file with how hard they are: the gap between a large and a small model, and simpler measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...curriculum.labels import Labels, read_labels
from ...curriculum.labels_json import import_json
from ...difficulty.config import DifficultyConfig
from ...errors import RunError
from ...runtime.progress import say
from ...runtime.quiet import calm_libraries
from ...runtime.ranks import join
from ..document import Place, Places
from ..evaluate import data_settings
from ..resolve import check
from .scoring import Scoring, saved_model

ENDINGS = (".parquet", ".json")


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
    places: Places = {(): Place("curricle score", None, "")}
    config = check(DifficultyConfig, {key: value for key, value in settings.items() if value is not None}, places)
    rows = data_settings(data, recipe, overrides).model_copy(update={"train": str(data)})
    join(use_cpu=use_cpu)
    scoring = Scoring.of(
        rows,
        config,
        {"cloud": saved_model(str(cloud), config), "edge": saved_model(str(edge), config)},
        None if calibration is None else str(calibration),
    )
    if output.exists() and not force:
        return _found(output, scoring.fingerprint)
    return Scored(output, scoring.write(output, use_cpu))


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
