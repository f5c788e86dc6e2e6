from __future__ import annotations

from typing import Any

import pytest

import chat_tokenizers
from curricle.data.schema import Example, Message, Where
from curricle.data.tokens import TextEncoder
from curricle.data.truncation import TooLong, fit, keep_ends, shorter_units, without_middle


def encoder() -> TextEncoder:
    return TextEncoder(chat_tokenizers.tokenizer_of("qwen2_5"))


def length_of(text: str) -> int:
    return encoder().count([text])[0]


def chat(*messages: tuple[str, str], **more: Any) -> Example:
    return Example("chat", "a" * 16, Where("f", 1), messages=tuple(Message(*m) for m in messages), **more)


def length(example: Example) -> int:
    """Tokens of all messages, and four of a template for each."""
    return sum(encoder().count([m.content for m in example.messages])) + 4 * len(example.messages)


@pytest.mark.parametrize(
    ("lengths", "budget", "kept"),
    [
        ([1, 1, 1, 1, 1, 1], 4, (2, 2)),
        ([1, 1, 1, 1, 1, 1], 3, (2, 1)),
        ([1, 1, 1], 9, (2, 1)),
        ([1, 5, 1, 1], 3, (1, 2)),
        ([5, 1, 1], 2, (0, 2)),
        ([5, 5], 4, (0, 0)),
        ([], 4, (0, 0)),
    ],
)
def test_the_ends_are_kept(lengths: list[int], budget: int, kept: tuple[int, int]) -> None:
    assert keep_ends(lengths, budget) == kept


@pytest.mark.parametrize("excess", [1, 2, 5, 9])
def test_the_middle_of_a_text_goes(excess: int) -> None:
    text = "one two three four five six seven eight nine ten"
    cut = without_middle(text, excess, encoder())
    assert cut is not None
    assert text.startswith(cut[:3])
    assert text.endswith(cut[-3:])
    assert abs(length_of(text) - excess - length_of(cut)) <= 2  # the two ends may join into other tokens
    assert any(cut == text[:k] + text[len(text) - len(cut) + k :] for k in range(len(cut) + 1))


def test_a_text_is_not_cut_to_nothing() -> None:
    assert without_middle("one two", length_of("one two"), encoder()) is None


def test_whole_utterances_go_from_the_middle() -> None:
    units = [f"#Person{1 + k % 2}#: utterance number {k}." for k in range(10)]
    each = length_of(units[0] + "\n")
    kept = shorter_units(units, 3 * each - 1, encoder())
    assert kept == (*units[:4], *units[-3:])


def test_one_huge_utterance_is_cut_inside() -> None:
    huge = "#Person2#: " + " ".join(f"word{k}" for k in range(200))
    units = ["#Person1#: Hello.", huge, "#Person1#: Bye."]
    kept = shorter_units(units, length_of(huge) // 2, encoder())
    assert kept is not None
    assert (kept[0], kept[2]) == (units[0], units[2])
    assert kept[1].startswith("#Person2#: word0")
    assert kept[1].endswith("word199")
    assert len(kept[1]) < 0.6 * len(huge)


def test_a_dialogue_keeps_question_and_target() -> None:
    units = tuple(f"#Person{1 + k % 2}#: This is utterance number {k}." for k in range(40))
    prefix, suffix = "[Conversation]\n", "\n\n[Question]\nSummarize it."
    user = prefix + "\n".join(units) + suffix
    example = chat(
        ("system", "S"),
        ("user", user),
        ("assistant", "T"),
        units=units,
        prefix=prefix,
        suffix=suffix,
        references=("T",),
    )
    limit = length(example) // 2
    fitted = fit(example, length(example), limit, encoder(), length)
    assert limit - 40 < length(fitted.example) <= limit
    system, asked, answer = fitted.example.messages
    assert (system.content, answer.content) == ("S", "T")
    assert asked.content.startswith(prefix + units[0])
    assert asked.content.endswith(units[-1] + suffix)
    kept = fitted.example.units
    assert kept == (*units[: -(-len(kept) // 2)], *units[-(len(kept) // 2) :])
    assert fitted.answers_cut == 0


def test_a_chat_loses_the_middle_of_its_longest_user_message() -> None:
    words = " ".join(f"word{k}" for k in range(60))
    example = chat(("system", "Be brief."), ("user", words), ("assistant", "Done."))
    limit = length(example) - 30
    shorter = fit(example, length(example), limit, encoder(), length).example
    assert limit - 5 < length(shorter) <= limit
    assert shorter.messages[0] == example.messages[0]
    assert shorter.messages[2] == example.messages[2]
    assert shorter.messages[1].content.startswith("word0 ")
    assert shorter.messages[1].content.endswith(" word59")


def test_earlier_exchanges_go_before_the_last_question_is_touched() -> None:
    turns = [(role, f"{role} says thing number {k}.") for k in range(6) for role in ("user", "assistant")]
    example = chat(("system", "S"), *turns)
    fitted = fit(example, length(example), length(example) // 2, encoder(), length)
    messages = fitted.example.messages
    assert messages[:3] == example.messages[:3]
    assert messages[-2:] == example.messages[-2:]
    assert length(fitted.example) <= length(example) // 2
    assert fitted.answers_cut == 6 - sum(m.role == "assistant" for m in messages)
    assert fitted.answers_cut >= 3


def test_when_nothing_of_the_prompt_would_be_left_the_example_is_refused() -> None:
    example = chat(("user", "short question"), ("assistant", " ".join("long answer" for _ in range(50))))
    with pytest.raises(TooLong, match=r"longer than data.max_length even with its prompt cut away: \d+ tokens, 20 are"):
        fit(example, length(example), 20, encoder(), length)


def test_a_plain_prompt_loses_its_middle() -> None:
    prompt = " ".join(f"word{k}" for k in range(50))
    example = Example("plain", "a" * 16, Where("f", 1), prompt=prompt, completion="yes", references=("yes",))

    def measure(candidate: Example) -> int:
        return sum(encoder().count([candidate.prompt or "", candidate.completion or ""]))

    shorter = fit(example, measure(example), 40, encoder(), measure).example
    assert 36 < measure(shorter) <= 40
    assert shorter.completion == "yes"
    assert (shorter.prompt or "").startswith("word0 word1")
    assert (shorter.prompt or "").endswith("word49")
