"""What a row means: each format turns the columns it knows into an `Example`.

A format names its fields in our words; `Layout.fields` says which column of the user's file holds each of them. What a
format reads, and nothing else, makes the row's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..errors import DataError, RecipeError, nearest
from ..runtime.fingerprint import fingerprint
from .brought import read_reward
from .dialogue import DialoguePrompt, as_keywords
from .readers import BadRow, json_name
from .schema import ROLES, Example, Kind, Message, Where

# format -> our name of a field -> the columns tried in turn. The first field of each is what `auto` recognises it by.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "dialogue": {
        "dialogue": ("dialogue", "input.conversation"),
        "summary": ("summary", "output", "summary1"),
        "keywords": ("keywords", "input.subject_keyword", "subject_keyword"),
    },
    "messages": {"messages": ("messages",), "system": ("system",), "role": ("role",), "content": ("content",)},
    "sharegpt": {
        "conversations": ("conversations",),
        "system": ("system",),
        "role": ("from", "role"),
        "content": ("value", "content"),
    },
    "prompt-completion": {"prompt": ("prompt",), "completion": ("completion",), "system": ("system",)},
    "alpaca": {name: (name,) for name in ("instruction", "input", "output", "system", "history")},
    "text": {"text": ("text",)},
}

_OURS: dict[str, str] = {role: role for role in ROLES} | {"developer": "system", "function": "tool"}
ROLE_NAMES: dict[str, dict[str, str]] = {
    "messages": _OURS,
    "prompt-completion": _OURS,
    "sharegpt": _OURS
    | {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"}
    | {"observation": "tool", "function_response": "tool", "function_call": "assistant"},
}
# Parts of a message, and columns beside a conversation, that would change what is trained if they were passed over.
_REFUSED_IN_MESSAGES: dict[str, tuple[Any, ...]] = {
    "tool_calls": (None, []),
    "function_call": (None,),
    "reasoning_content": (None, ""),
    "reasoning": (None, ""),
    "thinking": (None, ""),
    "weight": (None, 1),
}
_REFUSED_BESIDE_MESSAGES = {
    "tools": "tool definitions are not read; write them into the system message",
    "chat_template_kwargs": "a chat template is given no arguments; drop the column, or set data.chat_template",
}


@dataclass(frozen=True)
class Layout:
    """How the rows of one file are to be read; `format` is settled by then."""

    format: str
    dialogue: DialoguePrompt
    fields: Mapping[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    domain_field: str | None = None
    reward_field: str | None = None
    weight_field: str | None = None
    system_prompt: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    """Role names of the file beyond those its format knows."""
    need_target: bool = True

    def columns(self, name: str) -> tuple[str, ...]:
        """Where a field of ours is looked for."""
        return (self.fields[name],) if name in self.fields else COLUMNS[self.format][name]


@dataclass
class _Parts:
    """What a format found; `read_row` finishes it alike for all."""

    kind: Kind
    text: str | None = None
    prompt: str | None = None
    messages: list[Message] = field(default_factory=list)
    targets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    prefix: str = ""
    suffix: str = ""


class Fields:
    """The columns of one row under our names; remembers what was read."""

    def __init__(self, row: dict[str, Any], layout: Layout) -> None:
        self.row, self.layout = row, layout
        self.used: dict[str, Any] = {}

    def take(self, name: str, required: bool = True) -> Any:
        columns = self.layout.columns(name)
        for column in columns:
            value = lookup(self.row, column)
            if value is not None:
                self.used[name] = value
                return value
        if required:
            raise BadRow(f"no field `{columns[0]}`", f"the row has {_names(self.row)}; name its column in data.fields")
        return None

    def text(self, name: str, required: bool = True) -> str | None:
        value = self.take(name, required)
        if value is not None and not isinstance(value, str):
            raise BadRow(f"`{name}` is not text", f"found {json_name(value)}")
        return value

    def given(self, name: str) -> str:
        """A field that must be there, as text."""
        value = self.text(name)
        assert value is not None
        return value

    def targets(self, name: str) -> tuple[str, ...]:
        """Every accepted target, from the columns of `data.references` or else from the format's own field."""
        if self.layout.references:
            return self.references()
        target = self.text(name, required=self.layout.need_target)
        return () if target is None else (target,)

    def references(self) -> tuple[str, ...]:
        found: list[str] = []
        for position, column in enumerate(self.layout.references):
            value = lookup(self.row, column)
            texts = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(text, str) for text in texts):
                raise BadRow(f"`{column}` is not text", f"found {json_name(value)}, expected text or a list of texts")
            if position == 0 and not texts and self.layout.need_target:
                raise BadRow(f"no field `{column}`", f"data.references trains on it; the row has {_names(self.row)}")
            found += texts
        self.used["references"] = found
        return tuple(found)


def lookup(row: dict[str, Any], column: str) -> Any:
    """A column, or a value inside one: `input.conversation`. None when it is not there."""
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _names(row: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in list(row)[:12]) or "no fields"


# --- The formats -----------------------------------------------------------------------------------


def _text(row: Fields) -> _Parts:
    return _Parts("text", text=row.given("text"))


def _prompt_completion(row: Fields) -> _Parts:
    prompt = row.take("prompt")
    if isinstance(prompt, str):
        if row.layout.system_prompt is not None:
            raise RecipeError("data.system_prompt needs a chat format; here `prompt` is plain text: write it in there")
        if row.text("system", required=False):
            raise BadRow("a system message without a chat", "`prompt` is plain text; write `system` into it")
        return _Parts("plain", prompt=prompt, targets=row.targets("completion"))
    messages = _with_system(read_messages(prompt, "prompt", row.layout), row)
    if row.layout.references:
        return _Parts("chat", messages=messages, targets=row.targets("completion"))
    completion = row.take("completion", required=row.layout.need_target)
    if isinstance(completion, str):
        return _Parts("chat", messages=messages, targets=(completion,))
    return _conversation(messages + (read_messages(completion, "completion", row.layout) if completion else []), row)


def _messages(row: Fields) -> _Parts:
    return _conversation(_with_system(read_messages(row.take("messages"), "messages", row.layout), row), row)


def _sharegpt(row: Fields) -> _Parts:
    return _conversation(_with_system(read_messages(row.take("conversations"), "conversations", row.layout), row), row)


def _with_system(messages: list[Message], row: Fields) -> list[Message]:
    """The conversation under the system message that a column of the row holds, where it brings none itself."""
    for column, reason in _REFUSED_BESIDE_MESSAGES.items():
        if not _is_empty(row.row.get(column)):
            raise BadRow(f"a conversation with `{column}`", reason)
    system = row.text("system", required=False)
    own = [message.content for message in messages if message.role == "system"]
    if not system or own[:1] == [system]:
        return messages
    if own:
        column = row.layout.columns("system")[0]
        raise BadRow(
            "two system messages", f"the column `{column}` and the conversation's own differ; a row can have only one"
        )
    return [Message("system", system), *messages]


def _is_empty(value: Any) -> bool:
    """Nothing is there; Parquet gives each row every key, so an object of nothing but nulls counts too."""
    return all(part is None for part in value.values()) if isinstance(value, dict) else not value


def _conversation(messages: list[Message], row: Fields) -> _Parts:
    """A conversation that ends with its target; `data.references` add to that, or bring it where it is missing."""
    references = row.references() if row.layout.references else ()
    if messages[-1].role == "assistant":
        last = messages.pop().content
        references = (last, *(text for text in references if text != last))
    if not references and row.layout.need_target:
        raise BadRow(
            "no answer at the end", f"the last message is the {messages[-1].role}'s; the assistant's is learned"
        )
    return _Parts("chat", messages=messages, targets=references)


def _alpaca(row: Fields) -> _Parts:
    messages = []
    system = row.text("system", required=False)
    if system:
        messages.append(Message("system", system))
    for turn in _as_list(row.take("history", required=False) or [], "history"):
        if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)):
            raise BadRow("`history` is not pairs", "each entry of it must be [instruction, answer]")
        messages += [Message("user", turn[0]), Message("assistant", turn[1])]
    instruction, extra = row.given("instruction"), row.text("input", required=False)
    messages.append(Message("user", "\n".join(text for text in (instruction, extra) if text)))
    return _Parts("chat", messages=messages, targets=row.targets("output"))


def _dialogue(row: Fields) -> _Parts:
    column = row.layout.columns("dialogue")[0]
    units = row.layout.dialogue.units(row.take("dialogue"), column)
    if not units:
        raise BadRow("an empty dialogue", f"`{column}` holds no utterance")
    keywords = as_keywords(row.take("keywords", required=False), "keywords")
    prefix, suffix = row.layout.dialogue.around(keywords)
    message = Message("user", prefix + "\n".join(units) + suffix)
    return _Parts("chat", messages=[message], targets=row.targets("summary"), units=units, prefix=prefix, suffix=suffix)


_FORMATS: dict[str, Callable[[Fields], _Parts]] = {
    "dialogue": _dialogue,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt_completion,
    "alpaca": _alpaca,
    "text": _text,
}


# --- Messages --------------------------------------------------------------------------------------


def read_messages(value: Any, name: str, layout: Layout) -> list[Message]:
    """A list of {role, content}, under the file's own key and role names."""
    listed = _as_list(value, name)
    if not listed:
        raise BadRow("an empty conversation", f"`{name}` holds no message")
    names = {**ROLE_NAMES[layout.format], **layout.roles}
    columns = COLUMNS[layout.format] if "role" in COLUMNS[layout.format] else COLUMNS["messages"]
    keys = {n: (layout.fields[n],) if n in layout.fields else columns[n] for n in ("role", "content")}
    return [_message(item, f"{name}[{k}]", keys, names) for k, item in enumerate(listed)]


def _message(item: Any, place: str, keys: dict[str, tuple[str, ...]], names: Mapping[str, str]) -> Message:
    if not isinstance(item, dict):
        raise BadRow("a message is no object", f"`{place}` is {json_name(item)}")
    for key, harmless in _REFUSED_IN_MESSAGES.items():
        if key not in keys["content"] and item.get(key) not in harmless:
            raise BadRow(f"a message with `{key}`", f"`{place}.{key}` is not read; leave it out or write it as text")
    role = next((item[key] for key in keys["role"] if key in item), None)
    if not isinstance(role, str) or role not in names:
        known = nearest(str(role), names)
        raise BadRow(f"unknown role {role!r}", f"in `{place}.{keys['role'][0]}`; {known}")
    content = next((item[key] for key in keys["content"] if item.get(key) is not None), None)
    return Message(names[role], _content(content, f"{place}.{keys['content'][0]}"))


def _content(content: Any, place: str) -> str:
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        content = "".join(part.get("text", "") for part in content)
    if not isinstance(content, str):
        raise BadRow("a message without text", f"`{place}` is {json_name(content)}; images and sounds are not read")
    return content


def _as_list(value: Any, name: str) -> list[Any]:
    """A list, also when a CSV cell holds it as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadRow(f"`{name}` is not JSON", str(error)) from error
    if not isinstance(value, list):
        raise BadRow(f"`{name}` is not a list", f"found {json_name(value)}")
    return value


# --- A row -----------------------------------------------------------------------------------------


def read_row(row: dict[str, Any], layout: Layout, where: Where, source_index: int = 0) -> Example:
    """One row as an `Example`; raises `BadRow` when it does not hold what its format needs."""
    fields = Fields(row, layout)
    parts = _FORMATS[layout.format](fields)
    messages = parts.messages
    if parts.kind == "chat":
        if layout.system_prompt is not None and [m.role for m in messages[:1]] != ["system"]:
            messages = [Message("system", layout.system_prompt), *messages]
        messages = messages + [Message("assistant", text) for text in parts.targets[:1]]
    return Example(
        kind=parts.kind,
        id=_row_id(fields.used),
        where=where,
        source_index=source_index,
        text=parts.text,
        prompt=parts.prompt,
        completion=parts.targets[0] if parts.kind == "plain" and parts.targets else None,
        messages=tuple(messages),
        references=parts.targets,
        domain=_domain(row, layout.domain_field),
        reward=_reward(row, layout),
        weights=_weights(row, layout),
        units=parts.units,
        prefix=parts.prefix,
        suffix=parts.suffix,
    )


def _row_id(used: dict[str, Any]) -> str:
    try:
        return fingerprint(used)[:16]
    except TypeError as error:  # half a surrogate pair, or a number beyond 64 bits
        raise BadRow("text that is no Unicode", str(error)) from error


def _domain(row: dict[str, Any], column: str | None) -> str | None:
    if column is None:
        return None
    value = lookup(row, column)
    if value is None:
        raise BadRow(f"no field `{column}`", f"data.domain_field asks for it; the row has {_names(row)}")
    return str(value)


def _reward(row: dict[str, Any], layout: Layout) -> float | None:
    if layout.reward_field is None:
        return None
    value = lookup(row, layout.reward_field)
    if value is None:
        if not layout.need_target:
            return None
        raise BadRow(f"no field `{layout.reward_field}`", f"data.reward_field asks for it; the row has {_names(row)}")
    return read_reward(value, layout.reward_field)


def _weights(row: dict[str, Any], layout: Layout) -> Any:
    if layout.weight_field is None or not layout.need_target:  # held-out rows are not weighted
        return None
    value = lookup(row, layout.weight_field)
    if value is None and layout.weight_field in row:
        raise BadRow(f"`{layout.weight_field}` is null", "data.weight_field asks for a number, or a list of numbers")
    if value is None:
        raise BadRow(f"no field `{layout.weight_field}`", f"data.weight_field asks for it; the row has {_names(row)}")
    return _as_list(value, layout.weight_field) if isinstance(value, str) and value.startswith("[") else value


# --- Which format ----------------------------------------------------------------------------------


def check_layout(layout: Layout) -> Layout:
    """Refuse settings that the format has no use for."""
    known = COLUMNS[layout.format]
    for name in layout.fields:
        if name not in known:
            raise RecipeError(f"data.fields.{name}: format {layout.format} has no such field; {nearest(name, known)}")
    if layout.format == "text" and (layout.references or layout.system_prompt is not None):
        asked = "references" if layout.references else "system_prompt"
        raise RecipeError(
            f"data.{asked} needs prompts and targets, but the format is text; remove it or set data.format"
        )
    return layout


def detect(rows: Iterable[tuple[Where, dict[str, Any]]], fields: Mapping[str, str]) -> tuple[str, str]:
    """The format that the first rows agree on, and the column that gave it away."""
    taken: tuple[str, str] | None = None
    for where, row in rows:
        fitting = next(_fitting(row, fields), None)
        if fitting is None:
            known = "; ".join(f"{name} has `{next(iter(columns))}`" for name, columns in COLUMNS.items())
            raise DataError(f"{where}: no format fits {_names(row)}. {known}. Set data.format and data.fields")
        if taken and fitting[0] != taken[0]:
            raise DataError(f"{where}: looks like {fitting[0]}, the rows before like {taken[0]}; set data.format")
        taken = taken or fitting
    assert taken is not None
    return taken


def _fitting(row: dict[str, Any], fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, columns in COLUMNS.items():
        if set(fields) <= set(columns):
            key = next(iter(columns))
            tried = (fields[key],) if key in fields else columns[key]
            yield from ((name, column) for column in tried if lookup(row, column) is not None)
