"""What runs in the process of the sample: the sample, and the answers to calls of its functions.

Nothing here is trusted: the sample may change all of it, and can then do no more than answer wrongly.
"""

from __future__ import annotations

import builtins
import gc
import json
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from .channel import Channel, Closed
from .codec import decode, encode

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "get": getattr, "set": setattr, "len": len, "list": list, "next": next, "item": operator.getitem,
    "in": operator.contains, "repr": repr, "str": str,
}  # fmt: skip


def run_program(files: list[int]) -> None:
    """A program with standard input and output; what it died of is told on the last of the files. Ends the process."""
    source, inputs, output, status = files
    code = os.pread(source, os.fstat(source).st_size, 0).decode()
    os.dup2(inputs, 0)
    os.dup2(output, 1)
    for fd in (source, inputs, output):
        os.close(fd)
    module = _module("__main__")
    end = 0
    try:
        exec(compile(code, "<solution>", "exec"), module.__dict__)
        sys.stdout.flush()
    except SystemExit as error:
        end = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        _flush()
    except BaseException as error:
        end = 1
        _flush()
        os.write(status, json.dumps(describe(error)).encode())
    os._exit(end & 0xFF)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BaseException:  # a closed or replaced standard output is the program's own affair
        return


def serve(fd: int) -> None:
    """Load the code the first message brings, then answer calls until the other end closes."""
    channel, shelf = Channel(fd), Objects()
    module = _module("solution")
    try:
        exec(compile(channel.receive(), "<solution>", "exec"), module.__dict__)
    except BaseException as error:
        channel.send({"raised": describe(error)})
        return
    channel.send({"value": sorted(name for name in module.__dict__ if isinstance(name, str))})
    shelf.namespace = module.__dict__
    while True:
        try:
            request = channel.receive()
        except Closed:
            return
        channel.send(_answer(request, shelf))


def _answer(request: Any, shelf: Objects) -> Any:
    try:
        if request["do"] == "name":
            name = request["with"][0]
            if name not in shelf.namespace:
                raise NameError(f"name {name!r} is not defined")
            return {"value": encode(shelf.namespace[name], shelf)}
        target = shelf.kept[request["on"]]
        arguments = [decode(sent, shelf) for sent in request["with"]]
        if request["do"] != "call":
            return {"value": encode(_OPERATIONS[request["do"]](target, *arguments), shelf)}
        value = target(*arguments, **{key: decode(sent, shelf) for key, sent in request["named"].items()})
        answer = {"value": encode(value, shelf)}
        after = [encode(item, shelf) for item in arguments]
        changed = {str(i): new for i, (new, old) in enumerate(zip(after, request["with"], strict=True)) if new != old}
        return answer | ({"changed": changed} if changed else {})
    except BaseException as error:
        return {"raised": describe(error)}


class Objects:
    """The sample's objects that the tests hold by number."""

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}
        self.namespace: dict[str, Any] = {}

    def put(self, value: Any) -> Any:
        self.kept[id(value)] = value
        return [id(value), type(value).__name__, callable(value)]

    def get(self, sent: Any) -> Any:
        return self.kept[sent]


def describe(error: BaseException) -> list[str]:
    """[nearest builtin class, own class, message]"""
    nearest = next(kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    try:
        text = str(error)
    except BaseException:  # its text is code of the sample too
        text = ""
    return [nearest, type(error).__name__, text[:500]]


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    gc.enable()
    return module
