"""Rows with one answer, with several, and with none."""

from __future__ import annotations

from curricle.data.table import TokenTable
from curricle.evaluation.answers import last_answers


def test_the_last_answer_and_all_before_it() -> None:
    rows = [[1, 2, 3, 4, 5], [1, 2, 3, 4], [1, 2], [1, 2, 3, 4]]
    labels = [[-100, -100, 3, -100, 5], [-100, -100, 3, 4], [-100, -100], [-100, -100, 3, -100]]
    expected = [([1, 2, 3, 4], [5]), ([1, 2], [3, 4]), ([], []), ([1, 2], [3])]
    assert last_answers(TokenTable.from_lists(rows, labels)) == expected
