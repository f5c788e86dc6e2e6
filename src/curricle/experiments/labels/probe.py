"""Real difficulty: the loss of every training row under models of the recipe that learned from other rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...curriculum.config import CurriculumConfig
from ...curriculum.labels import Labels, read_labels, write_labels
from ...data.sources import read_examples
from ...errors import RecipeError, RunError
from ...models.identity import weights_fingerprint
from ...runtime.fingerprint import fingerprint
from ...runtime.progress import counted, say
from ...runtime.ranks import barrier, is_main, shared
from ...runtime.rundir import hold
from ...training.arguments import complete
from ..material import Material, gather
from ..meeting import meet
from ..recipe import Settings
from ..resolve import AnyRecipe, Arm, Experiment, resolve
from .crossfit import Crossfit, check_folds

VERSION = 1
"""Changes when the same input would give other labels."""

LEFT_OUT = ("curriculum", "evaluation", "generation", "difficulty")
"""Sections of a recipe that the probe does without: the order of rows, and what is measured afterwards."""


@dataclass(frozen=True)
class Probed:
    """The held-out losses in a label file; prints itself."""

    output: Path
    labels: Labels = field(repr=False)

    def __str__(self) -> str:
        about, columns = self.labels.about, self.labels.columns
        loss, tokens = columns["probe"].astype(np.float64), columns["probe_tokens"].astype(np.float64)
        known = tokens > 0
        low, middle, high = np.quantile(loss[known], [0.05, 0.5, 0.95])
        cost = about["cost"]
        lines = [
            f"{self.output}: {counted(len(self.labels), 'row')} in {about['folds']} parts, "
            f"{counted(len(about['seeds']), 'seed')}, {cost['flops']:.3g} FLOPs, {cost['seconds']:,.0f} s",
            f"held-out loss of a row: {middle:.4g} nats a supervised token (5% {low:.4g}, 95% {high:.4g})",
            f"of all tokens: {np.average(loss[known], weights=tokens[known]):.4g}",
        ]
        if not known.all():
            lines.append(f"{counted(int((~known).sum()), 'row')} without a supervised token: unknown")
        return "\n".join(lines)


def probe(
    recipe: AnyRecipe,
    *,
    output: str | Path,
    folds: int = 2,
    arm: str | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> Probed:
    """Train the recipe on the rows of `data.train` but a part of them, for each of `folds` parts, and write what loss
    each row of the part has then: a label file with `probe` (nats a supervised token) and `probe_tokens`.

    One arm (the first) is trained, shuffled, with the recipe's first seed; of several `seeds` the mean is written. The
    same call goes on with what an interrupted one has done.

    >>> curricle.probe("recipe.yaml", output="probe.parquet")   # doctest: +SKIP
    """
    whole = resolve(recipe, overrides)
    chosen = _choose(whole, arm)
    asked = whole.seeds[:1] if seeds is None else whole.select(seeds=seeds).seeds
    return probe_arm(chosen, asked, output, folds=folds, force=force)


def probe_arm(arm: Arm, seeds: Sequence[int], output: str | Path, *, folds: int = 2, force: bool = False) -> Probed:
    """The same for one arm of a recipe that is resolved already."""
    output = Path(output)
    if output.suffix != ".parquet":
        raise RunError(f"-o {output}: a label file is written, and its name ends in .parquet")
    check_folds(folds)
    probing = Probing.of(arm, seeds, folds)
    probing.tell()
    probing.study.refuse_small()
    if shared(output.exists()) and not force:
        return _found(output, probing.fingerprint)
    return probing.write(output)


@dataclass(frozen=True)
class Probing:
    """A probe of which nothing is trained yet."""

    arm: Arm
    study: Crossfit

    @classmethod
    def of(cls, arm: Arm, seeds: Sequence[int], folds: int) -> Probing:
        settings = _shuffled(arm.settings)
        meet(settings)
        return cls(arm, Crossfit(gather(settings), folds, tuple(seeds)))

    @cached_property
    def about(self) -> dict[str, Any]:
        return _about(self.arm, self.study)

    @property
    def fingerprint(self) -> str:
        return str(self.about["fingerprint"])

    def tell(self) -> None:
        """What of the arm and of its rows is left out."""
        for line in (*_left_out(self.arm), *self.study.material.remarks()):
            say(line)

    def write(self, output: Path) -> Probed:
        """Train, read, and write the label file."""
        with hold(output.with_name(f".{output.name}.parts")) as root:
            return _carry_out(self.study, dict(self.about), output, root)


def _carry_out(study: Crossfit, about: dict[str, Any], output: Path, root: Path) -> Probed:
    from ..assemble import look_ahead

    folder = root / about["fingerprint"]
    look_ahead(study.material, study.seeds[0], folder)
    found = study.run(folder)
    columns = {
        "probe": found.loss_n.astype(np.float32),
        "probe_tokens": found.tokens_n.astype(np.float32),
    }
    about |= {"cost": {"flops": found.flops, "seconds": found.seconds}}
    if is_main():
        write_labels(output, found.ids, columns, about=about)
        shutil.rmtree(root)
    barrier()
    return Probed(output, Labels(found.ids, columns, about=about, path=str(output)))


def _choose(whole: Experiment, name: str | None) -> Arm:
    """The arm that is asked for, or the first."""
    [chosen] = whole.select([name or next(iter(whole.arms))]).arms.values()
    if not chosen.settings.trains:
        others = [arm.name for arm in whole.arms.values() if arm.settings.trains]
        advice = f"name one that does with --arm: {', '.join(others)}" if others else "set `trainer: hf`"
        raise RecipeError(f"arm `{chosen.name}` trains nothing (`trainer: none`), so no row is held out; {advice}")
    return chosen


def _left_out(arm: Arm) -> Iterator[str]:
    if arm.settings.curriculum != CurriculumConfig():
        yield f"arm `{arm.name}` is probed shuffled: its `curriculum` is left out"
    if arm.settings.selection.metric is not None:
        yield (
            f"arm `{arm.name}`: the model of the last step is read, as `data.eval` is left out with `selection.metric`"
        )


def _shuffled(settings: Settings) -> Settings:
    """The arm without what needs labels or `data.eval`: the training alone, its rows in shuffled passes."""
    training = {key: value for key, value in settings.training.items() if not key.startswith("eval_")}
    fields = Settings.model_fields
    plain: dict[str, Any] = {name: fields[name].get_default(call_default_factory=True) for name in LEFT_OUT}
    plain |= {
        "data": settings.data.model_copy(update={"eval": None}),
        "selection": settings.selection.model_copy(update={"metric": None, "patience": None}),
        "training": complete(training | {"report_to": "none"}),  # a tracker is for the recipe's own runs
    }
    return settings.model_copy(update=plain)


def _about(arm: Arm, study: Crossfit) -> dict[str, Any]:
    """What the labels are, but for what they cost."""
    material = study.material
    settings = material.settings
    model = {"name": settings.model.name_or_path, "fingerprint": weights_fingerprint(settings.model)}
    files = [{"path": one.path, "sha256": one.sha256} for one in read_examples(settings.data, "train").files]
    return {
        "what": "held-out loss of each row, of models trained on other rows",
        "model": model,
        "arm": arm.name,
        "settings": settings.model_dump(mode="json", exclude=set(LEFT_OUT)),
        "folds": study.folds,
        "seeds": list(study.seeds),
        "fingerprint": _fingerprint(study, model["fingerprint"]),
        "data": files,
    }


def _fingerprint(study: Crossfit, weights: str | None) -> str:
    """Of all that a label depends on; of files their content, and not where they lie."""
    from ...training.rows import identity

    material: Material = study.material
    settings, table = material.settings, material.train
    data = settings.data.model_dump(mode="json", exclude={"train", "eval", "num_workers"})
    shares = [source.weight for source in settings.data.sources("train")]
    model = settings.model.model_dump(mode="json", exclude={"name_or_path"} if weights else None)
    rest = settings.model_dump(mode="json", exclude={*LEFT_OUT, "data", "model"})
    rows = [identity(table), fingerprint(table.ids[:]), np.bincount(table.sources).tolist(), shares]
    return fingerprint("probe", VERSION, rows, data, model, weights, rest, study.folds, study.seeds)


def _found(output: Path, key: str) -> Probed:
    """Labels that are there already, if they are the ones asked for."""
    labels = read_labels(output)
    if labels.about.get("fingerprint") != key:
        raise RunError(
            f"{output} is there already, and holds other labels, or such of other data, settings, folds or seeds; name "
            "another file, or replace it with --force"
        )
    say(f"{output}: these losses are there already")
    return Probed(output, labels)
