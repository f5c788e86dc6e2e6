"""Conversations: what each model is told, the commands, and real models answering lines from a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.data.schema import Message
from curricle.errors import CurricleError
from curricle.experiments.chat import Chat, Hear, Speaker, chat


class Echo:
    """Answers with its name and the last words; remembers all it was told."""

    def __init__(self, name: str) -> None:
        self.name, self.told = name, list[list[tuple[str, str]]]()

    def __call__(self, messages: Sequence[Message], hear: Hear) -> str:
        self.told.append([(message.role, message.content) for message in messages])
        for piece in (self.name, " ", messages[-1].content):
            hear(piece)
        return f"{self.name} {messages[-1].content}"


def said(talk: Chat, *lines: str) -> list[tuple[str, str]]:
    return [answer for line in lines for answer in talk.take(line)]


def test_each_model_has_its_own_history() -> None:
    one, two = Echo("one"), Echo("two")
    talk = Chat([Speaker("a", one), Speaker("b", two)], system="be kind")
    assert said(talk, "hi", "", "  ho ") == [("a", "one hi"), ("b", "two hi"), ("a", "one ho"), ("b", "two ho")]
    assert two.told[-1] == [("system", "be kind"), ("user", "hi"), ("assistant", "two hi"), ("user", "ho")]


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    echo = Echo("x")
    talk = Chat([Speaker("x", echo)])
    said(talk, "one", "/reset", "two")
    assert echo.told[-1] == [("user", "two")]
    said(talk, "/system speak Korean", "three")
    assert echo.told[-1] == [("system", "speak Korean"), ("user", "three")]
    said(talk, "/system", "four", "/help")
    assert echo.told[-1] == [("user", "four")]
    assert "/help is no command; /reset forgets" in capsys.readouterr().err
    with pytest.raises(EOFError):
        said(talk, "/quit")


def test_a_line_may_hold_line_feeds_and_is_heard_in_pieces() -> None:
    heard: list[str] = []
    [(_, answer)] = Chat([Speaker("x", Echo("x"))]).take("a\\nb", heard.append)
    assert answer == "x a\nb" == "".join(heard)
    assert len(heard) == 3


# --- real models


def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, *arguments: object) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    model, *rest = arguments
    options = rest[0] if rest else {}
    assert isinstance(options, dict)
    capsys.readouterr()
    chat(str(model), **options)
    return capsys.readouterr().out


@pytest.mark.parametrize("arm", ["whole", "lora"])
def test_a_run_beside_its_base(
    small_runs: Path, arm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, untouched = small_runs / arm / "seed-3", small_runs / "untouched" / "seed-3"
    both = talk(monkeypatch, capsys, "hello\nand now\n/quit\nnever\n", run).splitlines()
    assert [line.split(": ", 1)[0] for line in both[::2]] == ["base (nano:llama)"] * 2
    assert [line.split(": ", 1)[0] for line in both[1::2]] == [f"{arm}/seed-3"] * 2
    # The base is the model that nobody trained; the tuned one answers as it does alone, and otherwise than its base.
    base = talk(monkeypatch, capsys, "hello\nand now\n", untouched)
    alone = talk(monkeypatch, capsys, "hello\nand now\n", run, {"beside": "none"})
    assert [line.removeprefix("base (nano:llama): ") for line in both[::2]] == base.splitlines()
    assert [line.removeprefix(f"{arm}/seed-3: ") for line in both[1::2]] == alone.splitlines()
    assert arm == "lora" or base != alone  # three steps of an adapter may change no greedy token


def test_what_streams_is_the_answer(small_runs: Path) -> None:
    """The pieces heard on the way are what prediction in batches gives as well."""
    from curricle.data.prompts import make_prompts
    from curricle.data.schema import Example, Where
    from curricle.experiments.chat import generate_aloud
    from curricle.experiments.subject import find_subject
    from curricle.generation.answers import answer as answer_all

    subject = find_subject(small_runs / "whole" / "seed-3")
    tokenizer = subject.tokenizer()
    model = subject.load(tokenizer)
    example = Example("chat", "x", Where("here", 1), messages=(Message("user", "Shall we meet?"),))
    prompts = make_prompts([example], tokenizer, subject.settings.data, 20)
    heard: list[str] = []
    answer = generate_aloud(model, tokenizer, prompts, subject.settings.generation, heard.append, None)
    [batched] = answer_all(model, tokenizer, prompts, subject.settings.generation)
    assert answer == "".join(heard).strip() == batched.prediction.strip()


def test_a_model_trained_on_plain_text_continues_it(
    tmp_path: Path, libraries: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 4)
    model = {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}}
    curricle.train(
        {"name": "p", "model": model, "data": {"train": "rows.jsonl", "max_length": 64}, "training": {"max_steps": 1}}
    )
    talk(monkeypatch, capsys, "", "runs/p", {"beside": "none"})
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n"))
    chat("runs/p", beside="none", max_new_tokens=4)
    shown = capsys.readouterr()
    assert "each line is continued as plain text" in shown.err
    assert len(shown.out.splitlines()) >= 1


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (".", {}, "holds 3 runs"),
        ("none", {}, "there is no"),
        ("untouched/seed-3", {"beside": "base"}, "is no trained run, so it has no base"),
        ("whole/seed-3", {"recipe": "r.yaml"}, "brings its own recipe"),
    ],
)
def test_who_cannot_be_talked_to(small_runs: Path, model: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(CurricleError) as caught:
        chat(small_runs / model, **options)
    assert said in str(caught.value)
