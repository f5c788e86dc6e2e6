"""Labels that a run makes for its own arms, as the recipe's `difficulty` says.

They lie in `runs/NAME/labels/`, each file under the fingerprint of all that its labels depend on: arms and seeds that
ask for the same share one, and a later call finds it. Before they are made an arm's settings say `labels: score`;
afterwards they name the file, and everything else takes it as any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...curriculum.config import CurriculumConfig
from ...curriculum.labels import ID_DIGITS, from_json, read_about, write_labels
from ...difficulty.config import FEWEST
from ...difficulty.scores import SCORES
from ...errors import RecipeError, RunError
from ...runtime.progress import counted, say
from ...runtime.ranks import barrier, is_main, shared
from ..recipe import SCORE, Settings
from .scoring import Scoring, saved_model

if TYPE_CHECKING:
    from ...models.config import ModelConfig
    from ..material import Material

FOLDER = "labels"
"""Below the experiment's own folder."""
FEW = 3 * FEWEST
"""Rows of each file that are scored to try whether everything works."""


@dataclass(frozen=True)
class Request:
    """Labels that an arm goes by and that its run makes."""

    scoring: Scoring
    path: Path

    @property
    def there(self) -> bool:
        """Whether the file is there, with these very labels. One that says nothing of its making is taken as it is."""
        if not self.path.is_file():
            return False
        made = read_about(self.path).get("fingerprint")
        if made not in (None, self.scoring.fingerprint):
            raise RecipeError(
                f"`curriculum.labels`: {self.path} holds labels of other data, models or settings than `difficulty` "
                "says; name another file to have it made, delete this one, or set `difficulty.cloud` to null to take "
                "it as it is"
            )
        return True

    @property
    def named(self) -> bool:
        """Whether the recipe says where the file lies, which then may be anybody's."""
        return self.path.stem != self.scoring.fingerprint

    def __str__(self) -> str:
        cloud, edge = (self.scoring.name_of(role) for role in ("cloud", "edge"))
        return f"cloud {cloud} and edge {edge}, into {self.path}"


def request(settings: Settings, folder: Path) -> Request | None:
    """The labels that the arm's run makes, with the file they go to; `folder` is the experiment's."""
    if not settings.makes_labels:
        return None
    asked, difficulty = str(settings.curriculum.labels), settings.difficulty
    if difficulty.cloud is None:
        raise RecipeError(
            "`curriculum.labels: score` needs a large model to compare with; name one as `difficulty.cloud`, or make "
            "a label file with `curricle score` and name that"
        )
    _refuse_unmade_column(settings)
    config = difficulty.measuring()
    scoring = Scoring.of(
        settings.data,
        config,
        {"cloud": saved_model(difficulty.cloud, config), "edge": _edge(settings)},
        difficulty.calibration,
    )
    path = folder / FOLDER / f"{scoring.fingerprint}.parquet" if asked == SCORE else Path(asked)
    if path.suffix != ".parquet":
        raise RecipeError(
            f"`curriculum.labels` is {asked}; a label file that a run makes ends in .parquet{from_json(path)}"
        )
    return Request(scoring, path)


def _edge(settings: Settings) -> ModelConfig:
    config, own = settings.difficulty.measuring(), settings.model
    if settings.difficulty.edge is not None:
        return saved_model(settings.difficulty.edge, config)
    if own.nano_type:
        raise RecipeError(
            f"`difficulty.edge`: by default the arm's own model, but {own.name_or_path} has random weights, to which "
            "everything is equally hard; name a saved model there, such as toy:base"
        )
    return saved_model(own.name_or_path, config, like=own)


def _refuse_unmade_column(settings: Settings) -> None:
    """Before hours of scoring, not after."""
    made = (*SCORES, *settings.difficulty.baselines)
    column = settings.curriculum.score()
    if settings.curriculum.strategy != "layer_specific" and column not in made:
        raise RecipeError(
            f"`curriculum.column` is {column}, which `difficulty` does not make; it makes {', '.join(made)}"
        )


def labelled(material: Material, asked: Request | None) -> Material:
    """The same with a label file that is there: made now where it was missing. The processes of a torchrun share it."""
    if asked is None:
        untouched = not material.settings.trains  # it has no order, and so needs no labels
        return before_labels(material) if untouched else material
    if not shared(asked.there):
        say(f"labels: {asked}")
        asked.path.parent.mkdir(parents=True, exist_ok=True)
        labels = asked.scoring.write(asked.path, use_cpu=bool(material.settings.training.get("use_cpu")))
        say(f"labels: {counted(len(labels), 'row')}, {labels.flops:.3g} FLOPs")
    return with_labels(material, asked.path)


def found(material: Material, asked: Request | None) -> Material:
    """The same with a label file that is there; where labels are missing, who makes them."""
    if asked is not None and not asked.there:
        raise RunError(f"there are no labels yet to order by; `curricle run` makes them: {asked}")
    return labelled(material, asked)


def tried(material: Material, asked: Request | None, scratch: Path) -> Material:
    """The same to try whether everything works: a few rows are scored, and their labels stand for those of all."""
    if asked is None or asked.there:
        return labelled(material, asked)
    scoring = asked.scoring
    if scoring.anchors is None:
        scoring = replace(scoring, config=scoring.config.model_copy(update={"num_calibration": None}))
    few = min(FEW, scoring.rows.limit or FEW)
    scoring = replace(scoring, rows=scoring.rows.model_copy(update={"limit": few}))
    labels = scoring.write(scratch / "few.parquet", use_cpu=bool(material.settings.training.get("use_cpu")))
    ids, path = row_ids(material), scratch / "labels.parquet"
    say(f"smoke: labels of {len(labels)} rows stand for those of all {len(ids):,}, which a run makes: {asked}")
    in_turn = np.arange(len(ids)) % len(labels)
    columns = {name: values[in_turn] for name, values in labels.columns.items()}
    if is_main():
        write_labels(path, ids, columns, None if labels.layers is None else labels.layers[in_turn])
    barrier()
    return with_labels(material, path)


def row_ids(material: Material) -> npt.NDArray[np.bytes_]:
    """Of the training rows, each once: windows of one row, and turns, have its id and a number."""
    return np.unique(np.array(material.train.ids[:], dtype=f"S{ID_DIGITS}"))


def with_labels(material: Material, path: Path) -> Material:
    """The same, going by this label file."""
    return _with(material, material.settings.curriculum.model_copy(update={"labels": str(path)}))


def before_labels(material: Material) -> Material:
    """The same without its order, so that all else can be looked at before labels are made."""
    return _with(material, CurriculumConfig())


def _with(material: Material, curriculum: CurriculumConfig) -> Material:
    return replace(material, settings=material.settings.model_copy(update={"curriculum": curriculum}))
