"""Bits and walk against the plain table."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.evaluation.lcs import union_of_common


def plain_walk(rows: str, cols: str) -> set[int]:
    """The columns of one longest common subsequence, by the table and the rule in the module's docstring."""
    table = [[0] * (len(cols) + 1) for _ in range(len(rows) + 1)]
    for i, row in enumerate(rows, 1):
        for j, col in enumerate(cols, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if row == col else max(table[i - 1][j], table[i][j - 1])
    i, j, found = len(rows), len(cols), set()
    while i and j:
        if rows[i - 1] == cols[j - 1]:
            i, j = i - 1, j - 1
            found.add(j)
        elif table[i][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    assert len(found) == table[-1][-1]
    return found


words = st.text("abcd", max_size=12)


@settings(deadline=None)
@given(st.lists(words, max_size=4), words)
def test_the_same_places_as_the_plain_table(sentences: list[str], cols: str) -> None:
    expected = set().union(*(plain_walk(rows, cols) for rows in sentences))
    assert union_of_common(sentences, cols) == sorted(expected)


def test_which_of_two_longest_is_read_out() -> None:
    assert union_of_common(["ba"], "ab") == [0]
    assert union_of_common(["ab"], "ba") == [0]
    assert union_of_common(["ba", "b"], "ab") == [0, 1]


def test_a_sentence_longer_than_a_machine_word() -> None:
    assert union_of_common(["ab" * 700], "ab" * 700) == list(range(1400))
