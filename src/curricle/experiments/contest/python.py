"""A tree as Python, in several styles: in one expression, a line for each step, or with loops written out.

Templates are put together with all parentheses, and `ast.unparse` leaves out those that say nothing. A filter and the
change of each that follows it become one comprehension, as anybody would write them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .steps import Step, Type
from .trees import Choice, Node, Repeat, Tree, Use, gives, takes

Form = Literal["function", "program"]

NAMES: tuple[Mapping[Type, str], ...] = (
    {"int": "n", "list": "xs", "str": "s", "words": "words"},
    {"int": "value", "list": "numbers", "str": "text", "words": "parts"},
)
_READ: Mapping[Type, str] = {"int": "int(input())", "list": "list(map(int, input().split()))", "str": "input()"}


@dataclass(frozen=True)
class Style:
    """How somebody writes."""

    nested: bool = True
    """Steps go into one expression as far as they can."""
    loops: bool = False
    """Steps that can be written as loops are."""
    other: bool = False
    """The second of two ways to write an expression, where there are two."""
    names: int = 0


STYLES = tuple(
    Style(nested, loops, other, names)
    for names in (0, 1)
    for nested, loops, other in (
        (True, False, False),
        (False, False, False),
        (False, True, False),
        (True, False, True),
        (False, True, True),
    )
)


class _Writer:
    """Lines so far, and the expression that stands for the value."""

    def __init__(self, style: Style, start: Type) -> None:
        self.style, self.names = style, NAMES[style.names]
        self.lines: list[str] = []
        self.value, self.type = self.names[start], start

    def node(self, node: Node) -> None:
        match node:
            case Use():
                self.use(node)
            case Choice():
                self.choice(node)
            case Repeat():
                self.repeat(node)

    def use(self, use: Use) -> None:
        step = use.step
        template = self.template(use)
        if not template:
            self.loop(step, use)
            return
        if template.count("{v}") > 1:
            self.assign()
        self.value = f"({fill(template, v=self.value, k=repr(use.k))})"
        self.type = step.gives
        if not self.style.nested:
            self.assign()

    def template(self, use: Use) -> str:
        """The expression for a step; none where a loop is to be written."""
        step = use.step
        if use.careless and step.careless:
            return step.careless[0]
        if not step.exprs or (self.style.loops and step.loop):
            return ""
        return step.exprs[-1 if self.style.other else 0]

    def loop(self, step: Step, use: Use) -> None:
        self.assign()
        name, out = self.value, self.names[step.gives]
        if out == name:
            out = "result" if name != "result" else "new"
        self.lines += fill(step.loop, v=name, k=repr(use.k), out=out).split("\n")
        self.value, self.type = out, step.gives

    def assign(self) -> None:
        """Give the value a name, unless it has one."""
        if not self.value.isidentifier():
            self.lines.append(f"{self.names[self.type]} = {self.value}")
            self.value = self.names[self.type]

    def choice(self, node: Choice) -> None:
        self.assign()
        test = fill(node.condition.expr, v=self.value, k=repr(node.k))
        yes, no = (_expression(use, self.value, self.style) for use in (node.yes, node.no))
        if self.style.nested:
            self.value = f"({yes} if {test} else {no})"
        else:
            name = self.names[gives(node)]
            self.lines += [f"if {test}:", f"    {name} = {yes}", "else:", f"    {name} = {no}"]
            self.value = name
        self.type = gives(node)

    def repeat(self, node: Repeat) -> None:
        self.assign()
        inner = self.value
        for use in node.body:
            inner = f"({_expression(use, inner, self.style)})"
        self.lines += [f"for _ in range({node.times}):", f"    {self.value} = {inner}"]


def _expression(use: Use, value: str, style: Style) -> str:
    return fill(use.step.exprs[-1 if style.other else 0], v=value, k=repr(use.k))


def fill(template: str, **values: str) -> str:
    return re.sub(r"\{(v|k|out)\}", lambda found: values[found[1]], template)


def write(tree: Tree, style: Style, form: Form, entry: str = "solve") -> str:
    """The whole program, or the whole function."""
    start, writer = takes(tree[0]), _Writer(style, takes(tree[0]))
    for node in tree:
        writer.node(node)
    if form == "function":
        body = [*writer.lines, f"return {writer.value}"]
        source = "\n    ".join([f"def {entry}({writer.names[start]}):", *body])
    else:
        star = "*" if writer.type == "list" else ""
        read = f"{writer.names[start]} = {_READ[start]}"
        source = "\n".join([read, *writer.lines, f"print({star}{writer.value})"])
    return ast.unparse(_Fuse().visit(ast.parse(source))) + "\n"


class _Fuse(ast.NodeTransformer):
    """`[x * 2 for x in [x for x in xs if x > 3]]` is `[x * 2 for x in xs if x > 3]`."""

    def visit_ListComp(self, node: ast.ListComp) -> ast.ListComp:
        self.generic_visit(node)
        (outer,) = node.generators
        match outer:
            case ast.comprehension(
                target=ast.Name(id=name),
                iter=ast.ListComp(elt=ast.Name(id=kept), generators=[ast.comprehension() as inner]),
            ) if name == kept and isinstance(inner.target, ast.Name) and inner.target.id == name:
                node.generators = [
                    ast.comprehension(outer.target, inner.iter, [*inner.ifs, *outer.ifs], 0),
                ]
        return node
