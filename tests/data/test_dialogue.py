from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curricle.data.config import Prompt
from curricle.data.dialogue import DialoguePrompt, as_keywords, split_transcript
from curricle.data.formats import Layout, read_row
from curricle.data.readers import BadRow
from curricle.data.schema import Where

KOREAN = DialoguePrompt(
    "위 {keywords} 주제에 대한 대화를 요약해주세요.", "위 대화를 요약해주세요.", speaker_prefix="화자"
)
PLAIN = DialoguePrompt("Summarize, given {keywords}.", "Summarize.")

# What a person may say: several lines, tags quoted inside a line, hashes, colons, odd separators; but no line that is
# itself tagged, which would be another utterance.
fragments = st.sampled_from(
    ["Hi.", "#Person2#:", "#Person1#", ":", "#", "\u2028", "한국어", " ", "[Question]", "User 1:"]
)
spoken_lines = st.lists(fragments | st.text(max_size=8), max_size=5).map(
    lambda parts: "x" + "".join(parts).replace("\n", "")
)
utterances = st.lists(spoken_lines, min_size=1, max_size=3).map("\n".join)
speakers = st.integers(1, 7).map(lambda n: f"#Person{n}#")


@given(turns=st.lists(st.tuples(speakers, utterances), min_size=1, max_size=6))
def test_each_utterance_of_a_transcript_is_kept_once_and_in_order(turns: list[tuple[str, str]]) -> None:
    transcript = "\n".join(f"{speaker}: {utterance}" for speaker, utterance in turns)
    assert split_transcript(transcript) == tuple(f"{speaker}: {utterance.strip()}" for speaker, utterance in turns)


tagged_or_not = st.lists(fragments | st.sampled_from(["\n", "\n#Person1#: ", "\r\n", "\t"]) | st.text(max_size=5)).map(
    "".join
)


@given(text=tagged_or_not)
@example("lead\n#Person1#: a\n\n#Person2# :b")
def test_no_text_of_any_transcript_is_lost_or_doubled(text: str) -> None:
    kept = "\n".join(split_transcript(text))
    assert "".join(kept.split()) == "".join(text.split())


@given(text=st.text().filter(lambda text: "#" not in text and text.strip()))
def test_text_without_tags_stays_exactly_as_it_is(text: str) -> None:
    assert "\n".join(split_transcript(text)) == text


def test_text_before_the_first_tag_is_a_unit_of_its_own() -> None:
    units = split_transcript("In a shop.\n  Later\n#Person1#: Hi.\n#Person2#:\n#Person1#: Bye.")
    assert units == ("In a shop.\n  Later", "#Person1#: Hi.", "#Person2#:", "#Person1#: Bye.")


records = st.lists(
    st.fixed_dictionaries({"speaker": st.text(max_size=6), "utterance": utterances | st.text()}), min_size=1
)


@given(record=records)
def test_each_utterance_of_a_record_is_kept_once_and_in_order(record: list[dict[str, str]]) -> None:
    units = KOREAN.units(record, "conversation")
    assert units == tuple(f"화자{turn['speaker']}: {turn['utterance']}" for turn in record)


def test_the_prompt_of_the_source_with_all_keywords() -> None:
    record = [
        {"speaker": "SD2000001", "utterance": "저는 여행 다니는 것을 굉장히 좋아하는데요..."},
        {"speaker": "SD2000002", "utterance": "저 여행 다니는 거 되게 좋아해서..."},
    ]
    prefix, suffix = KOREAN.around(("여행", "취미"))
    assert prefix + "\n".join(KOREAN.units(record, "c")) + suffix == (
        "[Conversation]\n"
        "화자SD2000001: 저는 여행 다니는 것을 굉장히 좋아하는데요...\n"
        "화자SD2000002: 저 여행 다니는 거 되게 좋아해서...\n\n"
        "[Question]\n위 여행, 취미 주제에 대한 대화를 요약해주세요."
    )


@pytest.mark.parametrize(
    ("prompt", "before", "after"), [("sections", "[Conversation]\n", "\n\n[Question]\n"), ("plain", "", "\n\n")]
)
@given(record=records)
def test_every_utterance_is_in_either_prompt_once_and_in_order(
    prompt: Prompt, before: str, after: str, record: list[dict[str, str]]
) -> None:
    layout = Layout("dialogue", replace(KOREAN, prompt=prompt))
    example = read_row({"dialogue": record, "summary": "s"}, layout, Where("a", 1))
    said = "\n".join(f"화자{turn['speaker']}: {turn['utterance']}" for turn in record)
    assert example.messages[0].content == f"{before}{said}{after}위 대화를 요약해주세요."
    assert example.message_of(example.units) == example.messages[0].content


def test_the_plain_prompt_is_the_dialogue_and_the_question() -> None:
    plain = replace(KOREAN, prompt="plain", question="위 대화를 요약해주세요.")
    assert plain.around(("여행",)) == plain.around(()) == ("", "\n\n위 대화를 요약해주세요.")


def test_the_first_keyword_only() -> None:
    first = replace(KOREAN, keywords="first")
    assert first.around(("여행", "취미")) == KOREAN.around(("여행",))
    assert first.around(()) == KOREAN.around(())


def test_a_dialogue_without_keywords_gets_a_sentence_without_them() -> None:
    assert KOREAN.around(())[1] == "\n\n[Question]\n위 대화를 요약해주세요."
    assert PLAIN.around(("a {b}", "{keywords}"))[1] == "\n\n[Question]\nSummarize, given a {b}, {keywords}."


@pytest.mark.parametrize(
    ("value", "expected"), [(None, ()), ("trip", ("trip",)), ([" a ", "", "b"], ("a", "b")), ("", ()), ([], ())]
)
def test_keywords_come_as_one_text_or_a_list(value: object, expected: tuple[str, ...]) -> None:
    assert as_keywords(value, "topic") == expected


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        (3, "`d` is no dialogue: found a number"),
        ([{"speaker": "A", "utterance": "x"}, {"speaker": "A"}], r"`d\[1\]\.utterance` is nothing"),
        ([{"speaker": None, "utterance": "x"}], r"`d\[0\]\.speaker` is null"),
        (["Hi"], r"`d\[0\]` is text"),
    ],
)
def test_a_broken_dialogue_names_the_place(dialogue: object, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        PLAIN.units(dialogue, "d")
