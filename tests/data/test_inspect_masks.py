from __future__ import annotations

import re

import chat_tokenizers
from curricle.data.config import DataConfig
from curricle.data.encode import encode_examples
from curricle.data.inspect_masks import render_masks
from curricle.data.schema import Example, Message, Where
from curricle.data.table import TokenTable


def table() -> TokenTable:
    examples = [
        Example("chat", f"{k:016x}", Where("c", k), messages=tuple(Message(*m) for m in turns), references=("B",))
        for k, turns in enumerate(
            [
                [("user", "Q"), ("assistant", "A"), ("user", "R"), ("assistant", "B")],
                [("user", "a long question " * 30), ("assistant", "B " * 40)],
                [("user", "Q"), ("assistant", "B")],
            ]
        )
    ]
    return encode_examples(examples, chat_tokenizers.tokenizer_of("qwen2_5"), DataConfig(train="-"))


def test_brackets_hold_exactly_what_is_learned() -> None:
    shown = render_masks(table(), chat_tokenizers.tokenizer_of("qwen2_5"), n=1, color=False)
    assert re.findall("【(.*?)】", shown) == ["A<|im_end|>", "B<|im_end|>"]
    assert "\x1b" not in shown
    assert shown.startswith("example 0000000000000000: ")


def test_every_id_of_a_target_is_shown_and_long_prompts_are_shortened() -> None:
    made, tokenizer = table(), chat_tokenizers.tokenizer_of("qwen2_5")
    tokens, supervised = made.example(1)
    shown = render_masks(made, tokenizer, n=1, color=False, first=1)
    prompt_ids, target_ids = re.findall("^    ids (.*)$", shown, re.MULTILINE)
    assert target_ids.split() == [str(t) for t in tokens[supervised]]
    assert f"... {int((~supervised).sum()) - 32:,} more ..." in prompt_ids


def test_two_colours_and_no_more_examples_than_there_are() -> None:
    shown = render_masks(table(), chat_tokenizers.tokenizer_of("qwen2_5"), n=9, color=True)
    assert shown.count("example 0") == 3
    assert "\x1b[1;32m【A<|im_end|>】\x1b[0m" in shown
    assert "\x1b[38;5;245m" in shown
