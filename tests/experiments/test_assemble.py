"""Arms that are to be compared share what they do not differ in: the held-out tokens, and a nano model's tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.experiments.material import Material, gather
from curricle.experiments.resolve import resolve

DATA = {"train": "toy:dialogue#12", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 600}


def material(**data: Any) -> Material:
    return gather(resolve({"model": {"name_or_path": "nano:llama"}, "data": DATA | data}).base)


def test_who_learns_prompts_too_is_judged_by_the_answers() -> None:
    answers, everything = material(), material(learn="all")
    assert everything.train.num_supervised.sum() > 2 * answers.train.num_supervised.sum()
    assert answers.eval is not None
    assert everything.eval is not None
    assert everything.eval.num_supervised.tolist() == answers.eval.num_supervised.tolist()
    assert list(everything.eval.ids[:]) == list(answers.eval.ids[:])


@pytest.mark.parametrize(
    "asked",
    [{"system_prompt": "Be brief."}, {"prompt": "plain", "question": "Summarize."}, {"keywords": "first"}],
)
def test_the_wording_around_a_dialogue_is_no_part_of_a_nano_tokenizer(asked: dict[str, Any]) -> None:
    assert material(**asked).tokenizer.get_vocab() == material().tokenizer.get_vocab()


def test_the_rows_are() -> None:
    assert material(train="toy:dialogue#13").tokenizer.get_vocab() != material().tokenizer.get_vocab()
