from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curricle.data.table import EncodedExample, TableWriter, TokenTable
from curricle.errors import DataError


def examples() -> list[EncodedExample]:
    """The drawing of the module: three examples, end to end."""
    rows = [
        ("aaaa", [1, 2, 10, 0], [0, 0, 1, 1], "news"),
        ("bbbb-0", [3, 20, 0], [0, 1, 1], None),
        ("bbbb-12", [4, 5, 30, 31, 0], [0, 0, 1, 1, 1], "news"),
    ]
    return [
        EncodedExample(name, np.array(tokens, np.uint32), np.array(learned, bool), domain, source=i)
        for i, (name, tokens, learned, domain) in enumerate(rows)
    ]


def written(folder: Path) -> TokenTable:
    writer = TableWriter(folder)
    writer.append(examples()[:2])
    writer.append(examples()[2:])
    writer.close({"rows": 3})
    return TokenTable.load(folder)


def test_a_table_reads_as_it_was_written(tmp_path: Path) -> None:
    table = written(tmp_path)
    assert isinstance(table.tokens, np.memmap)
    assert table.tokens.tolist() == [1, 2, 10, 0, 3, 20, 0, 4, 5, 30, 31, 0]
    assert table.offsets.tolist() == [0, 4, 7, 12]
    assert table.lengths.tolist() == [4, 3, 5]
    assert table.num_supervised.tolist() == [2, 2, 3]
    assert len(table) == 3
    assert list(table.ids) == ["aaaa", "bbbb-0", "bbbb-12"]
    assert table.ids[1:] == ["bbbb-0", "bbbb-12"]
    assert table.ids[np.array([2, 0])] == ["bbbb-12", "aaaa"]
    assert [table.domain_names[d] for d in table.domains] == ["news", "(none)", "news"]
    assert table.sources.tolist() == [0, 1, 2]
    assert table.report == {"rows": 3}
    tokens, supervised = table.example(1)
    assert (tokens.tolist(), supervised.tolist()) == ([3, 20, 0], [False, True, True])


def test_a_table_in_memory_equals_the_one_on_disk(tmp_path: Path) -> None:
    mapped, held = written(tmp_path), TokenTable.from_examples(examples())
    for name in ("tokens", "supervised", "offsets", "num_supervised", "domains", "sources"):
        column, other = getattr(mapped, name), getattr(held, name)
        assert column.dtype == other.dtype
        np.testing.assert_array_equal(column, other)
    assert list(mapped.ids) == list(held.ids)
    assert mapped.domain_names == held.domain_names


@pytest.mark.parametrize("taken", [[1, 0, 1], [0, 1, 0], [1, 1, 1]], ids=str)
def test_some_examples_of_a_table(tmp_path: Path, taken: list[int]) -> None:
    some = written(tmp_path).select(np.array(taken, dtype=bool))
    alone = TokenTable.from_examples([one for one, is_taken in zip(examples(), taken, strict=True) if is_taken])
    for name in ("tokens", "supervised", "offsets", "num_supervised", "sources"):
        np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))
    assert list(some.ids) == list(alone.ids)
    assert [some.domain_names[d] for d in some.domains] == [
        one.domain or "(none)" for one in examples() if one.id in list(some.ids)
    ]


def test_labels_repeat_the_tokens_or_hide_them() -> None:
    table = TokenTable.from_lists([[5, 6, 7], [8, 9]], [[-100, 6, -100], [8, 9]], ids=["x", "y"])
    assert table.supervised.tolist() == [False, True, False, False, True]
    assert table.domain_names == []
    with pytest.raises(DataError, match=r"example 0: label 7 at place 1 is not its token 6"):
        TokenTable.from_lists([[5, 6, 7]], [[-100, 7, -100]])
    with pytest.raises(DataError, match=r"example 0: 3 input_ids but 2 labels"):
        TokenTable.from_lists([[5, 6, 7]], [[-100, 6]])


def test_the_first_token_of_an_example_is_never_learned() -> None:
    table = TokenTable.from_lists([[5, 6], [7, 8, 9]], [[5, 6], [7, 8, 9]])
    assert table.supervised[table.offsets[:-1]].tolist() == [False, False]
    assert table.num_supervised.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("marks", "learned"),
    [
        ({}, [0, 1, 1, 1]),
        ({"labels": [-100, -100, 7, 8]}, [0, 0, 1, 1]),
        ({"completion_mask": [0, 1, 1, 1]}, [0, 1, 1, 1]),
        ({"assistant_masks": [0, 0, 1, 0]}, [0, 0, 1, 0]),
        ({"completion_mask": [0, 1, 1, 0], "assistant_masks": [0, 0, 1, 1]}, [0, 0, 1, 0]),
        ({"labels": None, "completion_mask": [0, 0, 0, 1]}, [0, 0, 0, 1]),
    ],
)
def test_rows_as_other_libraries_write_them(marks: dict[str, list[int]], learned: list[int]) -> None:
    table = TokenTable.from_rows([{"input_ids": [5, 6, 7, 8], **marks}])
    assert table.supervised.astype(int).tolist() == learned


def test_a_table_without_anything_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to learn: none of the 2 examples"):
        TokenTable.from_lists([[5, 6], [7]], [[-100, -100], [7]])
    writer = TableWriter(tmp_path)
    writer.append([EncodedExample("a", np.array([5], np.uint32), np.array([True]))])
    with pytest.raises(DataError, match="nothing to learn"):
        writer.close({})
    with pytest.raises(DataError, match="no examples"):
        TokenTable.from_lists([], [])


def test_an_id_too_long_for_its_column_is_refused(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path)
    with pytest.raises(DataError, match="longer than 32 bytes"):
        writer.append([EncodedExample("x" * 33, np.array([5, 6], np.uint32), np.array([False, True]))])
    writer.abandon()


def test_the_head_of_a_table_shares_its_memory() -> None:
    table = TokenTable.from_lists([[1, 2, 3], [4, 5], [6, 7, 8, 9]], [[-100, 2, 3], [-100, 5], [-100, -100, 8, 9]])
    head = table.head(2)
    assert len(head) == 2
    assert head.lengths.tolist() == [3, 2]
    assert head.ids[:] == table.ids[:2]
    assert np.shares_memory(head.tokens, table.tokens)
    assert len(table.head(99)) == 3


def bringing() -> list[EncodedExample]:
    """The same, with a reward for two, a weight for each token, and the end of the second cut off."""
    rewards, cut = (1.0, None, 0.0), (False, True, False)
    return [
        replace(
            one, reward=rewards[i], truncated=cut[i], token_weights=np.arange(len(one.tokens), dtype=np.float32) + i
        )
        for i, one in enumerate(examples())
    ]


def test_what_rows_bring_is_kept_only_when_some_do(tmp_path: Path) -> None:
    plain = written(tmp_path)
    assert (plain.rewards, plain.truncated, plain.token_weights) == (None, None, None)
    assert not (tmp_path / "rewards.bin").exists()
    assert TokenTable.from_examples(examples()).rewards is None


@pytest.mark.parametrize("mapped", [True, False])
def test_what_rows_bring(tmp_path: Path, mapped: bool) -> None:
    table = TokenTable.from_examples(bringing())
    if mapped:
        writer = TableWriter(tmp_path)
        writer.append(bringing()[:1])
        writer.append(bringing()[1:])
        writer.close({})
        table = TokenTable.load(tmp_path)
    some = table.select(np.array([False, True, True]))
    for part, first in ((table, 0), (some, 1), (table.head(2), 0)):
        num = len(part)
        assert part.rewards is not None
        assert part.truncated is not None
        assert part.token_weights is not None
        np.testing.assert_array_equal(part.rewards, np.array([1, np.nan, 0], np.float32)[first : first + num])
        assert part.truncated.tolist() == [False, True, False][first : first + num]
        expected = np.concatenate([one.token_weights for one in bringing()[first : first + num] if one is not None])
        np.testing.assert_array_equal(part.token_weights, expected)


def test_weights_of_some_examples_only_are_refused(tmp_path: Path) -> None:
    mixed = [*examples()[:1], *bringing()[1:]]
    with pytest.raises(DataError, match="token weights for 8 of 12 tokens"):
        TokenTable.from_examples(mixed)
    writer = TableWriter(tmp_path)
    writer.append(mixed)
    with pytest.raises(DataError, match="token weights for 8 of 12 tokens"):
        writer.close({})
