from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import chat_tokenizers
from curricle.data.schema import Message
from curricle.data.templates import CHATML, ChatTemplate, TemplateRefusal, load_template, use_template
from curricle.errors import ModelError

TURNS = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
SQUARE = (  # Llama 2: spaces around the answer, eos after it
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)


def made(template: str | None) -> ChatTemplate:
    return ChatTemplate(chat_tokenizers.tokenizer_with(template))


def test_a_template_by_name_by_file_and_in_place(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(TURNS, encoding="utf-8")
    assert load_template("chatml") == CHATML
    assert load_template(str(file)) == TURNS
    assert load_template(SQUARE) == SQUARE
    with pytest.raises(ModelError, match="`chatlm` is no file, no Jinja text and no known name; known: chatml"):
        load_template("chatlm")


def test_the_asked_template_stays_with_the_tokenizer() -> None:
    tokenizer = chat_tokenizers.tokenizer_with(TURNS)
    use_template(tokenizer, None)
    assert tokenizer.chat_template == TURNS
    use_template(tokenizer, "chatml")
    assert tokenizer.chat_template == CHATML


def test_no_template_is_said_with_the_way_out() -> None:
    with pytest.raises(ModelError, match=r"has no chat template.*data.chat_template"):
        made(None)


@pytest.mark.parametrize(
    ("name", "end", "lead"),
    [
        ("qwen2_5", "<|im_end|>", ""),
        ("llama3", "<|eot_id|>", ""),
        ("phi3", "<|end|>", ""),
        ("gptoss", "<|return|>", "<|channel|>final<|message|>"),
        ("qwen3", "<|im_end|>", "<think>\n\n</think>\n\n"),
    ],
)
def test_end_of_turn_and_lead_are_found(name: str, end: str, lead: str) -> None:
    tokenizer = chat_tokenizers.tokenizer_of(name)
    facts = ChatTemplate(tokenizer).facts
    assert (facts.end_text, facts.end_id, facts.lead) == (end, tokenizer.convert_tokens_to_ids(end), lead)
    assert end != tokenizer.eos_token
    assert not facts.eos_added


def test_spaces_around_the_answer_belong_to_it() -> None:
    facts = made(SQUARE).facts
    assert (facts.space, facts.end_text, facts.eos_added) == (" ", "<eos>", False)


def test_a_template_without_an_end_gets_eos() -> None:
    facts = made(TURNS + PROMPT).facts
    assert (facts.end_text, facts.eos_added) == ("<eos>", True)
    tokenizer = chat_tokenizers.tokenizer_with(TURNS + PROMPT)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end of turn and the tokenizer has no eos token"):
        _ = ChatTemplate(tokenizer).facts


@pytest.mark.parametrize(
    ("name", "system", "strict"),
    [("qwen2_5", "kept", False), ("gemma", "refused", True), ("gemma3", "kept", True), ("llama3", "kept", False)],
)
def test_what_becomes_of_roles(name: str, system: str, strict: bool) -> None:
    template = ChatTemplate(chat_tokenizers.tokenizer_of(name))
    assert (template.system, template.strict_roles) == (system, strict)


def test_a_template_that_drops_system_messages_is_seen() -> None:
    only_others = "{% for m in messages if m.role != 'system' %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    assert made(only_others + PROMPT).system == "dropped"


def test_a_template_for_images_is_refused() -> None:
    tokenizer = chat_tokenizers.tokenizer_with(chat_tokenizers.template("smolvlm"))
    with pytest.raises(ModelError, match="leaves out messages that are plain text"):
        _ = ChatTemplate(tokenizer).facts


def test_what_a_template_refuses_is_told_in_its_own_words() -> None:
    template = ChatTemplate(chat_tokenizers.tokenizer_of("gemma"))
    with pytest.raises(TemplateRefusal, match=r"System role not supported.*system, user"):
        template.render([Message("system", "S"), Message("user", "Q")])


def test_think_tags_in_an_answer_stay_tokens_even_where_they_are_special() -> None:
    def turn_tokens(name: str) -> Any:
        tokenizer = chat_tokenizers.tokenizer_with(chat_tokenizers.template(name))
        tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>", "<|call|>"]})
        return ChatTemplate(tokenizer).turn_tokens

    assert {"<|im_start|>", "<|im_end|>", "<eos>", "<bos>"} <= turn_tokens("qwen3_5_think")
    assert not {"<think>", "</think>", "<|call|>"} & turn_tokens("qwen3_5_think")
    assert "<think>" not in turn_tokens("deepseek_r1_distill")
    assert "<｜Assistant｜>" in turn_tokens("deepseek_r1_distill")
