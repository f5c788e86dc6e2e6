"""From a programming problem to what a model is asked, and from what it answers to the program that is run.

    style     asked                                             run
    base      the code to go on with (HumanEval), else the      prefix + the answer, up to the first stop text
              task and its tests as a docstring
    chat      the task in a message, an answer in a code        the code block that defines the function, behind the
              block wanted                                      prompt's imports and helpers
    bare      the task and nothing else, as a model was         the code block if there is one, else the whole answer
              trained on the same kind of rows
    as-is     (completions of other tools)                      prefix + the answer, untouched

What was done to an answer is named by a rule, which is kept with its verdict: two figures can be compared when their
styles, stop texts and rules are the same.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import Literal, get_args

from ..data.problems import Asserts, Cases, Problem

Style = Literal["base", "chat", "bare", "as-is"]
STYLES: tuple[Style, ...] = get_args(Style)

STOPS_IN_FUNCTION = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```")
"""A continued function is over where a line at the margin begins something else."""
STOPS_AFTER_TASK = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n```")
"""A program written below its task: where tests or a main part begin."""
STOPS_OF_SCRIPT = ('\n"""', "\n```")
"""A program that reads standard input prints and branches at the margin itself."""

_FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<label>[^\s`{]*)[^\n`]*\n"
    r"(?P<code>.*?)"
    r"(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = ("python", "py", "python3")
_ASSERT = re.compile(r"^assert\b.*(?:\n[ \t)\]}].*)*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What is run for an answer, and by which rule it came about."""

    program: str
    rule: str


# --- what is asked ----------------------------------------------------------------------------------


def stops(problem: Problem) -> tuple[str, ...]:
    """What ends the answer of a base model to this problem."""
    if isinstance(problem.tests, Cases):
        return STOPS_OF_SCRIPT
    return STOPS_IN_FUNCTION if problem.prefix else STOPS_AFTER_TASK


def question(problem: Problem, style: Style) -> str:
    """The text a model is given: a document to go on with (base), or the user's message (chat, bare)."""
    if style == "chat":
        return _message(problem)
    if style == "base":
        return problem.prefix or f'"""\n{_task(problem)}\n"""\n'
    return problem.prompt


def reference_answer(problem: Problem, style: Style) -> str:
    """The reference solution as an answer in this style, to see how likely a model finds it."""
    if style == "chat":
        return f"```python\n{problem.program(problem.reference).strip()}\n```"
    return problem.reference


def _message(problem: Problem) -> str:
    if problem.prefix:
        return (
            "Complete this Python function. Answer with the whole function and its imports in one code block.\n\n"
            f"```python\n{problem.prefix.rstrip()}\n```"
        )
    kind = ""
    if isinstance(problem.tests, Cases):
        kind = "The program reads standard input and writes to standard output. "
    return f"{_task(problem)}\n\n{kind}Answer with the whole Python program in one code block."


def _task(problem: Problem) -> str:
    """The task, and the tests that show how the function is called, where the task does not."""
    shown = problem.prompt.strip()
    if not isinstance(problem.tests, Asserts) or problem.entry_point or "assert " in shown:
        return shown
    asserts = "\n".join(_ASSERT.findall(problem.tests.code))
    return f"{shown}\nYour code should pass these tests:\n{asserts}" if asserts else shown


# --- what is run ------------------------------------------------------------------------------------


def extract(problem: Problem, answer: str, style: Style) -> Extracted:
    """The program that an answer stands for."""
    if style == "as-is":
        return Extracted(problem.program(answer), "as it is")
    if style == "base":
        kept = until(answer, stops(problem))
        return Extracted(problem.program(kept), "whole answer" if kept == answer else "up to a stop text")
    blocks = _blocks(answer.replace("\r\n", "\n"))
    if not blocks:
        if style == "bare" and not problem.prefix:
            return Extracted(answer, "whole answer")
        return _placed(problem, answer, "no code block")
    return _placed(problem, *_chosen(problem, blocks))


def until(text: str, ends: tuple[str, ...]) -> str:
    """The text before the first of these."""
    places = [place for end in ends if (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


def _blocks(answer: str) -> list[str]:
    """The fenced blocks that may be Python: those that say so, else those that say nothing. One that was cut off at
    the answer's end counts; the indentation of a list that a block stands in is taken off."""
    found = [(match["label"].lower(), _outdented(match["code"], match["indent"])) for match in _FENCE.finditer(answer)]
    labelled = [code for label, code in found if label in _PYTHON]
    return labelled or [code for label, code in found if not label]


def _outdented(code: str, indent: str) -> str:
    return re.sub(rf"^[ \t]{{1,{len(indent)}}}", "", code, flags=re.MULTILINE) if indent else code


def _chosen(problem: Problem, blocks: list[str]) -> tuple[str, str]:
    """Of several blocks the last that is Python and defines the function asked for; models correct themselves."""
    defining = [code for code in blocks if _defines(code, problem.entry_point)]
    whole = [code for code in defining if _parses(code)]
    rule = "the code block" if len(blocks) == 1 else "the last code block"
    if problem.entry_point and defining:
        return (whole or defining)[-1], f"{rule} that defines {problem.entry_point}"
    sound = [code for code in blocks if _parses(code)]
    return (sound or blocks)[-1], rule


def _placed(problem: Problem, code: str, rule: str) -> Extracted:
    """The code as a whole program. Behind a prefix: what stands before its function (imports, helpers) and the code,
    or where the code is only the function's body, the prefix and the body, indented as it must be."""
    if not problem.prefix:
        return Extracted(code, rule)
    if _defines(code, problem.entry_point):
        return Extracted(helpers(problem) + code, rule)
    return Extracted(_with_body(problem.prefix, code), f"{rule}, taken as the body")


def helpers(problem: Problem) -> str:
    """What of a problem's own code stands before its function: imports, and functions that tests may use too."""
    match = re.search(_definition(problem.entry_point), problem.prefix, re.MULTILINE)
    return problem.prefix[: match.start()] if match else ""


def _with_body(prefix: str, code: str) -> str:
    """A body at the margin is indented: all of it, or if that is no Python its first line alone, whose indentation is
    lost when an answer is stripped."""
    body = code.strip("\n")
    if body[:1].isspace():
        return prefix + body
    ways = [prefix + textwrap.indent(body, "    "), prefix + "    " + body]
    return next((way for way in ways if _parses(way)), ways[0])


def _definition(name: str | None) -> str:
    return rf"^(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(name or '')}\b|^{re.escape(name or '')}[ \t]*="


def _defines(code: str, name: str | None) -> bool:
    return name is not None and re.search(_definition(name), code, re.MULTILINE) is not None


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what somebody else's code does
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
