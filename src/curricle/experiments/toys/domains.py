"""Five small domains, for experts and what is made of them: each has its own kind of prompt and answer.

    minutes   an English transcript       -> who agreed to what, where and when
    korean    a Korean transcript         -> the same
    records   a story, in either language -> its facts as a record, a line each
    code      a programming problem       -> a program
    sums      a sum in words              -> its working, step by step

The first three share the world of the other toy data, so that experts have something in common; the last two do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count, cycle
from typing import Any

from ...runtime.seeds import numpy_generator
from ..contest import contest_rows
from .world import DIFFICULTIES, Language, Scene, dialogue_of, draw_scene, story_of, summary_of

Row = dict[str, Any]
CODE_ROWS = 3_000
"""So many different right programs of easy problems there are."""
_SIMPLE = DIFFICULTIES[:3]  # one meeting each: a short answer


def domain_rows(name: str, seed: int = 0) -> Iterator[Row]:
    """Rows with `prompt`, `completion` and `domain`, none twice."""
    seen: set[str] = set()
    for prompt, completion in _DOMAINS[name](seed):
        if prompt + completion not in seen:
            seen.add(prompt + completion)
            yield {"prompt": prompt, "completion": completion, "domain": name}


def _minutes(seed: int, language: Language = "en") -> Iterator[tuple[str, str]]:
    for scene in _scenes(f"domains/{language}", seed):
        if scene.language == language:
            yield f"{dialogue_of(scene)}\n=>\n", summary_of(scene)


def _korean(seed: int) -> Iterator[tuple[str, str]]:
    return _minutes(seed, "ko")


def _records(seed: int) -> Iterator[tuple[str, str]]:
    for scene in _scenes("domains/records", seed):
        [meeting] = scene.meetings
        day, hour = meeting.final
        held = "no" if meeting.outcome == "refused" else "yes"
        facts = {"what": meeting.what, "where": meeting.where, "day": day, "hour": hour}
        yield f"{story_of(scene)}\n", "\n".join(f"{key}: {fact}" for key, fact in {**facts, "held": held}.items())


def _scenes(name: str, seed: int) -> Iterator[Scene]:
    chance = numpy_generator(seed, f"toys/{name}")
    for difficulty in cycle(_SIMPLE):
        yield draw_scene(chance, difficulty)


def _code(seed: int) -> Iterator[tuple[str, str]]:
    for row in contest_rows("train", CODE_ROWS, seed, 1.0, (1, 2, 3, 4)):
        yield f"{row['instruction']}\n{row['input']}\n", row["output"]


_NAMES = ("Ann", "Ben", "Cho", "Dora", "Emil", "Fay")
_THINGS = ("apples", "books", "coins", "stones", "shells", "pens")


def _sums(seed: int) -> Iterator[tuple[str, str]]:
    chance = numpy_generator(seed, "toys/domains/sums")
    for _ in count():
        name, thing = str(chance.choice(_NAMES)), str(chance.choice(_THINGS))
        has, gets, gives = (int(number) for number in chance.integers(1, 40, 3))
        asked = f"{name} has {has} {thing}, gets {gets} more and gives {min(gives, has)} away. How many are left?\n"
        total = has + gets
        yield asked, f"{has} + {gets} = {total}. {total} - {min(gives, has)} = {total - min(gives, has)}."


_DOMAINS: Mapping[str, Callable[[int], Iterator[tuple[str, str]]]] = {
    "minutes": _minutes,
    "korean": _korean,
    "records": _records,
    "code": _code,
    "sums": _sums,
}
DOMAINS = tuple(_DOMAINS)
