"""A program of the contest as a tree: what it does, and what it says in English.

A tree is a tuple of nodes, each taking the value that the one before gave: a step, a choice between two steps, or steps
that are repeated. `outcome` runs it without Python's compiler; `python.py` writes it as Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .steps import CONDITIONS, STEPS, Condition, Run, Step, Type, Wild


@dataclass(frozen=True)
class Use:
    """A step with its constant; `careless` for one that forgets a case."""

    name: str
    k: Any = None
    careless: bool = False

    @property
    def step(self) -> Step:
        return STEPS[self.name]

    @property
    def run(self) -> Run:
        return self.step.careless[1] if self.careless and self.step.careless else self.step.run


@dataclass(frozen=True)
class Choice:
    """One step or another, by a question about the value."""

    name: str
    k: Any
    yes: Use
    no: Use

    @property
    def condition(self) -> Condition:
        return CONDITIONS[self.name]


@dataclass(frozen=True)
class Repeat:
    """Steps that are done several times over."""

    times: int
    body: tuple[Use, ...]


_MOST = 10**9
Node = Use | Choice | Repeat
Tree = tuple[Node, ...]


@dataclass(frozen=True)
class Crash:
    """What a program gives that raises."""

    error: str


def takes(node: Node) -> Type:
    match node:
        case Use():
            return node.step.takes
        case Choice():
            return node.condition.takes
        case Repeat():
            return node.body[0].step.takes


def gives(node: Node) -> Type:
    match node:
        case Use():
            return node.step.gives
        case Choice():
            return node.yes.step.gives
        case Repeat():
            return node.body[-1].step.gives


def fits(tree: Tree) -> bool:
    """Whether each node takes what the one before gives."""
    return all(gives(one) == takes(other) for one, other in pairwise(tree))


def uses(tree: Tree) -> Iterator[Use]:
    """Every step of a tree, in its order."""
    for node in tree:
        match node:
            case Use():
                yield node
            case Choice():
                yield from (node.yes, node.no)
            case Repeat():
                yield from node.body


def outcome(tree: Tree, value: Any) -> Any:
    """What the program gives for `value`, or the `Crash` that it ends in."""
    try:
        for node in tree:
            value = _run(node, value)
            _tame(value)
    except (ValueError, IndexError) as error:
        return Crash(type(error).__name__)
    return value


def _run(node: Node, value: Any) -> Any:
    match node:
        case Use():
            return node.run(value, node.k)
        case Choice():
            return _run(node.yes if node.condition.run(value, node.k) else node.no, value)
        case Repeat():
            for _ in range(node.times):
                for use in node.body:
                    value = _run(use, value)
                    _tame(value)
            return value


def _tame(value: Any) -> None:
    if isinstance(value, int):
        if not -_MOST <= value <= _MOST:
            raise Wild
    elif len(value) > 200 or (value and isinstance(value[0], int) and (max(value) > _MOST or min(value) < -_MOST)):
        raise Wild


def say(tree: Tree) -> str:
    """The task in English: one phrase for each node."""
    text = ", then ".join(_say(node) for node in tree)
    return text[0].upper() + text[1:] + "."


def _say(node: Node) -> str:
    match node:
        case Use():
            return node.step.words.format(k=repr(node.k))
        case Choice():
            return f"if {node.condition.words.format(k=repr(node.k))}, {_say(node.yes)}, else {_say(node.no)}"
        case Repeat():
            return f"{node.times} times over: " + " and ".join(_say(use) for use in node.body)


def skeleton(tree: Tree) -> tuple[Any, ...]:
    """What a tree is made of, without its constants."""
    return tuple(_bones(node) for node in tree)


def _bones(node: Node) -> Any:
    match node:
        case Use():
            return node.name
        case Choice():
            return ("if", node.name, node.yes.name, node.no.name)
        case Repeat():
            return ("repeat", *(use.name for use in node.body))
