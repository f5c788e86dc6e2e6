"""Eleven grades, from one sum with a number to five steps with a choice: how the tree of each is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .steps import CONDITIONS, STEPS
from .trees import Choice, Repeat, Tree, Use

if TYPE_CHECKING:
    import numpy as np

GRADES = tuple(range(1, 12))
_LIST = "map|filter|order"

# One of the shapes is drawn; a shape names the kind of each node, or several kinds of which one is drawn.
SHAPES: dict[int, tuple[str, ...]] = {
    1: ("arith",),
    2: ("reduce", "order", "map", "filter", "text", "measure"),
    3: ("arith arith",),
    4: (f"{_LIST} reduce", f"{_LIST} {_LIST}"),
    5: ("text measure", "text text", "text measure arith"),
    6: (f"{_LIST} {_LIST} reduce",),
    7: ("choice", "arith choice"),
    8: (f"spread {_LIST} reduce", f"spread {_LIST} {_LIST}", "spread reduce arith"),
    9: (
        "split words join",
        "split words words join",
        "split words lengths",
        "split words lengths reduce",
        "split lengths filter reduce",
    ),
    10: ("while", "arith repeat", "repeat arith", "while arith", "arith while"),
    11: (
        f"spread {_LIST} {_LIST} reduce choice",
        f"split words lengths {_LIST} reduce arith",
        f"{_LIST} {_LIST} {_LIST} reduce choice",
        "arith repeat choice arith",
    ),
}

KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(step.name for step in STEPS.values() if step.kind == kind)
    for kind in dict.fromkeys(step.kind for step in STEPS.values())
}
_IN_BRANCH = ("add", "subtract", "multiply", "square", "negate", "quotient", "remainder", "from")
_IN_LOOP = ("add", "subtract", "multiply", "quotient", "at_most", "at_least", "from")


def draw_tree(chance: np.random.Generator, grade: int) -> Tree:
    """Some tree of that grade, not yet looked at for whether it makes a good problem."""
    shape = _one(chance, SHAPES[grade]).split()
    return tuple(_node(chance, _one(chance, kinds.split("|"))) for kinds in shape)


def _node(chance: np.random.Generator, kind: str) -> Any:
    if kind == "choice":
        name = _one(chance, tuple(CONDITIONS))
        yes, no = (_use(chance, _IN_BRANCH) for _ in range(2))
        return Choice(name, _constant(chance, CONDITIONS[name].constants), yes, no)
    if kind == "repeat":
        return Repeat(int(chance.integers(2, 6)), (_use(chance, _IN_LOOP), _use(chance, _IN_LOOP)))
    return _use(chance, KINDS[kind])


def _use(chance: np.random.Generator, names: Sequence[str]) -> Use:
    name = _one(chance, names)
    return Use(name, _constant(chance, STEPS[name].constants))


def _constant(chance: np.random.Generator, constants: Sequence[Any]) -> Any:
    return _one(chance, constants) if constants else None


def _one(chance: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(chance.integers(len(choices)))]
