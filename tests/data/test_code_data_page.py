"""The rows and problems shown in docs/code-data.md are such, and what it says of names and numbers holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from curricle.data.code_rows import check_row
from curricle.data.prepare import CODE
from curricle.data.prepare.levels import level_of_rating
from curricle.data.problems import problem_of_row
from curricle.experiments.named_data import STAGES, Sampling

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "code-data.md").read_text(encoding="utf-8")


def shown() -> list[Any]:
    """The JSON values of all JSON blocks, one after another."""
    values, decoder = [], json.JSONDecoder()
    for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        rest = re.sub(r"\n\s*", " ", block).strip()
        while rest:
            value, end = decoder.raw_decode(rest)
            values.append(value)
            rest = rest[end:].strip()
    return values


def test_rows_and_problems_shown_are_such() -> None:
    row, *problems = shown()
    assert check_row(row).metadata.difficulty == level_of_rating(2100) == 6
    assert [problem_of_row(problem).task_id for problem in problems] == ["76_B. Mice", "MBPP/11", "HumanEval/0"]


def test_sets_options_and_stages_shown_are_those_there_are() -> None:
    assert [name for name in CODE if f"| `{name}` |" not in PAGE] == []
    for option in Sampling.model_fields:
        assert f"`{option}`" in PAGE
    numbers = [f"{settings['n_samples']:,}" for settings in STAGES.values()]
    assert [number for number in numbers if number not in PAGE] == []


def test_the_ratings_of_the_bins_are_those_shown() -> None:
    assert [level_of_rating(rating) for rating in (1474, 1475.1, 2554, 2555.1)] == [3, 4, 7, 8]
