"""Problems of the contest: a tree that asks for something, with the tests that tell right from wrong.

A problem follows from its tree alone, tests and name included; a stream only says which trees come. What a tree does on
fixed inputs is its behaviour. Behaviours are dealt to train, valid and test, and so are skeletons (the steps without
their constants), and a problem is in a split only when both were dealt to it: no split asks what another asks, nor puts
the same steps together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...data.prepare.tasks import shown_tests
from ...data.problems import Asserts, Cases, Problem
from ...errors import RecipeError, nearest
from ...runtime.fingerprint import fingerprint
from ...runtime.seeds import numpy_generator
from .grades import GRADES, draw_tree
from .python import NAMES, STYLES, Form, write
from .steps import Wild
from .trees import Choice, Crash, Tree, Use, fits, gives, outcome, say, skeleton, takes, uses

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "valid", "test")
NUM_TESTS, NUM_PUBLIC = 10, 1
_ENTRY = "solve"
_PATIENCE = 2_000
"""So many draws of a grade without a new problem, and it has no more."""
_BUCKETS = 4  # one for valid, one for test, the others train
_WORDS = (
    *("a", "bee", "cat", "dog", "door", "eel", "fish", "hat", "ice", "lion"),
    *("moon", "no", "oak", "pear", "queen", "rain", "sun", "tree", "up", "violin"),
)
_KINDS = {"int": "an integer", "list": "a list of integers", "str": "a text"}
_PROBES: dict[str, list[Any]] = {
    "int": [*range(-12, 25), 31, 48, 57, 60],
    "list": [
        [], [5], [-3], [2, 2, 7], [9, -4, 6, 1], [1, 2, 3, 4, 5, 6], [8, 7, 7, -2, 0, 12], [20, 15, 10, 5],
        [-9, -9, 3, 14, 3, 6, 6], [4, 11, 13, 18, 2, 1, 16], [6, 5, 4, 3, 2, 1, 0, -1], [19, 3, 8, 17, 9, 10, 12],
    ],
    "str": [
        "", "a", "bee", "queen", "cat fish", "moon rain sun", "a violin up no", "door tree eel ice lion",
        "pear pear oak", "dog hat bee cat a queen", "sun", "no ice tree rain",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class ContestProblem:
    """A task with its tests; everything else follows."""

    name: str
    grade: int
    tree: Tree
    form: Form
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    @property
    def instruction(self) -> str:
        start = takes(self.tree[0])
        if self.form == "function":
            param = NAMES[0][start]
            return f"Write {_ENTRY}({param}) for {_KINDS[start]} {param}. {say(self.tree)}"
        return f"Read {_KINDS[start]} and print the result. {say(self.tree)}"

    @property
    def examples(self) -> str:
        """The public tests, as a statement shows them."""
        public = list(zip(self.inputs, self.outputs, strict=True))[:NUM_PUBLIC]
        if self.form == "function":
            return "\n".join(f"{_ENTRY}({given!r}) == {asked!r}" for given, asked in public)
        return shown_tests([(as_text(given), as_text(asked)) for given, asked in public], NUM_PUBLIC)

    @property
    def reference(self) -> str:
        return write(self.tree, STYLES[0], self.form, _ENTRY)

    def tells_apart(self, outputs: tuple[Any, ...]) -> bool:
        """Whether a test sees the difference, also one that looks at printed words alone."""
        pairs = zip(self.outputs, outputs, strict=True)
        if self.form == "function":
            return any(asked != given for asked, given in pairs)
        return any(
            isinstance(given, Crash) or as_text(asked).split() != as_text(given).split() for asked, given in pairs
        )

    def solution(self, tree: Tree, style: int) -> str:
        return write(tree, STYLES[style], self.form, _ENTRY)


def contest_problems(split: str, seed: int = 0, grades: Sequence[int] = GRADES) -> Iterator[ContestProblem]:
    """Different problems of a split, the grades in turn; a small grade drops out once it has no more."""
    if split not in SPLITS:
        raise RecipeError(f"the contest has no split `{split}`; {nearest(split, SPLITS)}")
    chances = {grade: numpy_generator(seed, "contest", split, grade) for grade in grades}
    seen: set[str] = set()
    while chances:
        for grade in tuple(chances):
            problem = _next(chances[grade], grade, split, seen)
            if problem is None:
                del chances[grade]
            else:
                yield problem


def _next(chance: np.random.Generator, grade: int, split: str, seen: set[str]) -> ContestProblem | None:
    for _ in range(_PATIENCE):
        tree = draw_tree(chance, grade)
        if not _alone(tree) and _dealt(skeleton(tree)) != split:
            continue
        behaviour = behaviour_of(tree)
        if behaviour is None or behaviour in seen or _dealt(behaviour) != split:
            continue
        problem = make_problem(tree, grade, behaviour)
        if problem is not None:
            seen.add(behaviour)
            return problem
    return None


def behaviour_of(tree: Tree) -> str | None:
    """A name for what the tree does on fixed inputs; None when it does too much."""
    start = takes(tree[0])
    try:
        return fingerprint(start, [outcome(tree, value) for value in _PROBES[start]])
    except Wild:
        return None


def _alone(tree: Tree) -> bool:
    """A single step puts nothing together: its skeleton may be in any split."""
    return len(tree) == 1 and isinstance(tree[0], Use)


def _dealt(mark: Any) -> str:
    """The split that a behaviour or a skeleton belongs to."""
    return {0: "valid", 1: "test"}.get(int(fingerprint(mark)[:8], 16) % _BUCKETS, "train")


def make_problem(tree: Tree, grade: int, behaviour: str) -> ContestProblem | None:
    """The problem that a tree makes; None when a program that does less would pass its tests."""
    name = f"contest_{grade:02d}_{behaviour[:12]}"
    chance = numpy_generator(0, "contest", name)
    form: Form = "program" if chance.integers(4) == 0 else "function"
    inputs = _inputs(tree, chance)
    try:
        outputs = tuple(outcome(tree, value) for value in inputs)
        problem = ContestProblem(name, grade, tree, form, inputs, outputs)
        return problem if _asks_enough(problem) else None
    except Wild:
        return None


def _asks_enough(problem: ContestProblem) -> bool:
    """No constant passes, the input itself does not, no step is idle, and every branch is taken."""
    texts = [repr(value) for value in problem.outputs]
    if any(isinstance(value, Crash) for value in problem.outputs):
        return False
    if max(Counter(texts).values()) > NUM_TESTS // 2:
        return False
    return problem.tells_apart(problem.inputs) and all(
        problem.tells_apart(tuple(outcome(less, value) for value in problem.inputs)) for less in _lesser(problem.tree)
    )


def _lesser(tree: Tree) -> Iterator[Tree]:
    """The tree without one of its nodes, and with one branch for a choice."""
    for place, node in enumerate(tree):
        before, after = tree[:place], tree[place + 1 :]
        if isinstance(node, Choice):
            yield (*before, node.yes, *after)
            yield (*before, node.no, *after)
        less = before + after
        if less and fits(less) and takes(less[0]) == takes(tree[0]) and gives(less[-1]) == gives(tree[-1]):
            yield less


def _inputs(tree: Tree, chance: np.random.Generator) -> tuple[Any, ...]:
    """Different inputs with the empty one among the hidden, near the constants of the tree where they matter."""
    start = takes(tree[0])
    constants = [use.k for use in uses(tree) if isinstance(use.k, int)]
    constants += [node.k for node in tree if isinstance(node, Choice) and isinstance(node.k, int)]
    found: list[Any] = []
    while len(found) < NUM_TESTS - 1:
        value = _input(start, constants, chance)
        if value and value not in found:
            found.append(value)
    found.insert(NUM_PUBLIC + int(chance.integers(3)), {"int": 0, "list": [], "str": ""}[start])
    return tuple(found)


def _input(start: str, constants: list[int], chance: np.random.Generator) -> Any:
    def number(low: int, high: int) -> int:
        if constants and chance.integers(4) == 0:
            return constants[int(chance.integers(len(constants)))] + int(chance.integers(-1, 2))
        return int(chance.integers(low, high))

    if start == "int":
        return number(-15, 60) if chance.integers(3) == 0 else number(1, 60)
    if start == "list":
        pool = [number(-9, 20) for _ in range(5)]
        return [pool[int(chance.integers(5))] if i % 3 == 2 else number(-9, 20) for i in range(chance.integers(1, 8))]
    return " ".join(_WORDS[int(chance.integers(len(_WORDS)))] for _ in range(chance.integers(1, 6)))


def as_text(value: Any) -> str:
    """A value as a program reads or prints it."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def problem_row(problem: ContestProblem) -> Problem:
    """The problem as pass@k runs it."""
    pairs = list(zip(problem.inputs, problem.outputs, strict=True))
    tests: Asserts | Cases
    if problem.form == "function":
        lines = [f"    assert candidate({given!r}) == {asked!r}" for given, asked in pairs]
        tests = Asserts("\n".join(["def check(candidate):", *lines, ""]))
    else:
        tests = Cases(tuple((f"{as_text(given)}\n", f"{as_text(asked)}\n") for given, asked in pairs))
    return Problem(
        task_id=problem.name,
        prompt=f"{problem.instruction}\n{problem.examples}",
        tests=tests,
        reference=problem.reference,
        entry_point=_ENTRY if problem.form == "function" else None,
        difficulty=problem.grade,
    )
