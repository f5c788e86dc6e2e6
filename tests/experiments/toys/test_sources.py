"""Made-up rows: the same for everybody, none twice, none in both sets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from curricle.data.config import DataConfig, Source
from curricle.data.sources import read_examples
from curricle.errors import RecipeError
from curricle.experiments.code.problems import find_problems
from curricle.experiments.toys.sources import place_sources, toy_rows
from curricle.experiments.toys.world import Meeting, Outcome, Scene, summary_of


def test_rows() -> None:
    rows, held_out = toy_rows("dialogue", 400), toy_rows("dialogue-eval", 100)
    assert toy_rows("dialogue", 400) == rows
    assert toy_rows("dialogue", 50) == rows[:50]
    assert toy_rows("dialogue", 50, seed=1) != rows[:50]
    assert len({row["dialogue"] for row in rows + held_out}) == 500
    assert 150 < sum(row["language"] == "ko" for row in rows) < 250
    assert 150 < sum(row["domain"] == "work" for row in rows) < 250
    endings = {row["summary"].rpartition(" ")[2] for row in rows}
    assert {"정한다.", "거절한다.", "cannot."} <= endings


@pytest.mark.parametrize("seed", [0, 1])
def test_no_dialogue_is_in_two_sets_whatever_the_seeds(seed: int) -> None:
    held_out = {row["dialogue"] for row in toy_rows("dialogue-eval", 300)}
    assert not held_out & {row["dialogue"] for row in toy_rows("dialogue", 2_000, seed)}
    assert not held_out & {row["text"] for row in toy_rows("text", 2_000, seed)}


def test_the_difficulties_take_turns_and_mean_longer_dialogues_and_summaries() -> None:
    rows = toy_rows("dialogue", 500)
    assert [row["difficulty"] for row in rows] == [1, 2, 3, 4, 5] * 100
    turns = [_mean(row["dialogue"].count("\n") + 1 for row in rows[level::5]) for level in range(5)]
    assert turns == sorted(turns)
    assert turns[0] == 3
    assert turns[4] > 12
    sentences = [_mean(row["summary"].count(".") for row in rows[level::5]) for level in range(5)]
    assert sentences == [1, 1, 1, 2, 3]


def _mean(values: Iterable[int]) -> float:
    held = list(values)
    return sum(held) / len(held)


def test_a_summary_follows_from_its_dialogue() -> None:
    for row in toy_rows("dialogue", 300):
        for keyword in row["keywords"]:
            assert keyword in row["dialogue"]
            assert keyword in row["summary"]
        assert set(re.findall(r"\d+", row["summary"])) <= set(re.findall(r"\d+", row["dialogue"]))
        assert bool(re.search("[가-힣]", row["summary"])) == (row["language"] == "ko")


@pytest.mark.parametrize(
    ("outcome", "summary", "korean"),
    [
        ("agreed", "will cook at home on Monday at 1.", "월요일 1시 공원 요리 약속을 정한다."),
        ("later", "will cook at home on Monday at 2.", "월요일 2시 공원 요리 약속을 정한다."),
        ("twice", "will cook at home on Monday at 3.", "월요일 3시 공원 요리 약속을 정한다."),
        ("moved", "will cook at home on Friday at 1.", "금요일 1시 공원 요리 약속을 정한다."),
        ("refused", "#Person2# wants to cook at home on Monday, but #Person1# cannot.", "#Person1#은 거절한다."),
    ],
)
def test_what_counts_is_the_last_that_was_said(outcome: Outcome, summary: str, korean: str) -> None:
    english = Meeting(2, "cook", "home", "Monday", 1, outcome, "Friday", 2, 3, "Yes.")
    scene = Scene("en", "leisure", 2, (english,), ())
    assert summary_of(scene).endswith(summary)
    translated = replace(english, what="요리", where="공원", day="월요일", other_day="금요일")
    assert summary_of(replace(scene, language="ko", meetings=(translated,))).endswith(korean)


def test_plain_text_holds_no_summary_of_a_dialogue() -> None:
    texts = " ".join(row["text"] for row in toy_rows("text", 400))
    assert not any(row["summary"] in texts for row in toy_rows("dialogue", 400) + toy_rows("dialogue-eval", 200))


def test_more_than_there_are() -> None:
    with pytest.raises(RecipeError, match="different rows; 1,000,000 were asked for"):
        toy_rows("dialogue", 1_000_000)


def test_placed_as_files_that_are_read_like_any_other() -> None:
    asked = DataConfig(
        train=["toy:dialogue#7", Source(path="toy:dialogue", weight=2, rows=3), "mine.jsonl"],
        eval="toy:dialogue-eval#2",
        format="dialogue",
    )
    placed = place_sources(asked)
    first, second, third = placed.sources("train")
    assert (second.weight, second.rows, third.path) == (2, None, "mine.jsonl")
    assert Path(first.path).is_file()
    assert place_sources(asked) == placed
    examples = list(read_examples(placed, "eval"))
    assert [example.target for example in examples] == [row["summary"] for row in toy_rows("dialogue-eval", 2)]
    assert all(example.units for example in examples)


def test_other_data_stays_as_it_is() -> None:
    config = DataConfig(train=["a.jsonl", "b.jsonl#4"])
    assert place_sources(config) == config


def test_contest_solutions_and_problems_are_placed_like_other_data() -> None:
    rows, right = toy_rows("contest", 40), toy_rows("contest-easy", 40)
    assert sum(row["is_correct"] for row in rows) == 20
    assert all(row["is_correct"] and row["metadata"]["difficulty"] <= 4 for row in right)
    mixed = toy_rows("contest-mixed", 40)
    assert [row["is_correct"] for row in mixed] == [False, True] * 20
    assert all(row["metadata"]["difficulty"] <= 4 for row in mixed)
    assert not {row["instruction"] for row in mixed} & {
        row["instruction"] for row in toy_rows("contest-mixed-eval", 40)
    }
    placed = place_sources(DataConfig(train="toy:contest#40", eval="toy:contest-eval#8", format="alpaca"))
    assert [example.target for example in read_examples(placed, "train")] == [row["output"] for row in rows]
    problems = find_problems("toy:contest-problems#8")
    asked = {f"{row['instruction']}\n{row['input']}" for row in toy_rows("contest-eval", 8)}
    assert asked <= {problem.prompt for problem in problems.by_id.values()}
    easy = find_problems("toy:contest-problems-easy#8").by_id.values()
    assert all(problem.difficulty <= 4 for problem in easy)
    with pytest.raises(RecipeError, match="did you mean `contest-problems`"):
        find_problems("toy:contest-problem")
