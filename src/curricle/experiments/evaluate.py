"""Measure what a recipe's `evaluation` measures, outside of a run: another tool's answers, or any model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..data.config import DataConfig
from ..errors import RecipeError, nearest
from ..evaluation.config import AnyMeasurement, Measurement, TextMeasurement
from ..evaluation.measure import measure_texts, refuse_unready
from ..runtime.config import Section
from ..runtime.files import write_json
from ..runtime.progress import say
from ..runtime.ranks import is_main
from .document import Place, Places, parse_value
from .evaluated import Evaluation
from .overrides import overlay, read_sets
from .predictions import match, read_predictions
from .resolve import check, resolve
from .toys.sources import place_sources


def evaluate(
    model: str | Path | None = None,
    *,
    predictions: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    metrics: Sequence[str] = (),
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    id_column: str | None = None,
    text_column: str | None = None,
    allow_missing: bool = False,
    task: str | Path | None = None,
    **sampling: Any,
) -> Evaluation:
    """Measure a file of `predictions`, or a `model`: a run, a model folder or a name on the hub.

    `metrics` are entries of a recipe's `evaluation` in one line each, such as `rouge:tokenizer=eojeol,multi_ref=max`;
    without any, those of the recipe are taken, which a run brings along. `data` names the rows with the references, by
    default the recipe's `data.eval`.

    With `task` the answers are programs, which are run: humaneval, mbpp or mbpp-sanitized with its files in `data`, or
    a file of problems. `sampling` says how (n, k, temperature, ...: `code_tasks.evaluate_task`); `output` is a folder.

    >>> curricle.evaluate(predictions="kobart.csv", data="dev.jsonl", metrics=["rouge"])   # doctest: +SKIP
    """
    if (model is None) == (predictions is None):
        raise RecipeError("give a model or a run to measure, or --predictions FILE, and not both")
    entries = read_metrics(metrics)
    if task is not None:
        return _of_task(
            task,
            model,
            predictions=predictions,
            data=data,
            recipe=recipe,
            overrides=overrides,
            output=output,
            allow_missing=allow_missing,
            unused={"--metric": metrics, "--id-column": id_column, "--text-column": text_column},
            **sampling,
        )
    if sampling:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sampling)
        raise RecipeError(f"{flags}: these go with --task, and none is named")
    if predictions is not None:
        result = _of_predictions(
            Path(predictions), data, recipe, entries, overrides, (id_column, text_column), allow_missing
        )
    else:
        from .measured_model import evaluate_model

        assert model is not None
        with _scratch(output) as folder:
            result = evaluate_model(model, data, recipe, entries, overrides, folder)
    if output is not None and is_main():
        write_json(output, result.as_dict())
    return result


def _of_task(task: str | Path, model: str | Path | None, *, unused: dict[str, Any], **asked: Any) -> Evaluation:
    """What a task does not read is refused, not left lying."""
    from .code.tasks import evaluate_task

    for flag, value in unused.items():
        if value:
            raise RecipeError(f"{flag} is for answers in words; --task measures programs by their tests")
    return evaluate_task(task, model, **asked)


@contextmanager
def _scratch(output: str | Path | None) -> Iterator[Path]:
    """A folder for answers; one beside the output stays when the work is cut off, so that it can be gone on with."""
    if output is None:
        with TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    folder = Path(output).with_name(f".{Path(output).name}.parts")
    yield folder
    if is_main():
        shutil.rmtree(folder, ignore_errors=True)  # there is none when no answers were needed


class _Entries(Section):
    evaluation: list[AnyMeasurement]


def read_metrics(asked: Sequence[str]) -> list[Any]:
    """`rouge:tokenizer=eojeol,multi_ref=max` as the entry {metric: rouge, tokenizer: eojeol, multi_ref: max}. Of two
    entries of one metric the later is named after its options."""
    trees: list[dict[str, Any]] = []
    places: Places = {}
    for number, text in enumerate(asked):
        metric, _, options = text.partition(":")
        tree = {"metric": metric.strip(), **_options(options, f"--metric {text}")}
        if tree["metric"] in (tree_.get("name", tree_["metric"]) for tree_ in trees) and "name" not in tree:
            values = [str(value) for key, value in tree.items() if key != "metric"]
            tree["name"] = "-".join([tree["metric"], *(values or [str(number + 1)])])
        trees.append(tree)
        places[("evaluation", number)] = Place(f"--metric {text}", None, "")
    entries = check(_Entries, {"evaluation": trees}, places).evaluation
    refuse_same_labels(entries)
    return list(entries)


def _options(text: str, asked: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    found = parse_value("{" + re.sub(r"(\w+)\s*=", r"\1: ", text) + "}", f"{asked}: ")
    if not isinstance(found, dict) or any(value is None for value in found.values()):
        raise RecipeError(
            f"{asked}: options are key=value with commas between, as rouge:tokenizer=eojeol,multi_ref=max"
        )
    return found


def refuse_same_labels(entries: Sequence[Measurement]) -> None:
    labels = [entry.label for entry in entries]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise RecipeError(
            f"two metrics are called `{twice}`; give one a name: rouge:tokenizer=eojeol,name=rouge-eojeol"
        )


def _of_predictions(
    predictions: Path,
    data: str | Path | None,
    recipe: str | Path | None,
    entries: Sequence[Measurement],
    overrides: Sequence[str],
    columns: tuple[str | None, str | None],
    allow_missing: bool,
) -> Evaluation:
    asked = list(entries)
    if not asked and recipe is not None:
        asked = [entry for entry in resolve(recipe, overrides).base.evaluation if isinstance(entry, TextMeasurement)]
    if not asked:
        raise RecipeError("no metric is named; add --metric rouge (or bleu, chrf, foreign_script)")
    for entry in asked:
        if not isinstance(entry, TextMeasurement):
            raise RecipeError(
                f"--metric {entry.metric} needs a model; of answers alone one can measure rouge, bleu, chrf and "
                "foreign_script"
            )
    refuse_unready(asked)
    settings = data_settings(data, recipe, overrides)
    pairs = match(read_predictions(predictions, *columns), settings, columns[0], allow_missing)
    for note in pairs.notes:
        say(note)
    measured = measure_texts(asked, pairs.predictions, pairs.references, pairs.ids)
    return Evaluation(str(predictions), measured, pairs.files, pairs.notes)


def data_settings(data: str | Path | None, recipe: str | Path | None, overrides: Sequence[str]) -> DataConfig:
    """The `data` section of a recipe with another file to evaluate on; or of that file alone."""
    if recipe is not None:
        sets = [*overrides, *([f"data.eval={json.dumps(str(data))}"] if data is not None else [])]
        settings = resolve(recipe, sets).base.data
        if settings.eval is None:
            raise RecipeError(f"{recipe} names no `data.eval`; give the file with the references as --data")
        return settings
    if data is None:
        raise RecipeError("name the file with the references as --data, or a recipe with --recipe")
    tree, places = read_sets(overrides)
    for key in tree:
        if key != "data":
            raise RecipeError(f"--set {key}: without a recipe only `data` can be set; {nearest(key, ['data'])}")
    inner = {path[1:]: place for path, place in places.items() if path[:1] == ("data",)}
    whole = overlay({"train": str(data), "eval": str(data)}, tree.get("data") or {})
    return place_sources(check(DataConfig, whole, inner))
