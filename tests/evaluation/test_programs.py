"""From answers to programs: stop texts, code blocks, indentation, and what of the prompt is kept."""

from __future__ import annotations

import pytest

from curricle.data.problems import Asserts, Cases, Problem
from curricle.evaluation.programs import extract, question, reference_answer, stops, until

PREFIX = 'import math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Twice x."""\n'
FUNCTION = Problem("t/0", PREFIX, Asserts("def check(c):\n    assert c(2) == 4"), "    return 2 * x\n", "f", PREFIX)
TASK = Problem(
    "t/1", "Write a function to add.", Asserts("assert add(1,\n  2) == 3\nassert add(0, 0) == 0"), "def add.."
)
SCRIPT = Problem("t/2", "Add two numbers.", Cases((("1 2\n", "3\n"),)), "print(sum(map(int, input().split())))")


def run(program: str, call: str) -> object:
    names: dict[str, object] = {}
    exec(program, names)
    return eval(call, names)


def test_a_base_model_goes_on_with_the_code() -> None:
    assert question(FUNCTION, "base") == PREFIX
    found = extract(FUNCTION, "    return 2 * x\n\ndef other():\n    pass", "base")
    assert found.program == PREFIX + "    return 2 * x\n"
    assert found.rule == "up to a stop text"
    assert extract(FUNCTION, "    return 2 * x", "base").rule == "whole answer"


def test_a_task_is_a_docstring_with_its_tests() -> None:
    assert question(TASK, "base") == (
        '"""\nWrite a function to add.\nYour code should pass these tests:\nassert add(1,\n  2) == 3\n'
        'assert add(0, 0) == 0\n"""\n'
    )
    found = extract(TASK, "def add(a, b):\n    return a + b\nassert add(1, 2) == 3\n", "base")
    assert found.program == "def add(a, b):\n    return a + b"


def test_tests_that_the_task_shows_are_not_shown_twice() -> None:
    shown = Problem("t", "Add.\nassert add(0, 0) == 0", TASK.tests, "")
    assert question(shown, "base").count("assert") == 1


def test_a_script_may_branch_and_print_at_the_margin() -> None:
    answer = 'a, b = map(int, input().split())\nif a:\n    a += 0\nprint(a + b)\n"""\nNext task'
    assert stops(SCRIPT) == ('\n"""', "\n```")
    assert extract(SCRIPT, answer, "base").program.endswith("print(a + b)")


def test_the_first_stop_text_counts() -> None:
    assert until("a\nb\nc", ("\nc", "\nb")) == "a"
    assert until("abc", ("\n",)) == "abc"


def test_completions_of_other_tools_are_not_touched() -> None:
    answer = "    return 2 * x\n\ndef g():\n  ```python"
    assert extract(FUNCTION, answer, "as-is").program == PREFIX + answer
    assert extract(TASK, answer, "as-is").program == answer


CHAT = {
    "one block": "Sure!\n\n```python\ndef f(x):\n    return 2 * x\n```\nThis doubles x.",
    "label py": "```py\ndef f(x):\n    return 2 * x\n```",
    "no label": "```\ndef f(x):\n    return 2 * x\n```",
    "tildes": "~~~python\ndef f(x):\n    return 2 * x\n~~~",
    "four ticks": "````python\ndef f(x):\n    return 2 * x\n````",
    "usage after": "```python\ndef f(x):\n    return 2 * x\n```\nUse:\n```python\nprint(f(2))\n```",
    "corrected": "```python\ndef f(x):\n    return x\n```\nWait:\n```python\ndef f(x):\n    return 2 * x\n```",
    "broken later": "```python\ndef f(x):\n    return 2 * x\n```\nor\n```python\ndef f(x):\n    return (\n```",
    "shell first": "```bash\npip install f\n```\n```python\ndef f(x):\n    return 2 * x\n```",
    "output unlabelled": "```python\ndef f(x):\n    return 2 * x\n```\nOutput:\n```\n4\n```",
    "in a list": "1. Do:\n   ```python\n   def f(x):\n       return 2 * x\n   ```",
    "cut off": "```python\ndef f(x):\n    return 2 * x\n",
    "windows": "```python\r\ndef f(x):\r\n    return 2 * x\r\n```\r\n",
    "uses helper and import": "```python\ndef f(x):\n    return helper(math.floor(2.0)) * x\n```",
    "a lambda": "```python\nf = lambda x: 2 * x\n```",
    "body, indented": "```python\n    return 2 * x\n```",
    "body, at the margin": "```python\ny = x\nreturn x + y\n```",
    "body, first line stripped": "```python\ny = x\n    return x + y\n```",
    "body without block": "    y = x\n    return x + y",
    "body without block, stripped": "return 2 * x",
    "function without block": "def f(x):\n    return 2 * x",
    "an aside in a block": '```python title="f.py"\ndef f(x):\n    return 2 * x\n```',
}


@pytest.mark.parametrize("answer", CHAT.values(), ids=CHAT)
def test_chat_answers_become_programs(answer: str) -> None:
    assert run(extract(FUNCTION, answer, "chat").program, "f(2)") == 4


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (CHAT["one block"], "the code block that defines f"),
        (CHAT["corrected"], "the last code block that defines f"),
        (CHAT["body, indented"], "the code block, taken as the body"),
        (CHAT["function without block"], "no code block"),
        (CHAT["body without block"], "no code block, taken as the body"),
    ],
)
def test_rules_are_named(answer: str, rule: str) -> None:
    assert extract(FUNCTION, answer, "chat").rule == rule


def test_a_chat_is_given_the_code_and_its_answer_keeps_helpers() -> None:
    asked = question(FUNCTION, "chat")
    assert f"```python\n{PREFIX.rstrip()}\n```" in asked
    assert extract(FUNCTION, CHAT["one block"], "chat").program.startswith("import math\n\n\ndef helper")
    assert "reads standard input" in question(SCRIPT, "chat")
    assert "assert add(0, 0) == 0" in question(TASK, "chat")


def test_a_bare_answer_is_a_block_or_all_of_it() -> None:
    assert question(SCRIPT, "bare") == "Add two numbers."
    assert extract(SCRIPT, "print(1)", "bare").program == "print(1)"
    assert extract(SCRIPT, "Here:\n```python\nprint(1)\n```", "bare").program == "print(1)\n"


@pytest.mark.parametrize("style", ["base", "chat", "bare"])
@pytest.mark.parametrize("problem", [FUNCTION, TASK, SCRIPT], ids=lambda problem: problem.task_id)
def test_a_reference_answer_becomes_the_reference_program(problem: Problem, style: str) -> None:
    found = extract(problem, reference_answer(problem, style), style)  # type: ignore[arg-type]
    wanted = problem.program(problem.reference)
    if style == "chat" and problem.prefix:
        assert run(found.program, "f(2)") == run(wanted, "f(2)")
    else:
        assert found.program.strip() == wanted.strip()


@pytest.mark.parametrize("answer", ["", "```", "```python\n```", "\0", "```python\n" + "(" * 5000 + "\n```"])
def test_nothing_useful_is_still_a_program(answer: str) -> None:
    for style in ("base", "chat", "bare", "as-is"):
        assert isinstance(extract(FUNCTION, answer, style).program, str)  # type: ignore[arg-type]
