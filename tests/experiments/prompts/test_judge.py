"""A judge behind a real HTTP server: what it is asked, what is taken of its replies, and what it survives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from curricle.cli.app import main
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.experiments.prompts.form import CRITERIA, FORM, blinded, key_path, make_form, parse, write_form, write_key
from curricle.experiments.prompts.judge import KEY_VARIABLE, Judge, judge_form
from curricle.experiments.prompts.points import read_form

KEY = "sk-very-secret"
Answer = Callable[[dict[str, str], int], tuple[int, str]]
"""From the answers by letter and the number of the request to a status and a body."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@contextmanager
def server(reply: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what it was asked."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            status, text = reply(shown(body), len(seen) - 1)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(text.encode())

        def log_message(self, *args: Any) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def shown(body: dict[str, Any]) -> dict[str, str]:
    """The answers by letter, as the request has them."""
    text = body["messages"][1]["content"]
    answers, _ = json.JSONDecoder().raw_decode(text[text.index("as JSON:") + len("as JSON:\n") :])
    return dict(answers)


def completion(content: Any) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


def points(answers: dict[str, str], value: Callable[[str], Any]) -> dict[str, Any]:
    return {letter: dict.fromkeys(CRITERIA, value(text)) for letter, text in answers.items()}


def by_length(answers: dict[str, str], number: int) -> tuple[int, str]:
    """The longer the better."""
    return 200, completion(json.dumps(points(answers, lambda text: min(5, len(text)))))


def form(folder: Path, blind: bool = False) -> Path:
    answers = {"base": ["a", "aa", "a"], "law": ["bbb", "bb", "bbbb"], "merged": ["cc", "cccc", "ccccc"]}
    whole = make_form(["one?", "two?", "three?"], answers, base="base")
    if blind:
        whole, key = blinded(whole, 0)
        write_key(key_path(folder / FORM), key)
    return write_form(folder / FORM, whole)


def quick(url: str, **changes: Any) -> Judge:
    return Judge(url, "judge-1", **{"pause": 0.001, "timeout": 5.0, **changes})


def replies(folder: Path) -> list[dict[str, Any]]:
    path = folder / "eval_prompt_comparison.judged.replies.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("blind", [False, True])
def test_a_good_judge_fills_a_copy_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = form(tmp_path, blind)
    before = path.read_bytes()
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with server(by_length) as (url, seen):
        assert main(["prompts", "judge", str(path), "--judge", url, "--judge-model", "judge-1"]) == 0
    assert path.read_bytes() == before
    assert [one["path"] for one in seen] == ["/v1/chat/completions"] * 3
    assert {one["key"] for one in seen} == {f"Bearer {KEY}"}
    assert {(one["model"], one["temperature"]) for one in seen} == {("judge-1", 0)}
    assert not any(name in json.dumps(one) for one in seen for name in ("merged", "law", "base"))
    found = read_form(tmp_path / "eval_prompt_comparison.judged.md")
    assert (found.of("law").improved, found.of("law").equal, found.of("merged").improved) == (2, 1, 3)
    assert found.of("merged").means == pytest.approx(dict.fromkeys(CRITERIA, 11 / 3))
    assert found.judge == f"judge-1 at {url}"
    assert f"points of the judge model judge-1 at {url}, and of no person" in capsys.readouterr().out
    assert all(KEY not in one.read_text() for one in tmp_path.iterdir())
    orders = [tuple(row["order"].values()) for row in replies(tmp_path)]
    assert len(set(orders)) > 1


def test_the_reply_may_stand_in_a_code_block(tmp_path: Path) -> None:
    def boxed(answers: dict[str, str], number: int) -> tuple[int, str]:
        return 200, completion(f"```json\n{json.dumps(points(answers, len))}\n```\n")

    with server(boxed) as (url, _):
        assert judge_form(form(tmp_path), quick(url)).open_cells == 0


MALFORMED: dict[str, Callable[[dict[str, str]], str]] = {
    "no JSON at all": lambda answers: "<html>",
    "no completion": lambda answers: "{}",
    "no text": lambda answers: completion(None),
    "words around": lambda answers: completion(f"Here: {json.dumps(points(answers, len))}"),
    "a letter too few": lambda answers: completion(json.dumps(dict(list(points(answers, len).items())[1:]))),
    "a letter too many": lambda answers: completion(json.dumps(points({**answers, "Z": "zz"}, len))),
    "a column missing": lambda answers: completion(json.dumps({one: {"logic": 3} for one in answers})),
    "six points": lambda answers: completion(json.dumps(points(answers, lambda text: 6))),
    "half points": lambda answers: completion(json.dumps(points(answers, lambda text: 3.5))),
    "yes": lambda answers: completion(json.dumps(points(answers, lambda text: True))),
    "a word": lambda answers: completion(json.dumps(points(answers, lambda text: "4"))),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_reply_leaves_cells_open(tmp_path: Path, kind: str) -> None:
    def second_is_bad(answers: dict[str, str], number: int) -> tuple[int, str]:
        return (200, MALFORMED[kind](answers)) if "aa" in answers.values() else by_length(answers, number)

    with server(second_is_bad) as (url, seen):
        found = judge_form(form(tmp_path), quick(url, tries=2))
    assert len(seen) == 4
    assert found.open_cells == 12
    assert set(found.points[1]["law"].values()) == {None}
    bad = [row for row in replies(tmp_path) if row["prompt"] == 2]
    assert [row["points"] for row in bad] == [None, None]
    assert all(row["problem"] and row["reply"] for row in bad)


def test_errors_of_the_server_are_tried_again(tmp_path: Path) -> None:
    def now_and_then(answers: dict[str, str], number: int) -> tuple[int, str]:
        return (500, "oops") if number % 3 != 2 else by_length(answers, number)

    with server(now_and_then) as (url, seen):
        found = judge_form(form(tmp_path), quick(url, tries=3))
    assert (found.open_cells, len(seen)) == (0, 9)
    assert [row["status"] for row in replies(tmp_path)] == ["500", "500", "200"] * 3


def test_a_slow_server_is_given_up_and_gone_on_with(tmp_path: Path) -> None:
    awake = threading.Event()

    def slow_at_the_second(answers: dict[str, str], number: int) -> tuple[int, str]:
        if number and not awake.is_set():
            time.sleep(0.3)
        return by_length(answers, number)

    path = form(tmp_path)
    with server(slow_at_the_second) as (url, seen):
        with pytest.raises(RunError, match=r"no reply to prompt 2 in 2 tries .*no reply in 0\.1 seconds"):
            judge_form(path, quick(url, timeout=0.1, tries=2))
        part = read_form(tmp_path / "eval_prompt_comparison.judged.md")
        assert part.open_cells == 24
        awake.set()
        log = tmp_path / "eval_prompt_comparison.judged.replies.jsonl"
        log.write_text(log.read_text() + '{"prompt": 2, "torn')
        asked = len(seen)
        whole = judge_form(path, quick(url))
        assert (whole.open_cells, len(seen) - asked) == (0, 2)
        assert judge_form(path, quick(url)) == whole
        assert len(seen) - asked == 2
    assert whole.points[0] == part.points[0]


@pytest.mark.parametrize(("status", "said"), [(401, "refuses the request: 401"), (302, "refuses the request: 302")])
def test_a_refusal_stops_at_once_and_no_key_is_written(tmp_path: Path, status: int, said: str) -> None:
    def refuse(answers: dict[str, str], number: int) -> tuple[int, str]:
        return status, f"your key {KEY} is not known"

    with server(refuse) as (url, seen), pytest.raises(ModelError) as caught:
        judge_form(form(tmp_path), quick(url, key=KEY))
    assert len(seen) == 1
    assert said in str(caught.value)
    assert "your key (the key) is not known" in str(caught.value)
    assert all(KEY not in one.read_text() for one in tmp_path.iterdir())
    assert KEY not in repr(quick(url, key=KEY))


def test_nobody_there(tmp_path: Path) -> None:
    with server(by_length) as (url, _):
        pass
    with pytest.raises(RunError, match=r"no reply to prompt 1 in 2 tries .*no connection"):
        judge_form(form(tmp_path), quick(url, tries=2))


def test_points_of_a_person_are_not_touched(tmp_path: Path) -> None:
    path = form(tmp_path)
    path.write_text(path.read_text().replace("| law |  |", "| law | 3 |", 1))
    with server(by_length) as (url, seen):
        with pytest.raises(DataError, match="holds points of a person already"):
            judge_form(path, quick(url))
        path = form(tmp_path)
        judge_form(path, quick(url))
        judged = tmp_path / "eval_prompt_comparison.judged.md"
        with pytest.raises(DataError, match="holds points of the judge judge-1"):
            judge_form(judged, quick(url))
        with pytest.raises(RunError, match="name another file with -o"):
            judge_form(path, Judge(url, "judge-2"))
        assert len(seen) == 3
        assert parse(judged).judge == f"judge-1 at {url}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000", "expected an address such as"),
        ("file:///etc/passwd", "expected an address such as"),
        ("http://me:key@host/v1", "takes no key in the address"),
        ("http://host/v1?key=x", "takes no key in the address"),
    ],
)
def test_what_is_no_address(url: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Judge(url, "m")
    assert said in str(caught.value)
    assert "me:key" not in str(caught.value)
