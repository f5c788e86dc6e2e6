"""How solutions go wrong: another constant, another step, the order, a case forgotten, code that does not even run.

A mutated tree is run like a right one, so that what is called wrong is known to differ; what is broken in the text
alone (`broken`) fails on every test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .python import Form
from .steps import CONDITIONS, STEPS
from .trees import Choice, Node, Repeat, Tree, Use, fits, gives, takes


def mutated(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Trees with one flaw each, which may or may not show: (kind of flaw, tree)."""
    for place, node in enumerate(tree):
        for flaw, other in _flawed(node):
            changed = (*tree[:place], other, *tree[place + 1 :])
            if fits(changed) and _keeps_type(tree, changed):
                yield flaw, changed
    for place in range(len(tree) - 1):
        changed = (*tree[:place], tree[place + 1], tree[place], *tree[place + 2 :])
        if fits(changed) and _keeps_type(tree, changed):
            yield "order", changed
    for place in range(len(tree)):
        changed = tree[:place] + tree[place + 1 :]
        if changed and fits(changed) and _keeps_type(tree, changed):
            yield "step left out", changed


def _keeps_type(tree: Tree, other: Tree) -> bool:
    return takes(tree[0]) == takes(other[0]) and gives(other[-1]) in ("int", "list", "str")


def _flawed(node: Node) -> Iterator[tuple[str, Node]]:
    match node:
        case Use():
            yield from _flawed_use(node)
        case Choice():
            yield "wrong branch", replace(node, yes=node.no, no=node.yes)
            for name in node.condition.near:
                yield "wrong condition", replace(node, name=name)
            for k in _off_by_one(node.k, CONDITIONS[node.name].constants):
                yield "off by one", replace(node, k=k)
            yield from ((flaw, replace(node, yes=use)) for flaw, use in _flawed_part(node.yes))
            yield from ((flaw, replace(node, no=use)) for flaw, use in _flawed_part(node.no))
        case Repeat():
            yield "off by one", replace(node, times=node.times + 1)
            yield "off by one", replace(node, times=node.times - 1)
            yield "order", replace(node, body=node.body[::-1])
            for place, own in enumerate(node.body):
                for flaw, use in _flawed_part(own):
                    yield flaw, replace(node, body=(*node.body[:place], use, *node.body[place + 1 :]))


def _flawed_part(use: Use) -> Iterator[tuple[str, Use]]:
    """Flaws of a step within a choice or a loop, which has to stay one expression."""
    return ((flaw, other) for flaw, other in _flawed_use(use) if other.step.exprs and not other.careless)


def _flawed_use(use: Use) -> Iterator[tuple[str, Use]]:
    step = use.step
    for k in _off_by_one(use.k, step.constants):
        if k in step.constants or step.kind != "while":  # other constants may never end
            yield "off by one", replace(use, k=k)
    for name in step.near:
        constants = STEPS[name].constants
        k = use.k if use.k in constants else constants[0] if constants else None
        yield "wrong step", Use(name, k)
    if step.careless:
        yield "case forgotten", replace(use, careless=True)


def _off_by_one(k: Any, constants: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(k, int):
        return tuple(near for near in (k - 1, k + 1) if near > 0)
    return tuple(other for other in constants[:2] if other != k) if k is not None else ()


def broken(source: str, form: Form) -> Iterator[tuple[str, str]]:
    """The source with one flaw of writing each: it does not compile, or raises, or gives nothing."""
    last = source.rstrip("\n").rpartition("\n")[2]
    head = source[: len(source.rstrip("\n")) - len(last)]
    if ")" in last:
        place = last.rindex(")")
        yield "syntax error", head + last[:place] + last[place + 1 :] + "\n"
    if form == "function":
        yield "syntax error", source.replace("):\n", ")\n", 1)
        yield "nothing returned", head + last.replace("return ", "", 1) + "\n"
        yield "exception", re.sub(r"^def (\w+)\((\w+)\)", r"def \1(given)", source)
    else:
        yield "exception", source.replace("input()", "input", 1)
        yield "nothing printed", head
