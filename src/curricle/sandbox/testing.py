"""What runs in the process of the tests: the tests, with the sample's functions at the other end of a channel.

This interpreter never runs a line of the sample. What a call returns is made here from plain values, so it equals what
those values equal; what is no plain value is a `Remote` that can be passed back, called and asked for its parts, and
whose comparison or truth fails the test.

    tests' process                                   sample's process
    assert candidate([1]) == 2  ── call, [1] ──>     candidate([1])
           2 == 2               <── 2 ──────────     returns 2
"""

from __future__ import annotations

import ast
import builtins
import importlib
import linecache
import reprlib
import sys
import traceback
import types
from collections.abc import Iterator
from typing import Any

from .channel import Channel, Closed
from .codec import decode, encode

TESTS = "<tests>"
_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlist, _short.maxtuple = 3, 80, 80, 8, 8


class Gone(BaseException):
    """The sample's process has ended, or speaks no sense."""


class NotPlain(AssertionError):
    """A test asked what only code of the sample could answer."""


def judge(work: dict[str, Any], fd: int) -> dict[str, str]:
    """Run the tests; the outcome and its evidence."""
    try:
        tree = ast.parse(work["tests"], TESTS)
        given = compile(_readable(work["given"]), "<given>", "exec")
        tests = compile(_with_check(tree, work["entry_point"]), TESTS, "exec")
    except (SyntaxError, ValueError, RecursionError) as error:
        return _verdict("refused", f"the tests cannot be read: {error}")
    sample = Sample(Channel(fd))
    try:
        names = sample.load(work["code"])
    except Gone as gone:
        return _verdict("crashed", f"{gone} while its code was loaded")
    except BaseException as error:
        return _failed(error, None)
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    linecache.cache[TESTS] = (len(work["tests"]), None, work["tests"].splitlines(keepends=True), TESTS)
    try:
        exec(given, module.__dict__)
    except Exception as error:
        return _verdict("refused", f"what the tests are given fails: {type(error).__name__}: {error}")
    try:
        _bind(module.__dict__, tree, work["entry_point"], sample, names)
        exec(tests, module.__dict__)
    except Gone as gone:
        return _verdict("crashed", f"{gone} at {_where(gone)}")
    except BaseException as error:
        return _failed(error, sample.last)
    return _verdict("passed", "")


class Sample:
    """The tests' end of the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.last: Any = None

    def load(self, code: str) -> list[str]:
        return [str(name) for name in self._exchange(code)["value"]]

    def ask(self, do: str, on: Any, arguments: tuple[Any, ...], named: dict[str, Any] | None = None) -> Any:
        sent = [encode(value, self) for value in arguments]
        also = {key: encode(value, self) for key, value in (named or {}).items()}
        answer = self._exchange({"do": do, "on": on, "with": sent, "named": also})
        try:
            for place, new in answer.get("changed", {}).items():
                _overwrite(arguments[int(place)], decode(new, self))
            value = decode(answer["value"], self)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError) as error:
            raise Gone(f"answered with nonsense ({type(error).__name__}: {error})") from None
        if do == "call":
            self.last = value
        return value

    def _exchange(self, message: Any) -> dict[str, Any]:
        try:
            self._channel.send(message)
            answer = self._channel.receive()
        except Closed as error:
            raise Gone(f"ended ({error})") from None
        if not isinstance(answer, dict):
            raise Gone("answered with nonsense")
        if "raised" in answer:
            raised = _again(answer["raised"])
            if isinstance(raised, StopIteration) and not (isinstance(message, dict) and message["do"] == "next"):
                raise RuntimeError("the sample raised StopIteration")  # as it is, it would end an `all(map(...))` early
            raise raised
        return answer

    def put(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return object.__getattribute__(value, "_number")
        raise NotPlain(f"the tests pass a {type(value).__name__}, which cannot be passed to the sample")

    def get(self, sent: Any) -> Any:
        number, kind, _ = sent
        return Remote(self, int(number), str(kind))


class Remote:
    """An object of the sample, in the sample's process."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, sample: Sample, number: int, kind: str) -> None:
        for name, value in (("_sample", sample), ("_number", number), ("_kind", kind)):
            object.__setattr__(self, name, value)

    def _ask(self, do: str, *arguments: Any, **named: Any) -> Any:
        own = object.__getattribute__
        return own(self, "_sample").ask(do, own(self, "_number"), arguments, named)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __len__(self) -> int:
        return int(self._ask("len"))

    def __iter__(self) -> Iterator[Any]:
        return iter(list.__iter__(self._ask("list")))

    def __next__(self) -> Any:
        return self._ask("next")

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __contains__(self, key: Any) -> bool:
        return self._ask("in", key) is True

    def __str__(self) -> str:
        return str(self._ask("str"))

    def __repr__(self) -> str:
        return f"<{object.__getattribute__(self, '_kind')} of the sample>"

    def _refuse(self, *_: Any) -> Any:
        kind = object.__getattribute__(self, "_kind")
        raise NotPlain(f"returned an object that is no plain value: {kind[:80]}")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse


def _bind(namespace: dict[str, Any], tree: ast.AST, entry_point: str | None, sample: Sample, names: list[str]) -> None:
    """Give the tests the sample's names that they use and nobody they can rely on defines."""
    used, own = _names(tree)
    wanted = {entry_point} if entry_point is not None else set()
    for name in used - own - namespace.keys() - set(dir(builtins)):
        if name in sys.stdlib_module_names and name not in wanted:
            namespace[name] = importlib.import_module(name)  # never the sample's, whose functions it could replace
        elif name in names:
            wanted.add(name)
    if not wanted:  # the function under test has a builtin's name: nothing else could be tested here
        wanted = used.intersection(names, dir(builtins)) - own
    for name in sorted(wanted):
        namespace[name] = sample.ask("name", None, (name,))


def _names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """The names that the tests read, and those that they give a meaning to somewhere."""
    used: set[str] = set()
    own: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                own.add(name)
            case ast.alias():
                own.add((node.asname or node.name).split(".")[0])
    return used, own


def _readable(given: str) -> str:
    """A prompt as code: one that ends within a function's head gets a body, and one that is prose says nothing."""
    for text in (given, given.rstrip() + "\n    pass\n"):
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        return text
    return ""


def _with_check(tree: ast.Module, entry_point: str | None) -> ast.Module:
    """HumanEval's tests define `check`, and call it or leave that to the harness."""
    defines = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    calls = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for statement in tree.body
        if not isinstance(statement, ast.FunctionDef)
        for node in ast.walk(statement)
    )
    if entry_point is None or not defines or calls:
        return tree
    return ast.Module([*tree.body, *ast.parse(f"check({entry_point})", TESTS).body], tree.type_ignores)


def _overwrite(old: Any, new: Any) -> None:
    """A list, dict or set that the sample changed in place is changed here too."""
    if type(old) is not type(new):
        return
    if isinstance(old, list | bytearray):
        old[:] = new
    elif isinstance(old, dict | set):
        old.clear()
        old.update(new)


def _again(raised: Any) -> BaseException:
    """The sample's exception as the nearest builtin one, with the sample's name for it."""
    nearest, own, text = raised if isinstance(raised, list) and len(raised) == 3 else ("RuntimeError", "?", "")
    kind = getattr(builtins, str(nearest), None)
    if not isinstance(kind, type) or not issubclass(kind, BaseException):
        return Gone("answered with nonsense")
    try:
        error = kind(str(text)[:500])
    except TypeError:  # UnicodeDecodeError and its like want more
        error = RuntimeError(str(text)[:500])
    error.own_name = str(own)[:80]  # type: ignore[attr-defined]
    return error


def _failed(error: BaseException, last: Any) -> dict[str, str]:
    name, text = getattr(error, "own_name", type(error).__name__), str(error)
    if isinstance(error, MemoryError):
        return _verdict("memory", f"MemoryError: {text}")
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return _verdict("crashed", f"{name}({text}) before its tests had ended")
    if type(error) is AssertionError and not hasattr(error, "own_name"):
        return _verdict("failed", f"{_where(error)}: the last call gave {_shortened(last)}")
    where = _where(error)
    return _verdict("failed", f"{name}: {text}" + (f", at {where}" if where else ""))


def _shortened(value: Any) -> str:
    try:
        return _short.repr(value)
    except ValueError:  # an int with more digits than Python prints
        return "a very long number"


def _where(error: BaseException | None) -> str:
    """The line of the tests that was running."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    lines = [(frame.line or "") for frame in frames if frame.filename == TESTS]
    return lines[-1][:200] if lines else ""


def _verdict(outcome: str, evidence: str) -> dict[str, str]:
    return {"outcome": outcome, "evidence": " ".join(evidence.split())[:400]}
