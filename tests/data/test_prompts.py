"""A prompt is what training has before the same row's last answer, whether the row has an answer or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chat_tokenizers
from curricle.data.config import DataConfig
from curricle.data.encode import encode_examples
from curricle.data.prompts import SPARE, longest_target, make_prompts, prompt_and_target
from curricle.data.schema import Example, Message, Where
from curricle.data.sources import read_examples
from curricle.errors import DataError, RecipeError
from curricle.models.nano import train_tokenizer
from curricle.runtime.files import write_text

WHERE = Where("rows.jsonl", 1)
TURNS = [("user", "Hello there"), ("assistant", "Hi"), ("user", "Shall we eat?"), ("assistant", "Yes, at six.")]
NANO = train_tokenizer(["Shall we eat at six? Yes, see you there. [Conversation] [Question] 저녁을 먹고 갈게요."], 400)


def chat(turns: list[tuple[str, str]], row_id: str = "0" * 16) -> Example:
    messages = tuple(Message(role, content) for role, content in turns)
    references = (messages[-1].content,) if messages[-1].role == "assistant" else ()
    return Example("chat", row_id, WHERE, messages=messages, references=references)


def plain(prompt: str, completion: str | None, row_id: str = "0" * 16) -> Example:
    references = () if completion is None else (completion,)
    return Example("plain", row_id, WHERE, prompt=prompt, completion=completion, references=references)


def without_target(example: Example) -> Example:
    messages = example.messages[:-1] if example.messages else ()
    return replace(example, messages=messages, completion=None, references=())


def config(**changes: Any) -> DataConfig:
    return DataConfig(train="rows.jsonl", **{"max_length": 4096, **changes})


def trained_prompt(example: Example, tokenizer: Any, data: DataConfig) -> list[int] | None:
    """What the table of training has before the last answer; None when the template refuses the row."""
    try:
        table = encode_examples([example], tokenizer, data)
    except DataError:
        return None
    tokens, supervised = table.example(len(table) - 1)
    return prompt_and_target(tokens, supervised)[0].tolist()


@pytest.mark.parametrize("learn", ["every_turn", "last_turn"])
@pytest.mark.parametrize("name", chat_tokenizers.names())
def test_a_prompt_has_the_tokens_of_training_with_and_without_a_target(name: str, learn: str) -> None:
    tokenizer, data = chat_tokenizers.tokenizer_of(name), config(learn=learn)
    for turns in (TURNS[:2], TURNS):
        wanted = trained_prompt(chat(turns), tokenizer, data)
        if wanted is None:  # a template for answers that think
            thinking = [(role, f"<think>\nso\n</think>\n\n{text}") if role == "assistant" else (role, text)
                        for role, text in turns]  # fmt: skip
            example = chat(thinking)
            wanted = trained_prompt(example, tokenizer, data)
        else:
            example = chat(turns)
        assert wanted is not None
        asked = make_prompts([example], tokenizer, data)
        assert asked[0].tokens == wanted
        assert asked[0].references == (example.messages[-1].content,)
        unanswered = make_prompts([without_target(example)], tokenizer, data, max_new_tokens=20)
        assert unanswered[0].tokens == wanted
        assert (unanswered[0].text, unanswered[0].references) == (asked[0].text, ())


def test_a_plain_prompt_has_the_tokens_of_training() -> None:
    tokenizer = chat_tokenizers.tokenizer_with(None)
    example = plain("Shall we eat? ", "At six.")
    wanted = trained_prompt(example, tokenizer, config())
    assert make_prompts([example], tokenizer, config())[0].tokens == wanted
    asked = make_prompts([without_target(example)], tokenizer, config(), max_new_tokens=9)
    assert (asked[0].tokens, asked[0].text, asked.stop_ids) == (wanted, "Shall we eat? ", (tokenizer.eos_token_id,))


def test_the_system_prompt_and_typed_tokens_are_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_text(
        path,
        '{"messages": [{"role": "user", "content": "Hi <|im_end|> you"}, {"role": "assistant", "content": "Yes"}]}\n',
    )
    data = DataConfig(train=str(path), eval=str(path), system_prompt="Be brief.")
    example = next(iter(read_examples(data, "eval")))
    prompt = make_prompts(read_examples(data, "eval"), NANO, data)[0]
    assert prompt.tokens == trained_prompt(example, NANO, data)
    assert prompt.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi <|im_end|> you<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.tokens.count(NANO.eos_token_id) == 2


def dialogue(num_turns: int, summary: str | None = "They talk.") -> Example:
    units = tuple(f"#Person{1 + i % 2}#: utterance number {i}" for i in range(num_turns))
    example = Example(
        "chat", f"{num_turns:016d}", WHERE, units=units, prefix="[Conversation]\n", suffix="\n\n[Question]\nSum up."
    )
    messages = [Message("user", example.message_of(units))]
    if summary is not None:
        messages.append(Message("assistant", summary))
    return replace(example, messages=tuple(messages), references=() if summary is None else (summary,))


def test_a_long_prompt_loses_its_middle_and_leaves_room_for_the_longest_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = config(max_length=200)
    rows = [dialogue(2, "A rather long summary of the two of them talking for a while."), dialogue(30, "Short.")]
    prompts = make_prompts(rows, NANO, data)
    longest = longest_target(encode_examples(rows, NANO, data))
    assert prompts.max_new_tokens == longest + SPARE
    assert len(prompts[1].tokens) <= 200 - longest < len(prompts[1].tokens) + 20
    kept = prompts[1].example.units
    assert (kept[0], kept[-1]) == (rows[1].units[0], rows[1].units[-1])
    assert len(kept) < 30
    assert prompts[1].text.endswith("[Question]\nSum up.<|im_end|>\n<|im_start|>assistant\n")
    assert prompts[0].example == rows[0]
    said = capsys.readouterr().err
    assert f"the longest target has {longest}" in said
    assert f"1 prompt cut in the middle to fit into {200 - longest} tokens (first: rows.jsonl:1)" in said


def test_a_row_is_cut_alike_whatever_its_own_target() -> None:
    data = config(max_length=160)
    several = [make_prompts([dialogue(30, target)], NANO, data, 20, 20) for target in ("Short.", None)]
    assert several[0][0].tokens == several[1][0].tokens


def test_a_generous_limit_takes_no_room_from_the_prompt() -> None:
    data = config(max_length=160)
    assert (
        make_prompts([dialogue(30)], NANO, data, max_new_tokens=1000)[0].tokens
        == make_prompts([dialogue(30)], NANO, data)[0].tokens
    )


def test_what_cannot_be_asked_is_one_line() -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:1: raw text has no prompt to answer"):
        make_prompts([Example("text", "0" * 16, WHERE, text="abc")], NANO, config())
    with pytest.raises(RecipeError, match=r"set `generation.max_new_tokens`"):
        make_prompts([without_target(chat(TURNS))], NANO, config())
    with pytest.raises(DataError, match="no prompt to answer: there are no rows"):
        make_prompts([], NANO, config())
    with pytest.raises(RecipeError, match=r"data\.max_length 32 leaves no room for a prompt before an answer of 40"):
        make_prompts([without_target(chat(TURNS))], NANO, config(max_length=32), max_new_tokens=40)
    with pytest.raises(
        DataError, match=r"a prompt of \d+ tokens, and data.max_length 160 less 20 .* data.on_long: truncate"
    ):
        make_prompts([dialogue(30, None)], NANO, config(max_length=160, on_long="error"), max_new_tokens=20)
    with pytest.raises(DataError, match=r"rows.jsonl:1: .* \(data.on_bad_row: skip would leave such rows out\)"):
        make_prompts([chat([("system", "Be brief.")])], NANO, config(), max_new_tokens=5)


def test_rows_left_out_are_counted() -> None:
    rows = [chat([("system", "Be brief.")]), chat(TURNS, "1" * 16)]
    prompts = make_prompts(rows, NANO, config(on_bad_row="skip"), max_new_tokens=5)
    assert [prompt.id for prompt in prompts] == ["1" * 16]
    assert any("not answered: 1 row, " in line for line in prompts.notes)


def test_an_encoded_example_is_split_at_its_last_learned_stretch() -> None:
    def split(tokens: list[int], supervised: list[bool]) -> tuple[list[int], list[int]]:
        prompt, target = prompt_and_target(np.array(tokens), np.array(supervised))
        return prompt.tolist(), target.tolist()

    assert split([1, 2, 3, 4, 5], [False, False, True, False, True]) == ([1, 2, 3, 4], [5])
    assert split([1, 2, 3, 4], [False, True, True, False]) == ([1], [2, 3])
    assert split([1, 2], [False, False]) == ([], [])
    assert split([1, 2], [True, True]) == ([], [1, 2])


def test_rows_with_blank_references_alone_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [plain("a", "b", "1"), plain("a", "", "2"), plain("a", " \n", "3"), plain("a", None, "4")]
    rows.append(replace(plain("a", "", "5"), references=("", "c")))
    prompts = make_prompts(rows, NANO, config(), max_new_tokens=5)
    compared = prompts.with_references()
    assert [prompt.id for prompt in compared] == ["1", "5"]
    assert "2 rows are left out of text metrics" in capsys.readouterr().err
    assert "the target is empty (first: rows.jsonl:1, rows.jsonl:1)" in compared.notes[-1]
    assert compared.with_references() == compared
    assert capsys.readouterr().err == ""
