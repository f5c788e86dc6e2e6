"""Longest common subsequences of lists of words, in bits: a row of the table is one integer.

    rows  the cat sat         lengths, a row for each word of `rows`, and the row's state:
    cols  the dog sat         bit j, from the right, is 0 where the length grows at column j

               the dog sat    state
    the         1   1   1     1 1 0
    cat         1   1   1     1 1 0
    sat         1   1   2     0 1 0        read out: "sat", "the"

Where several subsequences are longest, which one is read out matters to a union of them (ROUGE-Lsum). Walking back
from the last corner a match is always taken; else the walk goes up where the length grew along the row, and left where
it did not. rouge-score walks so with the prediction as rows, `rouge` 1.0.1 with the reference as rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def union_of_common(sentences: Iterable[Sequence[Hashable]], cols: Sequence[Hashable]) -> list[int]:
    """The places in `cols` that are on a longest common subsequence with one of the sentences."""
    places: dict[Hashable, int] = {}
    for j, word in enumerate(cols):
        places[word] = places.get(word, 0) | 1 << j
    full = (1 << len(cols)) - 1
    union = 0
    for rows in sentences:
        matches = [places.get(word, 0) for word in rows]
        if any(matches):
            union |= _walk_back(matches, full)
    return [j for j in range(len(cols)) if union >> j & 1]


def _walk_back(matches: list[int], full: int) -> int:
    """One longest common subsequence as bits; `matches` has the columns equal to each row's word."""
    state, states = full, []
    for match in matches:
        same = state & match
        state = (state + same | state - same) & full
        states.append(state)

    found, ahead = 0, full  # `ahead`: the columns that the walk has not passed
    for state, match in zip(reversed(states), reversed(matches), strict=True):
        stop = (~state | match) & ahead
        if not stop:  # nothing matches in what is left of this row, nor in those above
            break
        here = 1 << stop.bit_length() - 1
        if match & here:
            found |= here
            ahead = here - 1
        else:
            ahead = 2 * here - 1
    return found
