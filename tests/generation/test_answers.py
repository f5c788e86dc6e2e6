"""One generation for all metrics: written as it goes, gone on with after a kill, never taken from another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from curricle.data.config import DataConfig
from curricle.data.prompts import Prompts, make_prompts
from curricle.data.schema import Example, Where
from curricle.errors import ModelError
from curricle.generation.answers import Answer, answer, in_words, model_fingerprint, speculation_of
from curricle.generation.config import GenerationConfig
from curricle.models.mtp.making import add_heads
from curricle.models.nano import train_tokenizer
from curricle.runtime.files import read_json
from support import model as nano_model

TOKENIZER = train_tokenizer(["a b c d e f g h i j"], 300)
VOCABULARY = len(TOKENIZER)
CONFIG = GenerationConfig(batch_size=3)
DRAFTING = GenerationConfig(batch_size=3, speculative=True)


def prompts(num: int = 10, max_new_tokens: int = 12) -> Prompts:
    rows = [
        Example(
            "plain",
            f"{i:016d}",
            Where("dev.jsonl", i + 1),
            prompt="abcdefghij"[i % 7 :] * (1 + i % 4),
            references=("c d", "e"),
        )
        for i in range(num)
    ]
    return make_prompts(rows, TOKENIZER, DataConfig(train="dev.jsonl"), max_new_tokens)


def model(seed: int = 0, **shape: Any) -> Any:
    made = nano_model("llama", seed=seed, vocab_size=VOCABULARY, **shape)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4.0)
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def counted(made: Any) -> list[int]:
    """The number of prompts of each pass over a model that reads prompts."""
    read: list[int] = []

    def see(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] > 1:
            read.append(kwargs["input_ids"].shape[0])

    made.register_forward_pre_hook(see, with_kwargs=True)
    return read


def test_answers_come_in_the_order_of_the_data_and_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "samples_eval.jsonl"
    asked = prompts()
    answers = answer(model(), TOKENIZER, asked, CONFIG, path)
    assert [made.id for made in answers] == [prompt.id for prompt in asked]
    assert [Answer(**line) for line in lines(path)] == answers
    assert set(lines(path)[0]) == {"id", "prompt", "prediction", "references", "num_tokens", "finished"}
    assert answers[3].prompt == asked[3].text == "defghij" * 4
    assert answers[3].references == ["c d", "e"]
    assert len({made.prediction for made in answers}) > 5
    assert all(made.finished == (made.num_tokens < 12) for made in answers)
    assert answers == answer(model(), TOKENIZER, asked, GenerationConfig(batch_size=1))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["samples_eval.jsonl", "samples_eval.meta.json"]
    assert read_json(tmp_path / "samples_eval.meta.json")["num_prompts"] == 10


def test_what_is_there_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file as a kill leaves it: some lines in any order, the last one half written."""
    path, asked = tmp_path / "samples_eval.jsonl", prompts()
    whole = answer(model(), TOKENIZER, asked, CONFIG, path)
    written = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([written[7], written[2], written[5], written[0][:40]]))
    again = model()
    read = counted(again)
    assert answer(again, TOKENIZER, asked, GenerationConfig(batch_size=16), path) == whole
    assert sum(read) == 7
    assert path.read_bytes() == b"".join(written)
    assert "3 of 10 answers are there, going on with the rest" in capsys.readouterr().err
    assert answer(again, TOKENIZER, asked, CONFIG, path) == whole
    assert sum(read) == 7


def test_lines_are_in_the_file_before_the_end(tmp_path: Path) -> None:
    path, asked, made = tmp_path / "samples_eval.jsonl", prompts(), model()
    whole = answer(model(), TOKENIZER, asked, CONFIG)
    calls: list[int] = []

    def die(module: Any, args: Any) -> None:
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt

    made.register_forward_pre_hook(die)
    with pytest.raises(KeyboardInterrupt):
        answer(made, TOKENIZER, asked, CONFIG, path)
    left = lines(path)
    assert 0 < len(left) < 10
    again = model()
    read = counted(again)
    assert answer(again, TOKENIZER, asked, CONFIG, path) == whole
    assert sum(read) == 10 - len(left)


@pytest.mark.parametrize("other", ["model", "prompts", "settings", "seed"])
def test_answers_of_anything_else_are_not_taken(other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "samples_eval.jsonl"
    drawing = GenerationConfig(temperature=1.0)
    answer(model(), TOKENIZER, prompts(), drawing, path)
    before = path.read_bytes()
    changes: dict[str, Any] = {"model": model(seed=1)} if other == "model" else {}
    asked = prompts()
    if other == "prompts":
        asked = replace(asked, items=[replace(prompt, tokens=prompt.tokens[1:]) for prompt in asked])
    config = GenerationConfig(temperature=1.0, top_k=3) if other == "settings" else drawing
    answer(changes.get("model", model()), TOKENIZER, asked, config, path, seed=int(other == "seed"))
    assert path.read_bytes() != before
    assert "answers of another model, other prompts or settings; they are made anew" in capsys.readouterr().err


def test_a_row_that_stands_twice_is_answered_twice(tmp_path: Path) -> None:
    path = tmp_path / "samples_eval.jsonl"
    asked = prompts(4)
    twice = Prompts([*asked.items, asked[1]], asked.stop_ids, asked.max_new_tokens)
    answers = answer(model(), TOKENIZER, twice, CONFIG, path)
    assert answers[4] == answers[1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:3]))
    assert answer(model(), TOKENIZER, twice, CONFIG, path) == answers


def test_num_examples_answers_the_first_rows(tmp_path: Path) -> None:
    answers = answer(model(), TOKENIZER, prompts(), GenerationConfig(num_examples=3), tmp_path / "samples_eval.jsonl")
    assert [made.id for made in answers] == [prompt.id for prompt in prompts(3)]


def test_more_examples_keep_the_answers_of_the_first(tmp_path: Path) -> None:
    path, made = tmp_path / "samples_eval.jsonl", model()
    read = counted(made)
    few, many = GenerationConfig(num_examples=4), GenerationConfig(num_examples=9)
    first = answer(made, TOKENIZER, prompts(), few, path)
    assert sum(read) == 4
    more = answer(made, TOKENIZER, prompts(), many, path)
    assert sum(read) == 9
    assert more[:4] == first
    assert more == answer(model(), TOKENIZER, prompts(), many)
    assert answer(made, TOKENIZER, prompts(), few, path) == first
    assert sum(read) == 9


def test_each_prompt_is_told_apart_by_its_own_tokens(tmp_path: Path) -> None:
    """One prompt is another, and one has other references: the first alone is answered again."""
    path, made, asked = tmp_path / "samples_eval.jsonl", model(), prompts(6)
    answer(made, TOKENIZER, asked, CONFIG, path)
    items = list(asked.items)
    items[2] = replace(items[2], tokens=items[2].tokens[1:])
    items[4] = replace(items[4], references=("new",))
    read = counted(made)
    again = answer(made, TOKENIZER, replace(asked, items=items), CONFIG, path)
    assert sum(read) == 1
    assert again[4].references == ["new"]
    assert again == answer(model(), TOKENIZER, replace(asked, items=items), CONFIG)


@pytest.mark.parametrize("limit", [3, 20])
def test_another_limit_keeps_the_answers_that_ended_before_it(limit: int, tmp_path: Path) -> None:
    """As num_examples sets it, where nothing else does: the longest target of the rows that are asked."""
    path, made = tmp_path / "samples_eval.jsonl", model()
    made.generation_config.eos_token_id = list(range(0, VOCABULARY, 13))  # so that some end soon
    before = answer(made, TOKENIZER, prompts(), CONFIG, path)
    kept = sum(one.finished and one.num_tokens < limit for one in before)
    assert 0 < kept < 10
    read = counted(made)
    after = answer(made, TOKENIZER, prompts(max_new_tokens=limit), CONFIG, path)
    assert sum(read) == 10 - kept
    assert after == answer(made, TOKENIZER, prompts(max_new_tokens=limit), CONFIG)


def test_no_answer_goes_beyond_the_models_positions(capsys: pytest.CaptureFixture[str]) -> None:
    asked = prompts()
    longest = max(len(prompt.tokens) for prompt in asked)
    answers = answer(model(max_position_embeddings=longest + 2), TOKENIZER, asked, CONFIG)
    assert max(made.num_tokens + len(prompt.tokens) for made, prompt in zip(answers, asked, strict=True)) <= longest + 2
    assert f"answers may have fewer than 12 tokens: the model has {longest + 2} positions" in capsys.readouterr().err
    with pytest.raises(
        ModelError, match=rf"a prompt of {longest} tokens leaves no room for an answer in a model of 20"
    ):
        answer(model(max_position_embeddings=20), TOKENIZER, asked, CONFIG)


def test_the_models_own_end_tokens_count() -> None:
    made, asked = model(), prompts()
    longest = max(answer(made, TOKENIZER, asked, CONFIG), key=lambda one: one.num_tokens)
    assert longest.num_tokens > 0
    first = TOKENIZER(longest.prediction, add_special_tokens=False)["input_ids"][0]
    made.generation_config.eos_token_id = [first, 3]
    assert all(first not in TOKENIZER(one.prediction)["input_ids"] for one in answer(made, TOKENIZER, asked, CONFIG))


def test_a_fingerprint_tells_models_apart_and_nothing_else() -> None:
    one, same, other = model(), model(), model()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1e-6)
    assert model_fingerprint(one) == model_fingerprint(same) != model_fingerprint(other)
    one.eval()
    assert model_fingerprint(one) == model_fingerprint(same)
    assert model_fingerprint(one.to(torch.bfloat16)) != model_fingerprint(same)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_stop_text_ends_an_answer_and_changes_nothing_before_it(batch_size: int) -> None:
    asked = prompts(max_new_tokens=24)
    free = answer(model(), TOKENIZER, asked, CONFIG)
    stop = free[2].prediction[3:6]
    stopped = replace(asked, items=[replace(prompt, stop_texts=("never", stop)) for prompt in asked])
    ended = answer(model(), TOKENIZER, stopped, GenerationConfig(batch_size=batch_size))
    assert any(one.num_tokens < other.num_tokens for one, other in zip(ended, free, strict=True))
    for one, other in zip(ended, free, strict=True):
        before, found, after = one.prediction.partition(stop)
        assert other.prediction.startswith(before + found)
        assert one.finished == (bool(found) or other.finished)
        assert len(after) <= 1 or one == other  # a token may hold more than the text asked for


def test_answers_of_other_stop_texts_are_made_again(tmp_path: Path) -> None:
    asked, path = prompts(), tmp_path / "samples_eval.jsonl"
    free = answer(model(), TOKENIZER, asked, CONFIG, path)
    stop = free[2].prediction[3:6]
    stopped = replace(asked, items=[replace(prompt, stop_texts=(stop,)) for prompt in asked])
    assert answer(model(), TOKENIZER, stopped, CONFIG, path) == answer(model(), TOKENIZER, stopped, CONFIG)


def test_how_drafts_fared_stands_beside_the_answers(tmp_path: Path) -> None:
    path, asked = tmp_path / "samples_eval.jsonl", prompts()
    made = add_heads(model(num_hidden_layers=3), 3)
    drafted = answer(made, TOKENIZER, asked, DRAFTING, path)
    found = speculation_of(path)
    assert found is not None
    assert len(found["acceptance"]) == 2
    assert 1 <= found["tokens_per_call"] <= 3
    assert found["tokens"] == round(found["tokens_per_call"] * found["calls"])
    assert in_words(found).startswith(f"{found['tokens_per_call']:.2f} tokens a call; drafts stood in ")
    assert answer(made, TOKENIZER, asked, DRAFTING, path) == drafted
    assert speculation_of(path) == found  # nothing was made anew
    never = GenerationConfig(batch_size=3, speculative=False)
    assert answer(made, TOKENIZER, asked, never, path) == drafted
    assert answer(made, TOKENIZER, asked, never, tmp_path / "plain.jsonl") == drafted
    assert speculation_of(tmp_path / "plain.jsonl") is None


def test_counts_of_a_run_that_was_cut_off_are_added_to(tmp_path: Path) -> None:
    path, made = tmp_path / "samples_eval.jsonl", add_heads(model(num_hidden_layers=3), 3)
    answer(made, TOKENIZER, prompts(), DRAFTING, tmp_path / "whole.jsonl")
    whole = speculation_of(tmp_path / "whole.jsonl")
    answer(made, TOKENIZER, prompts(4), DRAFTING, path)
    first = speculation_of(path)
    answer(made, TOKENIZER, prompts(), DRAFTING, path)
    assert first is not None
    assert whole is not None
    assert speculation_of(path) == whole
    assert first["calls"] < whole["calls"]


def test_drawn_answers_are_not_gone_on_with_otherwise(tmp_path: Path) -> None:
    """Drafts change which tokens are drawn, though not how likely they are."""
    path, made = tmp_path / "samples_eval.jsonl", add_heads(model(num_hidden_layers=3), 3)
    first = answer(made, TOKENIZER, prompts(), GenerationConfig(temperature=1.0, speculative=True), path)
    other = answer(made, TOKENIZER, prompts(), GenerationConfig(temperature=1.0, speculative=False), path)
    assert [one.prediction for one in first] != [one.prediction for one in other]
    assert speculation_of(path) is None
