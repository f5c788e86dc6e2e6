"""A model measured by a recipe's entries outside of any run, on the rows somebody names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.account import remarks
from ..data.encode import encode
from ..data.sources import read_examples
from ..errors import RecipeError
from ..evaluation.config import Measurement, Mmlu
from ..evaluation.measure import refuse_unready
from ..generation.answers import SPECULATION, in_words
from ..runtime.devices import computing
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from .assemble import load_saved
from .evaluated import Evaluation
from .material import half_of
from .measuring import exam_of, measure_model
from .subject import find_subject


@calm_libraries()
def evaluate_model(
    model: str | Path,
    data: str | Path | None,
    recipe: str | Path | None,
    entries: Sequence[Measurement],
    overrides: Sequence[str],
    scratch: Path,
) -> Evaluation:
    """The figures of `entries`, or else of the recipe's own, on `data` or else on the recipe's `data.eval`.

    Answers are kept in `scratch` as they come, and one that is found there is not made again.
    """
    subject = find_subject(model, recipe, overrides, data)
    settings = subject.settings
    if entries:
        settings = settings.model_copy(update={"evaluation": list(entries)})
        subject = replace(subject, settings=settings)
    on_rows = not settings.evaluation or not all(entry.own_rows for entry in settings.evaluation)
    if settings.data.eval is None and on_rows:
        raise RecipeError(f"{model} is measured on rows with references; name their file as --data")
    if not settings.evaluation:
        raise RecipeError("no metric is named, and the recipe has none; add --metric loss, or --metric rouge")
    refuse_unready(settings.evaluation)
    source = read_examples(settings.data, "eval") if on_rows else None
    tokenizer = subject.tokenizer()
    table = None if source is None else encode(source, tokenizer, settings.data)
    for line in remarks(table.report) if table is not None else []:
        say(line)
    material = subject.material(tokenizer, table)
    loaded: Any = load_saved(material, subject.seed, subject.folder or Path("."))
    with computing(next(loaded.parameters()).device, half_of(settings)):
        measured, more = measure_model(material, loaded, scratch, subject.seed)
    files = [{"path": info.path, "sha256": info.sha256} for info in (source.files if source is not None else [])]
    for entry in settings.evaluation:
        if isinstance(entry, Mmlu):
            files += exam_of(entry).files
    notes = [f"{what}: {in_words(about)}" for what, about in more.get(SPECULATION, {}).items()]
    return Evaluation(str(model), measured, files, notes)
