from __future__ import annotations

from typing import Any

import pytest

from curricle.data.dialogue import DialoguePrompt
from curricle.data.formats import COLUMNS, Layout, check_layout, detect, read_row
from curricle.data.readers import BadRow
from curricle.data.schema import Example, Message, Where
from curricle.errors import DataError, RecipeError

WHERE = Where("rows.jsonl", 7)
PROMPT = DialoguePrompt("About {keywords}?", "Summarize.")


def read(row: dict[str, Any], format: str, **settings: Any) -> Example:
    layout = Layout(format=format, dialogue=PROMPT, **settings)
    return read_row(row, check_layout(layout), WHERE)


def chat(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in turns)


def test_text() -> None:
    example = read({"text": "Once.", "other": 1}, "text")
    assert (example.kind, example.text, example.references, example.messages) == ("text", "Once.", (), ())
    assert str(example.where) == "rows.jsonl:7"


def test_prompt_completion_of_strings_is_plain() -> None:
    example = read({"prompt": "2+2=", "completion": "4"}, "prompt-completion")
    assert (example.kind, example.prompt, example.completion, example.target) == ("plain", "2+2=", "4", "4")


def test_prompt_completion_of_messages_is_a_chat() -> None:
    asked = [{"role": "user", "content": "2+2?"}]
    expected = chat(("user", "2+2?"), ("assistant", "4"))
    answered = read({"prompt": asked, "completion": [{"role": "assistant", "content": "4"}]}, "prompt-completion")
    assert (answered.kind, answered.messages, answered.references) == ("chat", expected, ("4",))
    assert read({"prompt": asked, "completion": "4"}, "prompt-completion").messages == expected


def test_messages_with_every_role_and_parts_of_text() -> None:
    row = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather"}, {"type": "text", "text": "?"}]},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "content": "Rain.", "tool_calls": None},
        ]
    }
    example = read(row, "messages")
    assert example.messages == chat(
        ("system", "Be brief."), ("user", "Weather?"), ("tool", "rain"), ("assistant", "Rain.")
    )
    assert example.references == ("Rain.",)


def test_alpaca_with_history_input_and_system() -> None:
    row = {"instruction": "Add.", "input": "2 2", "output": "4", "system": "Count.", "history": [["Hi", "Hello"]]}
    assert read(row, "alpaca").messages == chat(
        ("system", "Count."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Add.\n2 2"), ("assistant", "4")
    )
    assert read({"instruction": "Add.", "input": "", "output": "4"}, "alpaca").messages[0].content == "Add."


def test_sharegpt_with_its_role_names_and_a_system_column() -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    expected = chat(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"))
    assert read({"conversations": turns, "system": "Be kind."}, "sharegpt").messages == expected
    assert read({"conversations": [{"from": "system", "value": "Be kind."}, *turns]}, "sharegpt").messages == expected
    openai_keys = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert read({"conversations": openai_keys}, "sharegpt").messages == expected[1:]


SYSTEM, ASKED, ANSWERED = ({"role": r, "content": r[:1]} for r in ("system", "user", "assistant"))


@pytest.mark.parametrize(
    ("format", "make"),
    [
        ("messages", lambda turns: {"messages": turns}),
        ("sharegpt", lambda turns: {"conversations": turns}),
        ("prompt-completion", lambda turns: {"prompt": turns[:-1], "completion": turns[-1:]}),
        ("prompt-completion", lambda turns: {"prompt": turns[:-1], "completion": turns[-1]["content"]}),
    ],
)
def test_a_system_column_is_used_where_the_chat_has_none_and_refused_where_both_differ(format: str, make: Any) -> None:
    expected = chat(("system", "s"), ("user", "u"), ("assistant", "a"))
    assert read({**make([ASKED, ANSWERED]), "system": "s"}, format).messages == expected
    assert read({**make([SYSTEM, ASKED, ANSWERED]), "system": "s"}, format).messages == expected
    assert read({**make([SYSTEM, ASKED, ANSWERED]), "system": ""}, format).messages == expected
    assert read({**make([ASKED, ANSWERED]), "system": None}, format).messages == expected[1:]
    with pytest.raises(BadRow, match=r"two system messages: the column `system` and .* differ"):
        read({**make([SYSTEM, ASKED, ANSWERED]), "system": "other"}, format)
    named = read({**make([ASKED, ANSWERED]), "rules": "s"}, format, fields={"system": "rules"})
    assert named.messages == expected
    assert named.id != read(make([ASKED, ANSWERED]), format).id


def test_empty_extras_of_a_conversation_are_no_reason_to_refuse_it() -> None:
    turn = {**ANSWERED, "reasoning_content": "", "thinking": None}
    row = {"messages": [ASKED, turn], "tools": [], "chat_template_kwargs": {"enable_thinking": None}}
    assert read(row, "messages").messages == chat(("user", "u"), ("assistant", "a"))
    thought = {"messages": [{"role": role, "thinking": role[:1]} for role in ("user", "assistant")]}
    assert read(thought, "messages", fields={"content": "thinking"}).target == "a"


def test_both_shapes_of_a_dialogue_make_the_same_prompt() -> None:
    transcript = {"dialogue": "#A#: Hi.\n#B#: Ho.", "keywords": ["trip", "sea"], "summary": "They greet."}
    record = {
        "id": "x-1",
        "input": {
            "conversation": [{"speaker": "#A#", "utterance": "Hi."}, {"speaker": "#B#", "utterance": "Ho."}],
            "subject_keyword": ["trip", "sea"],
        },
        "output": "They greet.",
    }
    for row in (transcript, record):
        example = read(row, "dialogue")
        user = "[Conversation]\n#A#: Hi.\n#B#: Ho.\n\n[Question]\nAbout trip, sea?"
        assert example.messages == chat(("user", user), ("assistant", "They greet."))
        assert example.units == ("#A#: Hi.", "#B#: Ho.")
        assert example.message_of(example.units) == user


def test_a_shortened_dialogue_keeps_question_target_and_id() -> None:
    row = {"dialogue": "#A#: One.\n#B#: Two.\n#A#: Three.", "summary": "Counting."}
    whole = read(row, "dialogue", system_prompt="Sum up.")
    short = whole.with_units((whole.units[0], whole.units[2]))
    assert [m.role for m in short.messages] == ["system", "user", "assistant"]
    assert short.messages[1].content == "[Conversation]\n#A#: One.\n#A#: Three.\n\n[Question]\nSummarize."
    assert (short.id, short.messages[2], short.units) == (whole.id, whole.messages[2], ("#A#: One.", "#A#: Three."))


# --- Settings --------------------------------------------------------------------------------------


def test_fields_name_other_columns_and_reach_inside() -> None:
    row = {"q": "2+2?", "reply": {"text": "4"}, "a.b": "dotted"}
    example = read(row, "prompt-completion", fields={"prompt": "q", "completion": "reply.text"})
    assert (example.prompt, example.completion) == ("2+2?", "4")
    assert read(row, "text", fields={"text": "a.b"}).text == "dotted"


def test_message_keys_can_be_named_and_roles_added() -> None:
    row = {"talk": [{"who": "pupil", "says": "Hi"}, {"who": "teacher", "says": "Hello"}]}
    fields = {"messages": "talk", "role": "who", "content": "says"}
    example = read(row, "messages", fields=fields, roles={"pupil": "user", "teacher": "assistant"})
    assert example.messages == chat(("user", "Hi"), ("assistant", "Hello"))


def test_all_references_are_kept_and_the_first_is_learned() -> None:
    row = {"dialogue": "#A#: Hi.", "summary1": "One.", "more": ["Two.", "Three."]}
    example = read(row, "dialogue", references=("summary1", "more", "absent"))
    assert example.references == ("One.", "Two.", "Three.")
    assert example.messages[-1] == Message("assistant", "One.")
    with pytest.raises(BadRow, match=r"no field `absent`: data\.references trains on it"):
        read(row, "dialogue", references=("absent", "summary1"))


def test_references_add_to_a_conversation_that_is_answered_and_answer_one_that_is_not() -> None:
    asked = {"role": "user", "content": "Hi"}
    answered = {"messages": [asked, {"role": "assistant", "content": "Hello"}], "also": ["Hello", "Hey"]}
    assert read(answered, "messages", references=("also",)).references == ("Hello", "Hey")
    open_ended = read({"messages": [asked], "also": ["Hey"]}, "messages", references=("also",))
    assert open_ended.messages == chat(("user", "Hi"), ("assistant", "Hey"))


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"prompt": "Hi"}, "prompt-completion"),
        ({"instruction": "Hi"}, "alpaca"),
        ({"dialogue": "#A#: Hi."}, "dialogue"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "sharegpt"),
        ({"prompt": [{"role": "user", "content": "Hi"}]}, "prompt-completion"),
    ],
)
def test_a_row_to_predict_needs_no_target_a_row_to_train_on_does(row: dict[str, Any], format: str) -> None:
    example = read(row, format, need_target=False)
    assert example.target is None
    assert all(message.role != "assistant" for message in example.messages)
    with pytest.raises(BadRow):
        read(row, format)


def test_a_system_prompt_goes_to_rows_that_bring_none() -> None:
    def system(*turns: dict[str, str]) -> list[str]:
        example = read({"messages": [*turns, {"role": "assistant", "content": "a"}]}, "messages", system_prompt="Ours.")
        return [m.content for m in example.messages if m.role == "system"]

    assert system({"role": "user", "content": "q"}) == ["Ours."]
    assert system() == ["Ours."]
    assert system({"role": "system", "content": "Theirs."}, {"role": "user", "content": "q"}) == ["Theirs."]


def test_the_domain_is_a_column() -> None:
    assert read({"text": "x", "topic": 3}, "text", domain_field="topic").domain == "3"
    with pytest.raises(BadRow, match=r"no field `topic`.*the row has `text`"):
        read({"text": "x"}, "text", domain_field="topic")


def test_settings_a_format_has_no_use_for_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"data\.fields\.promt: .*did you mean `prompt`"):
        read({}, "prompt-completion", fields={"promt": "q"})
    for setting in ({"references": ("a",)}, {"system_prompt": "x"}):
        with pytest.raises(RecipeError, match="needs prompts and targets"):
            read({"text": "x"}, "text", **setting)
    with pytest.raises(RecipeError, match="needs a chat format"):
        read({"prompt": "x", "completion": "y"}, "prompt-completion", system_prompt="Be brief.")


# --- Ids -------------------------------------------------------------------------------------------


def test_an_id_follows_what_the_format_reads_and_nothing_else() -> None:
    row = {"dialogue": "#A#: Hi.", "summary": "Hi."}
    base = read(row, "dialogue").id
    assert len(base) == 16
    assert int(base, 16) >= 0
    assert read({**row, "other": 1}, "dialogue").id == base
    assert read(row, "dialogue", system_prompt="Be brief.").id == base
    assert read({"d": row["dialogue"], "s": "Hi."}, "dialogue", fields={"dialogue": "d", "summary": "s"}).id == base
    asked_otherwise = Layout("dialogue", DialoguePrompt("?", "?", "화자"))
    assert read_row(row, asked_otherwise, Where("elsewhere", 1), 3).id == base
    for changed in ({"dialogue": "#A#: Ho."}, {"summary": "Ho."}, {"keywords": ["x"]}):
        assert read({**row, **changed}, "dialogue").id != base


# --- Broken rows -----------------------------------------------------------------------------------

ASSISTANT = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "format", "message"),
    [
        ({"txt": "x"}, "text", r"no field `text`: the row has `txt`; name its column in data\.fields"),
        ({"text": None}, "text", "no field `text`"),
        ({"text": 3}, "text", "`text` is not text: found a number"),
        ({"prompt": "x", "completion": ["y"]}, "prompt-completion", "`completion` is not text: found a list"),
        ({"prompt": {"a": 1}, "completion": "y"}, "prompt-completion", "`prompt` is not a list: found an object"),
        ({"messages": []}, "messages", "an empty conversation"),
        ({"messages": ["x"]}, "messages", r"`messages\[0\]` is text"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "messages", "unknown role 'usr'.*did you mean `user`"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages", "unknown role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages", r"`messages\[0\]\.content` is null"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages",
            "images and sounds are not read",
        ),
        ({"messages": [{**ASSISTANT, "tool_calls": [{"name": "f"}]}]}, "messages", "a message with `tool_calls`"),
        ({"messages": [{**ASSISTANT, "weight": 0}]}, "messages", "a message with `weight`"),
        ({"messages": [{**ASSISTANT, "thinking": "Hm."}]}, "messages", "a message with `thinking`"),
        ({"messages": [{**ASSISTANT, "reasoning": "Hm."}]}, "messages", "a message with `reasoning`"),
        (
            {"conversations": [{"from": "gpt", "value": "a", "reasoning_content": "Hm."}]},
            "sharegpt",
            r"`conversations\[0\]\.reasoning_content` is not read",
        ),
        ({"messages": [ASSISTANT], "tools": [{"name": "f"}]}, "messages", "tool definitions"),
        ({"prompt": [ASSISTANT], "completion": "x", "tools": [{"name": "f"}]}, "prompt-completion", "tool definitions"),
        (
            {"messages": [ASSISTANT], "chat_template_kwargs": {"enable_thinking": False}},
            "messages",
            "a conversation with `chat_template_kwargs`",
        ),
        ({"messages": [ASSISTANT], "system": ["x"]}, "messages", "`system` is not text"),
        ({"prompt": "x", "completion": "y", "system": "z"}, "prompt-completion", "`prompt` is plain text"),
        ({"messages": [ASSISTANT, {"role": "user", "content": "x"}]}, "messages", "no answer at the end"),
        ({"conversations": "[broken"}, "sharegpt", "`conversations` is not JSON"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "alpaca", "`history` is not pairs"),
        ({"dialogue": " \n", "summary": "x"}, "dialogue", "an empty dialogue"),
        ({"text": "half \ud800"}, "text", "no Unicode"),
    ],
)
def test_a_broken_row_names_the_field_and_what_was_found(row: dict[str, Any], format: str, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        read(row, format)


def test_a_list_may_come_as_json_text_in_a_csv_cell() -> None:
    row = {"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]'}
    assert read(row, "messages").messages == chat(("user", "Hi"), ("assistant", "Ho"))


# --- Which format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", list(COLUMNS))
def test_each_format_is_recognised_by_its_first_field(format: str) -> None:
    key = next(iter(COLUMNS[format]))
    row = {"id": 1, COLUMNS[format][key][0]: "x"}
    assert detect([(WHERE, row)], {})[0] == format
    assert detect([(WHERE, {"mine": "x"})], {key: "mine"}) == (format, "mine")


def test_a_conversation_record_is_recognised() -> None:
    assert detect([(WHERE, {"id": "1", "input": {"conversation": []}})], {}) == ("dialogue", "input.conversation")


def test_rows_that_fit_nothing_or_disagree_are_an_error() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:7: no format fits `question`.*alpaca has `instruction`"):
        detect([(WHERE, {"question": "x"})], {})
    with pytest.raises(DataError, match="looks like text, the rows before like alpaca"):
        detect([(WHERE, {"instruction": "x"}), (WHERE, {"text": "x"})], {})
