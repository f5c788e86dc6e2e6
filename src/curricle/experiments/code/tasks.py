"""pass@k of a model, or of completions that any tool wrote: first all is written, then all is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import RecipeError
from ...evaluation.config import PassAtK
from ...runtime.devices import computing
from ...runtime.files import sha256_file
from ...runtime.progress import say
from ...runtime.quiet import calm_libraries
from ...runtime.rundir import hold
from ..document import Place, Places
from ..resolve import check
from .answers import Writer, complete, read_completions
from .measuring import COMPLETIONS, RESULTS, VERDICTS, CodeEvaluation, Written, not_run, run_all, write_all
from .problems import Problems, find_problems
from .runs import bounds_of

OF_WRITING = ("n", "temperature", "top_p", "max_new_tokens")


def evaluate_task(
    task: str | Path,
    model: str | Path | None = None,
    *,
    predictions: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    output: str | Path | None = None,
    allow_missing: bool = False,
    style: str | None = None,
    seed: int | None = None,
    workers: int | None = None,
    only_generate: bool = False,
    unsafe_execution: bool = False,
    **sampling: Any,
) -> CodeEvaluation:
    """pass@k on `task`: humaneval, mbpp or mbpp-sanitized with their files in `data`, or a file of problems.

    `sampling` are keys of `evaluation.config.PassAtK`: n, k, temperature, top_p, max_new_tokens, seconds, memory_mib.
    With `only_generate` the completions are written and not run.
    """
    if only_generate and (predictions is not None or output is None):
        raise RecipeError("--only-generate is for a model, with a folder for its completions as -o")
    problems = find_problems(task, data)
    entry = _entry(problems, sampling, style, of_file=predictions is not None)
    bounds = bounds_of(entry, workers, unsafe_execution)
    if not only_generate:
        _ = bounds.layers  # that programs cannot be run is said before any is written
    with _folder(output) as folder:
        if predictions is not None:
            written = _read(Path(predictions), problems, style, entry, allow_missing)
        else:
            assert model is not None
            written = _write(model, problems, entry, (recipe, overrides), folder, seed)
        what, kept = str(predictions or model), None if output is None else folder
        if only_generate:
            return not_run(what, problems, written, kept)
        return run_all(what, problems, entry.k, written, bounds, kept)


def _entry(problems: Problems, sampling: dict[str, Any], style: str | None, of_file: bool) -> PassAtK:
    """The settings as a recipe would have them. Of a file, how often it was sampled is found in it."""
    asked = {key: value for key, value in sampling.items() if value is not None}
    if of_file:
        for key in OF_WRITING:
            if key in asked:
                flag = key.replace("_", "-")
                raise RecipeError(f"--{flag} is for a model that writes; these completions are written already")
        asked["n"] = max(asked.get("k") or [1])
    elif style == "as-is":
        raise RecipeError("--style as-is is for completions that are there; of a model ask for base, chat or bare")
    elif style is not None:
        asked["style"] = style
    places: Places = {(key,): Place("curricle evaluate", None, key) for key in asked}
    return check(PassAtK, {"metric": "pass_at_k", "problems": problems.path, **asked}, places)


@contextmanager
def _folder(output: str | Path | None) -> Iterator[Path]:
    if output is None:
        with TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    if Path(output).is_file() or Path(output).suffix in (".json", ".jsonl"):
        raise RecipeError(f"-o {output}: with --task it is a folder, for {COMPLETIONS}, {VERDICTS} and {RESULTS}")
    with hold(output) as folder:
        yield folder


def _read(path: Path, problems: Problems, style: Any, entry: PassAtK, allow_missing: bool) -> Written:
    completions, notes = read_completions(path, problems, style)
    notes += complete(problems, completions, max(entry.k), allow_missing)
    for note in notes:
        say(note)
    styles = sorted({"whole" if one.whole else one.style for one in completions})
    return Written(completions, {"file": str(path), "sha256": sha256_file(path), "style": styles}, notes)


@calm_libraries()
def _write(
    model: str | Path,
    problems: Problems,
    entry: PassAtK,
    named: tuple[str | Path | None, Sequence[str]],
    folder: Path,
    seed: int | None,
) -> Written:
    """The completions of a run, a model folder or a model of the hub."""
    from ...data.rows import Rows
    from ..material import half_of
    from ..subject import find_subject

    subject = find_subject(model, *named)
    tokenizer = subject.tokenizer()
    loaded = subject.load(tokenizer)
    data, own_seed = subject.settings.data, subject.seed if seed is None else seed
    writer = Writer(loaded, tokenizer, data, entry, list(problems.by_id.values()), own_seed)
    with computing(next(loaded.parameters()).device, half_of(subject.settings)):
        return write_all(writer, problems, Rows(packing="none", pad_id=tokenizer.pad_token_id or 0), folder)
