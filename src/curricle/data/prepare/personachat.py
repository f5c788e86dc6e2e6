"""Synthetic-Persona-Chat (Jandaghi et al., 2023, arXiv 2312.10007): two people talk, each with a persona.

A row becomes {messages}: whoever speaks second is the assistant, and that person's persona is the system message. The
conversations were written by a model and not all are clean; what is done about it is counted in the manifest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..readers import BadRow
from .writing import Account, Dataset, Prepared, text_of, write_splits

# "User 1: Hi", and with the asterisks of a markup: "* User 1: Hi! *", "**User 1:** Hi".
_TAG = re.compile(r"^(?P<marks>[*\s]*)User (?P<who>[12]):[ *]*", re.MULTILINE)


def prepare_personachat(src: str | Path, out: str | Path) -> Prepared:
    """Write the splits that the Synthetic-Persona-Chat folder `src` holds into `out`, each under its own name."""
    return write_splits(PERSONACHAT, Path(src), Path(out))


def _convert(row: dict[str, Any], account: Account) -> dict[str, Any]:
    turns, joined = _turns(text_of(row, "Best Generated Conversation"))
    if len(turns) < 2:
        raise BadRow("nobody answers")
    first = turns[0][0]
    assistant = "2" if first == "1" else "1"
    persona = text_of(row, f"user {assistant} personas").strip()
    if joined:
        account.change("turns of one speaker in a row joined")
    if turns[-1][0] == first:
        turns.pop()
        account.change("last turn left out, it is the user's and has no answer")
    messages = [{"role": "system", "content": f"Your persona:\n{persona}"}]
    messages += [{"role": "assistant" if who == assistant else "user", "content": text} for who, text in turns]
    return {"messages": messages}


def _turns(conversation: str) -> tuple[list[tuple[str, str]], bool]:
    """(speaker, text) in order, and whether turns were joined: what one person says in a row is one turn."""
    tags = list(_TAG.finditer(conversation))
    if not tags:
        raise BadRow("no speaker is named")
    if conversation[: tags[0].start()].strip("* \n"):
        raise BadRow("text before the first speaker")
    ends = [tag.start() for tag in tags[1:]] + [len(conversation)]
    turns: list[tuple[str, str]] = []
    joined = False
    for tag, end in zip(tags, ends, strict=True):
        text = conversation[tag.end() : end].strip()
        text = text.rstrip("* \n") if "*" in tag["marks"] else text
        if turns and turns[-1][0] == tag["who"]:
            turns[-1] = (tag["who"], f"{turns[-1][1]}\n{text}")
            joined = True
        else:
            turns.append((tag["who"], text))
    return turns, joined


PERSONACHAT = Dataset(
    name="personachat",
    licence="CC BY 4.0",
    splits={
        split: (f"Synthetic-Persona-Chat_{split}.csv", f"Synthetic-Persona-Chat_{split}.csv.gz")
        for split in ("train", "valid", "test")
    },
    optional=frozenset({"train"}),
    convert=_convert,
)
