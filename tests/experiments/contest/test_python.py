"""Trees as Python: every form of every step does what the step means, and reads as somebody would write it."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.experiments.contest.python import STYLES, Style, write
from curricle.experiments.contest.steps import CONDITIONS, STEPS
from curricle.experiments.contest.trees import Choice, Crash, Node, Repeat, Use, outcome

INPUTS: dict[str, list[Any]] = {
    "int": [-7, -1, 0, 1, 2, 6, 13, 40],
    "list": [[], [3], [2, 2, 5], [-4, 9, 0, 7], [1, 2, 3, 4, 5, 6, 7]],
    "str": ["", "bee", "tree a eel", "cat queen no up"],
    "words": [[], ["bee"], ["tree", "a", "eel"], ["cat", "queen", "no", "up"]],
}


def returned(source: str, value: Any) -> Any:
    """What the function gives; the code is our own, and is what is tested."""
    names: dict[str, Any] = {}
    exec(source, names)
    try:
        return names["solve"](value)
    except (ValueError, IndexError) as error:
        return Crash(type(error).__name__)


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_every_form_of_every_step_does_what_it_means(style: Style) -> None:
    for step in STEPS.values():
        for careless in (False, True) if step.careless else (False,):
            for k in step.constants[:3] or (None,):
                tree = (Use(step.name, k, careless),)
                source = write(tree, style, "function")
                for value in INPUTS[step.takes]:
                    assert returned(source, value) == outcome(tree, value), f"{source}{value}"


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_choices_and_loops_do_what_they_mean(style: Style) -> None:
    nodes: list[Node] = [
        Choice(name, condition.constants[0] if condition.constants else None, Use("add", 3), Use("square"))
        for name, condition in CONDITIONS.items()
    ]
    nodes.append(Repeat(3, (Use("multiply", 2), Use("subtract", 5))))
    for node in nodes:
        tree = (Use("add", 1), node, Use("at_most", 50 - 30))
        source = write(tree, style, "function")
        assert [returned(source, value) for value in INPUTS["int"]] == [outcome(tree, v) for v in INPUTS["int"]]


def test_a_filter_and_a_change_become_one_comprehension() -> None:
    tree = (Use("above", 3), Use("multiply_each", 2), Use("sum"))
    assert write(tree, Style(), "function") == "def solve(xs):\n    return sum([x * 2 for x in xs if x > 3])\n"
    other = (Use("multiply_each", 2), Use("above", 3))
    assert "for x in [x * 2 for x in xs]" in write(other, Style(), "program")


def test_a_program_reads_and_prints() -> None:
    tree = (Use("skip", 2), Use("reverse"))
    assert write(tree, Style(nested=False, names=1), "program") == (
        "numbers = list(map(int, input().split()))\nnumbers = numbers[2:]\nnumbers = numbers[::-1]\nprint(*numbers)\n"
    )
