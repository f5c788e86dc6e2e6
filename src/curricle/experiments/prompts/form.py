"""The form: `eval_prompt_comparison.md`, written for a person to fill in an editor, and read back strictly.

# Prompt comparison: dem
- form: 3f2a90c1...                 of the prompts and answers; a changed text is noticed
- models: base, law, merged         letters where it is blind
- base: base
- filled by:

## Prompt 1
```text                             texts stand between fences longer than any in them, so that nothing in an
...                                 answer can be taken for a part of the form
```
### base
```text
...
```
| model | information | logic | concision | tone |
|---|---|---|---|---|
| base |  | 3 |  |  |               1 to 5; an empty cell is open
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...errors import DataError, RecipeError
from ...runtime.files import read_json, write_json, write_text
from ...runtime.fingerprint import fingerprint

FORM = "eval_prompt_comparison.md"
JUDGED = ".judged"
"""In the name of a judge's copy."""
CRITERIA = {
    "information": "Is what it says right, and all that was asked for?",
    "logic": "Does one thing follow from the other, without contradiction?",
    "concision": "Does it say so without repeating itself or wandering off?",
    "tone": "Does it keep the manner that the prompt calls for?",
}
"""Each with what it asks."""
LOWEST, HIGHEST = 1, 5
_BLIND = "yes; the key is in a file of its own"
_HEADER = ("model", *CRITERIA)
_FENCE = re.compile(r"(`{3,})text$")
_RULE = re.compile(r"[\s:|-]*-[\s:|-]*")

Points = dict[str, int | None]
"""Criterion -> points; None is open."""


@dataclass(frozen=True)
class Entry:
    """One prompt, its answers and their points, by the models' names in the form."""

    prompt: str
    answers: dict[str, str]
    points: dict[str, Points]


@dataclass(frozen=True)
class Form:
    """All of it; `text` and `parse` are each other's inverse."""

    title: str
    models: list[str]
    base: str | None
    """The model that the others are compared with; None where the form is blind, as the key says it then."""
    entries: list[Entry]
    filled_by: str = ""
    judge: str = ""
    """Which model gave the points; empty where a person does."""
    id: str = ""
    notes: list[str] = field(default_factory=list)
    """How the answers came about."""

    @property
    def open_cells(self) -> int:
        return sum(
            value is None for entry in self.entries for points in entry.points.values() for value in points.values()
        )

    @property
    def num_cells(self) -> int:
        return len(self.entries) * len(self.models) * len(CRITERIA)

    def text(self) -> str:
        lines = [f"# Prompt comparison: {self.title}", "", *self._about(), "", *_instructions(self.base is None)]
        for number, entry in enumerate(self.entries, start=1):
            lines += ["", f"## Prompt {number}", "", *_fenced(entry.prompt)]
            for i, name in enumerate(self.models):
                before = [one for one in self.models[:i] if entry.answers[one] == entry.answers[name]]
                same = [f"Word for word the answer of {before[0]}.", ""] if before else []
                lines += ["", f"### {name}", "", *same, *_fenced(entry.answers[name])]
            lines += ["", f"| {' | '.join(_HEADER)} |", "|" + "---|" * len(_HEADER)]
            for name in self.models:
                cells = ["" if value is None else str(value) for value in entry.points[name].values()]
                lines.append(f"| {' | '.join([name, *cells])} |")
        return "\n".join(lines) + "\n"

    def _about(self) -> Iterator[str]:
        yield f"- form: {self.id}"
        yield f"- models: {', '.join(self.models)}"
        yield f"- base: {self.base}" if self.base is not None else f"- blind: {_BLIND}"
        yield from (f"- note: {line}" for line in self.notes)
        if self.judge:
            yield f"- judge: {self.judge}"
        yield f"- filled by: {self.filled_by}".rstrip()


def _instructions(blind: bool) -> list[str]:
    order = " The letters mean another model at each prompt." if blind else ""
    return [
        f"Each answer gets whole points from {LOWEST} (bad) to {HIGHEST} (good) in each column. "
        f"An empty cell stays open: it is counted, and nothing is put in its place.{order}",
        "",
        *(f"- {name}: {asks}" for name, asks in CRITERIA.items()),
    ]


def _fenced(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.splitlines(), fence]


# ---- making -----------------------------------------------------------------------------------------


def make_form(
    prompts: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    *,
    base: str,
    title: str = "models",
    notes: Sequence[str] = (),
) -> Form:
    """An empty form, the models by their names."""
    check_models(list(answers), base)
    for name, own in answers.items():
        if len(own) != len(prompts):
            raise DataError(f"{name} has {len(own)} answers to {len(prompts)} prompts; each needs one")
    if not prompts:
        raise RecipeError(f"0 prompts and {len(answers)} models: one prompt is the least")
    names = list(answers)
    entries = [
        Entry(_tidy(prompt), {name: _tidy(answers[name][i]) for name in names}, {name: unfilled() for name in names})
        for i, prompt in enumerate(prompts)
    ]
    form = Form(" ".join(title.split()), names, base, entries, notes=[" ".join(note.split()) for note in notes])
    return replace(form, id=_id(form))


def check_models(names: Sequence[str], base: str) -> None:
    """Refuse models that no form can hold, before they are asked anything."""
    for name in names:
        if not name.strip() or name != name.strip() or re.search(r"[|,\n`]", name):
            raise RecipeError(f"a model cannot be called {name!r} in a table: no `|`, comma, backquote or line feed")
    if len(names) < 2:
        found = f"{', '.join(names)} alone" if names else "no model"
        raise RecipeError(f"{found} cannot be compared; two models are the least")
    if base not in names:
        raise RecipeError(f"the base is `{base}`, and the models are {', '.join(names)}")


def unfilled() -> Points:
    return dict.fromkeys(CRITERIA)


def blinded(form: Form, seed: int) -> tuple[Form, dict[str, object]]:
    """The same under letters that are dealt anew at each prompt, and the key to them."""
    letters = [letter(i) for i in range(len(form.models))]
    entries, dealt = [], []
    for i, entry in enumerate(form.entries):
        order = np.random.default_rng([seed, i]).permutation(len(letters))
        names = {one: form.models[place] for one, place in zip(letters, order, strict=True)}
        answers = {one: entry.answers[name] for one, name in names.items()}
        entries.append(Entry(entry.prompt, answers, {one: unfilled() for one in letters}))
        dealt.append(names)
    hidden = replace(form, models=letters, base=None, entries=entries)
    hidden = replace(hidden, id=_id(hidden))
    return hidden, {"form": hidden.id, "base": form.base, "models": form.models, "seed": seed, "prompts": dealt}


def letter(i: int) -> str:
    """A to Z, then AA, AB, ..."""
    return ("" if i < 26 else letter(i // 26 - 1)) + chr(ord("A") + i % 26)


def _tidy(text: str) -> str:
    """As it comes back from a file of lines."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).rstrip()


def _id(form: Form) -> str:
    """Of the texts, whatever an editor does to white space."""
    texts = [[" ".join(text.split()) for text in (one.prompt, *one.answers.values())] for one in form.entries]
    return fingerprint(form.models, form.base, texts)


# ---- files ------------------------------------------------------------------------------------------


def key_path(form: str | Path) -> Path:
    """Where the key to a blind form lies; a judge's copy of a form has the same."""
    path = Path(form)
    stem = path.name.removesuffix(".md").removesuffix(JUDGED)
    return path.with_name(f"{stem}.key.json")


def judged_path(form: str | Path) -> Path:
    """Where a judge's copy of a form goes."""
    path = Path(form)
    return path.with_name(f"{path.name.removesuffix('.md')}{JUDGED}.md")


def write_form(path: str | Path, form: Form) -> Path:
    write_text(path, form.text())
    return Path(path)


def write_key(path: str | Path, key: Mapping[str, object]) -> None:
    write_json(path, dict(key))


def read_key(path: Path, form: Form) -> dict[str, object]:
    if not path.is_file():
        raise DataError(f"{path}: the form is blind, and its key is not there; name it with --key")
    key: dict[str, object] = read_json(path)
    if key.get("form") != form.id:
        raise DataError(f"{path} is the key to another form ({key.get('form')}, and this one is {form.id})")
    return key


def unblinded(form: Form, key: Mapping[str, object]) -> Form:
    """By the models' own names, in their own order."""
    names, dealt = key["models"], key["prompts"]
    assert isinstance(names, list)
    assert isinstance(dealt, list)
    entries = []
    for entry, letters in zip(form.entries, dealt, strict=True):
        letter_of = {name: one for one, name in letters.items()}
        answers = {name: entry.answers[letter_of[name]] for name in names}
        entries.append(Entry(entry.prompt, answers, {name: entry.points[letter_of[name]] for name in names}))
    return replace(form, models=names, base=str(key["base"]), entries=entries)


# ---- reading ----------------------------------------------------------------------------------------


def parse(path: str | Path) -> Form:
    """A form as somebody left it; whatever does not belong in it is one line with its number."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}") from error
    return _Reader(str(path), lines).form()


class _Reader:
    """Line by line, with the place for errors."""

    def __init__(self, path: str, lines: list[str]) -> None:
        self.path, self.lines, self.at = path, lines, 0

    def fail(self, said: str, at: int | None = None) -> DataError:
        return DataError(f"{self.path}:{(self.at if at is None else at) + 1}: {said}")

    def form(self) -> Form:
        title = self._line().removeprefix("# Prompt comparison: ")
        if not self.lines or title == self.lines[0]:
            raise DataError(f"{self.path}:1: no form: it begins with `# Prompt comparison: ...`")
        about, notes = self._about()
        for name in ("form", "models"):
            if not about.get(name):
                raise self.fail(f"no line `- {name}: ...` before the first prompt")
        if ("base" in about) == ("blind" in about):
            raise self.fail("one of the lines `- base: ...` and `- blind: ...` is needed before the first prompt")
        models = [name.strip() for name in about["models"].split(",")]
        entries: list[Entry] = []
        while self.at < len(self.lines):
            entries.append(self._entry(len(entries) + 1, models))
        found = Form(
            title.strip(), models, about.get("base"), entries, about.get("filled by", ""), about.get("judge", ""),
            about["form"], notes,
        )  # fmt: skip
        if _id(found) != found.id:
            raise DataError(
                f"{self.path}: prompts or answers are not those that the form was written with; only cells are to be "
                "filled"
            )
        return found

    def _line(self) -> str:
        return self.lines[self.at].rstrip() if self.at < len(self.lines) else ""

    def _about(self) -> tuple[dict[str, str], list[str]]:
        about: dict[str, str] = {}
        notes = []
        while self.at < len(self.lines) and not self._line().startswith("## "):
            name, colon, value = self._line().removeprefix("- ").partition(":")
            if self._line().startswith("- note:"):
                notes.append(value.strip())
            elif self._line().startswith("- ") and colon and name not in CRITERIA:
                about[name] = value.strip()
            self.at += 1
        return about, notes

    def _entry(self, number: int, models: list[str]) -> Entry:
        start = self.at
        if self._line() != f"## Prompt {number}":
            raise self.fail(f"`{self._line()}`, expected `## Prompt {number}`")
        self.at += 1
        prompt, answers, points = None, dict[str, str](), dict[str, Points]()
        label: str | None = None
        while self.at < len(self.lines) and not self._line().startswith("## "):
            line = self._line()
            if fence := _FENCE.match(line):
                text = self._fenced(fence[1])
                if label is not None:
                    answers[label], label = text, None
                elif prompt is None:
                    prompt = text
                continue
            if line.startswith("### "):
                label = self._known(line.removeprefix("### "), models, answers)
            elif line.lstrip().startswith("|"):
                self._row(line, number, models, points)
            self.at += 1
        for what, found in (("answer", answers), ("row of points", points)):
            if missing := [name for name in models if name not in found]:
                raise self.fail(f"prompt {number} has no {what} of {', '.join(missing)}", start)
        return Entry(prompt or "", answers, {name: points[name] for name in models})

    def _fenced(self, fence: str) -> str:
        start = self.at
        self.at += 1
        lines = []
        while self.at < len(self.lines) and self._line() != fence:
            lines.append(self._line())
            self.at += 1
        if self.at == len(self.lines):
            raise self.fail(f"the text that begins here has no end: `{fence}`", start)
        self.at += 1
        return "\n".join(lines)

    def _known(self, name: str, models: list[str], before: Mapping[str, object]) -> str:
        if name not in models:
            raise self.fail(f"`{name}` is no model of this form; it has {', '.join(models)}")
        if name in before:
            raise self.fail(f"`{name}` is here a second time")
        return name

    def _row(self, line: str, number: int, models: list[str], points: dict[str, Points]) -> None:
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if tuple(cells) == _HEADER or _RULE.fullmatch(line):
            return
        if not line.rstrip().endswith("|") or len(cells) != len(_HEADER):
            raise self.fail(f"{len(cells)} cells between `|`, expected {len(_HEADER)}: {', '.join(_HEADER)}")
        name = self._known(cells[0], models, points)
        points[name] = {
            criterion: self._points(cell, f"prompt {number}, {name}, {criterion}")
            for criterion, cell in zip(CRITERIA, cells[1:], strict=True)
        }

    def _points(self, cell: str, where: str) -> int | None:
        if not cell:
            return None
        if cell not in [str(value) for value in range(LOWEST, HIGHEST + 1)]:
            raise self.fail(f"{where} is `{cell}`; points are whole, {LOWEST} to {HIGHEST}, or the cell is empty")
        return int(cell)
