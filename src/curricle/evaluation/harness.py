"""Tasks of lm-evaluation-harness, run in this process on the model that is loaded already.

Its figures and standard errors are taken as they are. Where a figure is the mean over a task's questions, each
question's value is kept too, so that arms are compared question by question like with every other metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra, RecipeError
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import counted
from ..runtime.ranks import world_size
from .config import LmEval
from .mmlu_files import ID
from .score import Score

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-9
"""Between a figure and the mean of its values."""


@dataclass
class Values:
    """The questions of all tasks in one row, and where each figure's own stand."""

    ids: dict[str, int] = field(default_factory=dict)
    by_figure: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, figure: str, id_: str, value: float) -> None:
        self.by_figure.setdefault(figure, {})[self.ids.setdefault(id_, len(self.ids))] = value

    def of(self, figure: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Values and weights over all questions; None where there are none."""
        own = self.by_figure.get(figure)
        if not own:
            return None
        values, weights = np.zeros(len(self.ids)), np.zeros(len(self.ids))
        places = list(own)
        values[places], weights[places] = list(own.values()), 1.0
        return values, weights


def refuse_unready(entry: LmEval) -> None:
    """The package is not there, a task is not known, or several processes would each run all of it."""
    if world_size() > 1:
        raise RecipeError(
            f"{entry.label}: lm_eval is measured by one process; measure the finished run without torchrun"
        )
    known = _manager(entry).match_tasks(entry.tasks)
    for task in entry.tasks:
        if task not in known:
            where = f" or in {entry.task_folder}" if entry.task_folder else ""
            raise RecipeError(
                f"{entry.label}: no task `{task}` in lm_eval {_package().__version__}{where}; see `lm_eval ls tasks`"
            )


def harness(model: nn.Module, tokenizer: Any, entry: LmEval, *, batch_size: int = 1) -> tuple[list[str], list[Score]]:
    """Every figure of every task, and the ids of the questions that their values belong to."""
    package, manager = _package(), _manager(entry)
    from lm_eval.models.huggingface import HFLM

    was_training = model.training
    model.eval()
    try:
        results = package.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=list(entry.tasks),
            num_fewshot=entry.num_fewshot,
            limit=entry.limit,
            task_manager=manager,
            bootstrap_iters=1000,
        )
    finally:
        model.train(was_training)
    values = Values()
    for task, rows in results["samples"].items():
        for row in rows:
            id_ = fingerprint("lm_eval", task, row["doc_id"], row["doc_hash"])[:ID]
            for metric in row["metrics"]:
                if isinstance(value := row.get(metric), bool | int | float):
                    values.add(_name(task, metric, row["filter"]), id_, float(value))
    return list(values.ids), list(_scores(results, values, f"lm_eval {package.__version__}"))


def _scores(results: Mapping[str, Any], values: Values, who: str) -> Iterator[Score]:
    for task, found in results["results"].items():
        for key, value in found.items():
            metric, comma, filter_ = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            name, error = _name(task, metric, filter_), found.get(f"{metric}_stderr,{filter_}")
            parts = [who, f"task version {results['versions'].get(task, '-')}"]
            parts += [f"num_fewshot {shots}"] if (shots := results.get("n-shot", {}).get(task)) is not None else []
            if number := results.get("n-samples", {}).get(task):
                parts.append(counted(number["effective"], "question"))
            if isinstance(error, int | float):
                parts.append(f"standard error {error:.4g}")
            higher = results.get("higher_is_better", {}).get(task, {}).get(metric)
            own = values.of(name)
            if own is not None and abs(np.average(own[0], weights=own[1]) - value) > TOLERANCE * max(1.0, abs(value)):
                own = None  # no plain mean, as F1 over a whole task is none
            per_example, weights = own or (None, None)
            yield Score(
                name, float(value), per_example, weights, higher_is_better=higher is not False, note="; ".join(parts)
            )


def _name(task: str, metric: str, filter_: str) -> str:
    return f"{task}.{metric}" if filter_ == "none" else f"{task}.{metric}.{filter_}"


def _package() -> Any:
    try:
        import lm_eval
    except ImportError as error:
        raise MissingExtra("metric lm_eval runs lm-evaluation-harness: pip install 'curricle[lm-eval]'") from error
    return lm_eval


def _manager(entry: LmEval) -> Any:
    _package()
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=entry.task_folder)
