"""Every text chat template of TRL's package, on a tokenizer with its tokens; and the table of docs/masks.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chat_tokenizers
from curricle.data.chunks import ChunkEncoder
from curricle.data.config import DataConfig
from curricle.data.masks import (
    Masked,
    Turn,
    answer_places,
    assemble,
    join_turns,
    learned_runs,
    outcome,
    prove,
    read_turn,
)
from curricle.data.schema import Example, Message, Where
from curricle.data.table import EncodedExample
from curricle.data.templates import ChatTemplate, TemplateRefusal
from curricle.data.tokens import Piece, TextEncoder
from curricle.errors import DataError

THINK = "<think>\nParis, surely.\n</think>\n\n"
ANSWERS = ["Paris is the capital.", "여섯 시에 만나요."]
KINDS = {"plain": ANSWERS, "think": [THINK + answer for answer in ANSWERS]}

DOCS = Path(__file__).resolve().parents[2] / "docs" / "masks.md"


def dialogue(answers: list[str]) -> Example:
    questions = ["What is the capital of France?", "When do we meet?"]
    pairs = zip(questions, answers, strict=False)
    messages = tuple(m for q, a in pairs for m in (Message("user", q), Message("assistant", a)))
    return Example("chat", "0" * 16, Where("rows.jsonl", 7), messages=messages, references=(answers[-1],))


def encoded(tokenizer: Any, example: Example, **settings: Any) -> list[EncodedExample]:
    return ChunkEncoder(tokenizer, DataConfig(train="-", max_length=4096, **settings)).encode([example])[0]


def runs(sample: EncodedExample) -> list[list[int]]:
    return learned_runs(Masked(sample.tokens, sample.supervised))


def check_turn(tokenizer: Any, messages: tuple[Message, ...], tokens: list[int], run: list[int]) -> None:
    """The invariant, from the outside: what stands before the run begins with what generation sends, and the run is the
    answer and one end of turn. An opening that the generation prompt holds already is not said twice."""
    *asked, answer = messages
    turns = [{"role": m.role, "content": m.content} for m in asked]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert tokens[: len(prompt)] == prompt
    end = ChatTemplate(tokenizer).facts.end_text
    said = tokenizer.decode(run)
    assert said.endswith(end)
    said = said.removesuffix(end)
    if said != answer.content:
        before = tokenizer.decode(tokens)
        assert re.sub(r"\s", "", answer.content).endswith(re.sub(r"\s", "", said))
        assert re.sub(r"\s", "", before + said).endswith(re.sub(r"\s", "", answer.content))
    assert len(run) == len(tokenizer(said, add_special_tokens=False)["input_ids"]) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", chat_tokenizers.names())
def test_every_text_template_of_trl(name: str, kind: str) -> None:
    tokenizer, answers = chat_tokenizers.tokenizer_of(name), KINDS[kind]
    found = outcome(ChatTemplate(tokenizer), answers)
    single, multi = dialogue(answers[:1]), dialogue(answers)
    if found == "refused":
        for example in (single, multi):
            with pytest.raises(DataError, match=r"^rows.jsonl:7: "):
                encoded(tokenizer, example)
        return
    (sample,) = encoded(tokenizer, single)
    (run,) = runs(sample)
    check_turn(tokenizer, single.messages, sample.tokens[: -len(run)].tolist(), run)
    (last,) = encoded(tokenizer, multi, learn="last_turn")
    (run,) = runs(last)
    check_turn(tokenizer, multi.messages, last.tokens[: -len(run)].tolist(), run)
    check_every_turn(tokenizer, multi, found)


def check_every_turn(tokenizer: Any, multi: Example, found: str) -> None:
    samples = encoded(tokenizer, multi)
    if found == "one sample per turn":
        assert [sample.id for sample in samples] == [f"{multi.id}-0", f"{multi.id}-1"]
        for sample, place in zip(samples, (2, 4), strict=True):
            (run,) = runs(sample)
            check_turn(tokenizer, multi.messages[:place], sample.tokens[: -len(run)].tolist(), run)
        with pytest.raises(DataError, match="rewrites earlier turns"):
            encoded(tokenizer, multi, rewritten_turns="refuse")
        return
    (sample,) = samples
    assert sample.id == multi.id
    first, second = runs(sample)
    edges = np.flatnonzero(np.diff(sample.supervised.astype(int))) + 1
    check_turn(tokenizer, multi.messages[:2], sample.tokens[: edges[0]].tolist(), first)
    before = sample.tokens[: edges[2]].tolist()
    end = ChatTemplate(tokenizer).facts.end_text
    assert tokenizer.decode(second).endswith(end)
    whole = tokenizer.decode([*before, *second])
    turns = [{"role": m.role, "content": m.content} for m in multi.messages]
    assert tokenizer.apply_chat_template(turns, tokenize=False).startswith(whole)


def test_excluded_templates_are_in_the_package_and_named_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, reason in chat_tokenizers.EXCLUDED.items():
        assert chat_tokenizers.template(name)
        assert f"`{name}`" in text
        assert reason.split(":")[0] in text


def row_of(name: str) -> str:
    template = ChatTemplate(chat_tokenizers.tokenizer_of(name))
    facts = template.facts
    end = "(eos)" if facts.eos_added else f"`{facts.end_text}`"
    lead = "`" + facts.lead.replace("\n", "⏎") + "`" if facts.lead else ""
    plain, think = (outcome(template, answers) for answers in KINDS.values())
    return f"| `{name}` | {plain} | {think} | {end.replace('|', chr(92) + '|')} | {lead.replace('|', chr(92) + '|')} |"


def test_the_table_of_the_docs_is_what_the_code_finds() -> None:
    shown = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert shown == [row_of(name) for name in chat_tokenizers.names()]


def test_turns_join_when_each_prompt_goes_on_from_the_last() -> None:
    turns = [Turn("SuA", "t"), Turn("SuAt.uA", "w")]
    assert join_turns(turns, ".", 5) == [
        Piece("SuA", first=True),
        Piece("t", True, end=(5,)),
        Piece("uA"),
        Piece("w", True, end=(5,)),
    ]
    assert join_turns([turns[0], Turn("SuAt!uA", "w")], ".", 5) is None
    assert join_turns([turns[0], Turn("Su", "w")], ".", 5) is None


def test_the_drawing_of_the_module() -> None:
    pieces = [Piece("prompt", first=True), Piece("answer", True, end=(9,)), Piece("next"), Piece("b", True, end=(9,))]
    sample = assemble(pieces, [[1, 2], [3, 4, 9], [5], [6, 9]])
    assert sample.tokens.tolist() == [1, 2, 3, 4, 9, 5, 6, 9]
    assert sample.supervised.astype(int).tolist() == [0, 0, 1, 1, 1, 0, 1, 1]
    assert learned_runs(sample) == [[3, 4, 9], [6, 9]]


def test_a_mask_that_is_one_token_off_is_found() -> None:
    tokenizer = chat_tokenizers.tokenizer_of("qwen2_5")
    encoder = TextEncoder(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    pieces = [Piece("Shall we eat?", first=True), Piece("Yes, see you there.", True, end=(end,))]
    sample = assemble(pieces, encoder.encode(pieces))

    def proved(supervised: np.ndarray) -> bool:
        moved = Masked(sample.tokens, supervised)
        return prove(encoder, pieces, moved, encoder.decode(learned_runs(moved)), "<|im_end|>")

    assert proved(sample.supervised) is False
    for shift in (-1, 1):
        with pytest.raises(DataError, match="the mask is wrong"):
            proved(np.roll(sample.supervised, shift))
    holed = sample.supervised.copy()
    holed[-3] = False
    with pytest.raises(DataError, match="2 stretches are learned where there are 1 answers"):
        proved(holed)
    with pytest.raises(DataError, match="0 stretches"):
        proved(np.zeros_like(holed))


def test_a_greeting_answers_nobody() -> None:
    roles = ["system", "assistant", "user", "assistant", "tool", "assistant"]
    assert answer_places([Message(role, "x") for role in roles]) == [3, 5]
    assert answer_places([Message("assistant", "x")]) == []


def turn_of(template: str, *contents: str) -> Turn:
    roles = ("user", "assistant", "user", "assistant")
    messages = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    return read_turn(ChatTemplate(chat_tokenizers.tokenizer_with(template)), messages, len(messages) - 1)


FRAME = "{% for m in messages %}{{ '<|' + m.role + '|>' + BODY + '<|end|>' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ '<|assistant|>OPEN' }}{% endif %}"
)


def framed(body: str = "m.content", opening: str = "") -> str:
    return FRAME.replace("BODY", body).replace("OPEN", opening)


def test_an_answer_the_template_trims_is_learned_as_the_template_writes_it() -> None:
    turn = turn_of(framed("m.content | trim"), "Q", "  A \n")
    assert (turn.target, turn.reshaped) == ("A", True)
    assert turn_of(framed(), "Q", "  A \n").target == "  A \n"


def test_an_answer_whose_inner_space_the_template_rewrites() -> None:
    turn = turn_of(framed("m.content | replace('\n\n', '\n')"), "Q", "A\n\nB")
    assert (turn.target, turn.reshaped) == ("A\nB", True)


def test_a_template_that_changes_words_is_refused() -> None:
    with pytest.raises(TemplateRefusal, match="changes the answer: 'Answer' becomes 'answer'"):
        turn_of(framed("m.content | replace('Answer', 'answer')"), "Q", "Answer")


def test_an_opening_in_the_prompt_is_not_said_twice() -> None:
    opened = framed("(m.content.split('</think>') | last)", opening="<think>\n")
    turn = turn_of(opened, "Q", "<think>\nhm\n</think>A")
    assert turn.context.endswith("<|assistant|><think>\n")
    assert turn.target == "hm\n</think>A"
    with pytest.raises(TemplateRefusal, match=r"ends with '<think>\\n'; give answers with a think block"):
        turn_of(opened, "Q", "A")


def test_a_system_message_that_would_vanish_is_refused() -> None:
    no_system = framed().replace("in messages", "in messages if m.role != 'system'")
    template = ChatTemplate(chat_tokenizers.tokenizer_with(no_system))
    messages = [Message("system", "S"), Message("user", "Q"), Message("assistant", "A")]
    with pytest.raises(TemplateRefusal, match="drops system messages"):
        read_turn(template, messages, 2)


def test_two_beginnings_are_found() -> None:
    tokenizer = chat_tokenizers.tokenizer_with("{{ bos_token + bos_token }}" + framed())
    with pytest.raises(DataError, match=r"rows.jsonl:7: begins with <bos> twice"):
        encoded(tokenizer, dialogue(ANSWERS[:1]))
