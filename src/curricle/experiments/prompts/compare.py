"""From the finished runs of an experiment to a form: a few prompts, and what the model of each arm answers.

Prompts are the first rows of the held-out data, in turn from each domain where rows name theirs, or those of a file.
Answers that a run kept (`samples_eval.jsonl`) are taken from there; others are made now and kept beside the form by the
fingerprint of the weights that gave them, so that the same command goes on after a kill and a run that was trained anew
is asked anew. Of raw text, which has no prompts, the opening words are the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from shutil import rmtree
from typing import Any

from ...data.config import DataConfig
from ...data.prompts import make_prompts
from ...data.schema import Example, Message, Where
from ...data.sources import read_examples
from ...errors import CurricleError, DataError, Interrupted, RecipeError, RunError, nearest
from ...generation.answers import answer
from ...models.identity import weights_fingerprint
from ...runtime.devices import computing
from ...runtime.fingerprint import fingerprint
from ...runtime.logs import JsonLog
from ...runtime.progress import say
from ...runtime.quiet import calm_libraries
from ..compare import arms_of
from ..comparison.facts import ArmFacts
from ..material import half_of
from ..predict import without_target
from ..subject import LONGEST, Subject, find_subject
from .form import FORM, blinded, check_models, key_path, make_form, parse, read_key, unblinded, write_form, write_key
from .points import PromptPoints, points_of

NUM = 10
OPENING = 160
"""Characters of a raw text that make a prompt, up to the end of a word."""
LONGEST_ANSWER = 128
"""Tokens, where neither the recipe nor the caller says."""
SAMPLES = "samples_eval.jsonl"
ANSWERS = "answers"


class BegunForm(RunError):
    """Somebody has begun to fill a form of other prompts or answers, which is worth more than a new one."""


@dataclass(frozen=True)
class Asked:
    """Prompts as a person reads them, and the models' answers."""

    prompts: list[str]
    answers: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)


@calm_libraries()
def compare_prompts(
    run: str | Path,
    folder: str | Path,
    *,
    num: int = NUM,
    prompts: str | Path | None = None,
    arms: Sequence[str] | None = None,
    base: str | None = None,
    seed: int | None = None,
    blind: bool = False,
    max_new_tokens: int | None = None,
) -> PromptPoints:
    """Write `folder`/eval_prompt_comparison.md for the arms of an experiment, and say what is filled in of it.

    `prompts` is a file: a prompt a line (.txt), or rows as the recipe's data have them. `seed` says which run of each
    arm answers, by default its first. Without `base` the others are compared with the arm that trains nothing, or else
    with the first. A form of the same answers stays as it is, its points with it; one of others that somebody has begun
    to fill raises `BegunForm`, a RunError. A refusal leaves no new folder behind.

    >>> compare_prompts("runs/dem", "runs/dem/results", num=10)   # doctest: +SKIP
    """
    facts, place = _chosen(arms_of(run), arms, seed), Path(folder)
    base = base or _base(facts)
    check_models([arm.name for arm in facts], base)
    with _nothing_new_if_refused(place):
        asked = _kept(facts, num) if prompts is None else None
        if asked is None:
            asked = _made(facts, place, num, prompts, max_new_tokens)
        return write_comparison(
            asked.prompts,
            asked.answers,
            place,
            base=base,
            title=Path(run).resolve().name,
            notes=asked.notes,
            blind=blind,
            seed=seed or 0,
        )


@contextmanager
def _nothing_new_if_refused(folder: Path) -> Iterator[None]:
    """Take back the folders that were made for a form that is not written. Answers stay where there were some before,
    so that a recipe that ends beside a begun form does not ask again each time, and after a signal."""
    answers = folder / ANSWERS
    new = [place for place in (answers, folder, *folder.parents) if not place.exists()]
    try:
        yield
    except Interrupted:
        raise
    except CurricleError:
        if answers in new:
            rmtree(answers, ignore_errors=True)
        for place in new:
            with suppress(OSError):  # not there, or somebody else's by now
                place.rmdir()
        raise


def write_comparison(
    prompts: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    folder: str | Path,
    *,
    base: str,
    title: str = "models",
    notes: Sequence[str] = (),
    blind: bool = False,
    seed: int = 0,
) -> PromptPoints:
    """The form of any models' answers, by the models' names. One that somebody has begun to fill is never replaced:
    `BegunForm`, where it is of other answers."""
    path = Path(folder) / FORM
    whole = make_form(prompts, answers, base=base, title=title, notes=notes)
    form, key = blinded(whole, seed) if blind else (whole, None)
    if path.exists():
        before = parse(path)
        if before.id == form.id:
            named = before if key is None else unblinded(before, read_key(key_path(path), before))
            return points_of(named, str(path))
        if before.open_cells < before.num_cells:
            raise BegunForm(
                f"{path} holds points for other prompts or answers; name another folder, or move it out of the way"
            )
    if key is not None:
        write_key(key_path(path), key)
    else:
        key_path(path).unlink(missing_ok=True)
    write_form(path, form)
    return points_of(whole, str(path))


def _chosen(facts: list[ArmFacts], names: Sequence[str] | None, seed: int | None) -> list[ArmFacts]:
    """One run of each arm that is asked for."""
    known = [arm.name for arm in facts]
    for name in names or ():
        if name not in known:
            raise RecipeError(f"no arm `{name}` is finished; {nearest(name, known)}")
    if names is not None and not names:
        raise RecipeError(f"no arm is named; known: {', '.join(known)}, or leave the choice out for all")
    found = []
    for arm in facts:
        if names is None or arm.name in names:
            own = min(arm.seeds) if seed is None or arm.fixed else seed
            if own not in arm.runs:
                raise RunError(f"{arm.name} has no finished run of seed {own}; it has {', '.join(map(str, arm.seeds))}")
            found.append(replace(arm, runs={own: arm.runs[own]}))
    return found


def _base(facts: Sequence[ArmFacts]) -> str:
    """The model as it came, where there is one."""
    as_came = [arm.name for arm in facts if not arm.trained]
    return "base" if "base" in as_came else (as_came or [arm.name for arm in facts])[0]


def _folder(arm: ArmFacts) -> Path:
    return next(iter(arm.runs.values())).folder


def _data(arm: ArmFacts) -> DataConfig:
    return find_subject(_folder(arm)).settings.data


# ---- answers that are there -------------------------------------------------------------------------


def _kept(facts: Sequence[ArmFacts], num: int) -> Asked | None:
    """From the runs' own samples; None where one of them has none, or they share no prompt."""
    rows = {arm.name: {str(row["id"]): row for row in JsonLog(_folder(arm) / SAMPLES).rows()} for arm in facts}
    first = next(iter(rows.values()))
    shared = [name for name in first if all(name in own for own in rows.values())]
    if not shared:
        return None
    domains = next(iter(facts[0].runs.values())).domains
    chosen = [id_ for id_, _ in in_turn([(id_, domains.get(id_)) for id_ in shared], num)]
    if len(chosen) < num:
        say(f"prompt comparison: {len(chosen)} prompts, as the runs have answered no more in common")
    answers = {name: [str(own[id_]["prediction"]) for id_ in chosen] for name, own in rows.items()}
    seeds = ", ".join(f"{arm.name} of seed {next(iter(arm.runs))}" for arm in facts)
    return Asked([str(first[id_]["prompt"]) for id_ in chosen], answers, [f"answers that the runs kept: {seeds}"])


def in_turn(items: Iterable[tuple[Any, str | None]], num: int) -> list[tuple[Any, str | None]]:
    """The first so many, one of each domain before a second of any.

    >>> in_turn([(1, "law"), (2, "law"), (3, "web")], 2)
    [(1, 'law'), (3, 'web')]
    """
    by_domain: dict[str | None, list[tuple[Any, str | None]]] = {}
    for item in items:
        by_domain.setdefault(item[1], []).append(item)
    dealt = (item for several in zip_longest(*by_domain.values()) for item in several if item is not None)
    return list(islice(dealt, num))


# ---- answers that are made now ----------------------------------------------------------------------


def _made(
    facts: Sequence[ArmFacts], folder: Path, num: int, prompts: str | Path | None, max_new_tokens: int | None
) -> Asked:
    """Each arm's model asked one after another; their files lie in `folder`/answers."""
    data = _data(facts[0])
    if prompts is None and data.eval is None:
        raise RecipeError("the runs have no `data.eval` to take prompts from; name a file with --prompts")
    lines = Path(prompts) if prompts is not None and str(prompts).endswith(".txt") else None
    if lines is not None:
        examples: list[Example] = _of_lines(lines, num, data)
    else:
        named = data if prompts is None else data.model_copy(update={"eval": str(prompts)})
        examples = [example for example, _ in in_turn(((one, one.domain) for one in read_examples(named, "eval")), num)]
    examples = [_opening(one) if one.kind == "text" else without_target(one) for one in examples]
    texts: list[str] = []
    answers = {}
    for arm in facts:
        say(f"prompt comparison: {arm.name} answers {len(examples)} prompts")
        asked, answers[arm.name], limit = _answer(arm, examples, folder / ANSWERS, max_new_tokens)
        texts = texts or asked
    seeds = ", ".join(f"{arm.name} of seed {next(iter(arm.runs))}" for arm in facts)
    return Asked(texts, answers, [f"answers of at most {limit} tokens, made for this form: {seeds}"])


def _answer(
    arm: ArmFacts, examples: Sequence[Example], folder: Path, max_new_tokens: int | None
) -> tuple[list[str], list[str], int]:
    subject = find_subject(_folder(arm))
    file = answers_file(folder, arm.name, subject)
    tokenizer = subject.tokenizer()
    model = subject.load(tokenizer)
    limit = max_new_tokens or subject.settings.generation.max_new_tokens or LONGEST_ANSWER
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limit = min(limit, (positions or LONGEST) // 2)
    room = {"max_length": min(positions or LONGEST, LONGEST), "on_long": "truncate", "on_bad_row": "error"}
    if not tokenizer.chat_template:
        examples = [_without_chat(one) for one in examples]
    data = subject.settings.data.model_copy(update=room)
    prompts = make_prompts(examples, tokenizer, data, limit)
    generation = subject.settings.generation.model_copy(update={"num_examples": None})
    with computing(next(model.parameters()).device, half_of(subject.settings)):
        found = answer(model, tokenizer, prompts, generation, file, subject.seed)
    return [one.text for one in prompts], [one.prediction for one in found], limit


def answers_file(folder: Path, name: str, subject: Subject) -> Path:
    """Of an arm with the weights that it has now. A model that is made of its seed, and one of the hub without a
    revision, have no file to tell weights by."""
    config = subject.settings.model
    saved = subject.folder / "model" if subject.folder is not None else None
    if saved is not None and saved.is_dir():
        config = config.model_copy(update={"name_or_path": str(saved)})
    key = weights_fingerprint(config)
    return folder / (f"{name}.jsonl" if key is None else f"{name}.{fingerprint(key)[:12]}.jsonl")


def _of_lines(path: Path, num: int, data: DataConfig) -> list[Example]:
    """A prompt a line: a message where the recipe's data are conversations, else a text to go on with."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text, a prompt a line: {error}") from error
    if not lines:
        raise DataError(f"{path} has no prompt in it; a line is one")
    system = [] if data.system_prompt is None else [Message("system", data.system_prompt)]
    made = []
    for i, line in enumerate(lines[:num]):
        id_, where = fingerprint(line, i)[:16], Where(str(path), i + 1)
        made.append(Example("chat", id_, where, messages=(*system, Message("user", line))))
    return made


def _without_chat(example: Example) -> Example:
    """For a model that knows no turns: the last message alone."""
    if example.kind != "chat":
        return example
    return Example("plain", example.id, example.where, prompt=example.messages[-1].content)


def _opening(example: Example) -> Example:
    """The first words of a raw text, as a prompt to go on from."""
    text = example.text or ""
    if len(text) > OPENING:
        text = text[:OPENING].rpartition(" ")[0] or text[:OPENING]
    return Example("plain", example.id, example.where, prompt=text)
