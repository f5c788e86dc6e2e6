"""Which held-out examples chrF is measured on, and where it cannot be."""

from __future__ import annotations

import pytest

from chat_tokenizers import tokenizer_with
from curricle.data.table import TokenTable
from curricle.errors import RecipeError
from curricle.evaluation.selection import chrf_on_subset, prompt_and_target


def test_an_example_is_split_at_its_last_learned_stretch() -> None:
    assert prompt_and_target([1, 2, 3, 4, 5], [False, False, True, False, True]) == ([1, 2, 3, 4], [5])
    assert prompt_and_target([1, 2, 3, 4], [False, True, True, False]) == ([1], [2, 3])
    assert prompt_and_target([1, 2], [False, False]) == ([], [])


def test_examples_that_are_learned_whole_have_no_prompt_to_answer() -> None:
    pytest.importorskip("sacrebleu")
    tokens = [[1, 2, 3, 4]] * 3
    whole = TokenTable.from_lists(tokens, [[-100, 2, 3, 4]] * 3)
    with pytest.raises(RecipeError, match=r"first 2 examples of `data.eval` have none: raw text, or `data.learn: all`"):
        chrf_on_subset(whole, tokenizer_with(None), num_examples=2)
    mixed = TokenTable.from_lists(tokens, [[-100, 2, 3, 4], [-100, -100, 3, 4], [-100, 2, 3, 4]])
    assert callable(chrf_on_subset(mixed, tokenizer_with(None), num_examples=2))
