"""What a run amounts to. All of this happens in the user's process, from how processes ended and what they wrote."""

from __future__ import annotations

import json
import signal

from .config import Limits, Outcome, Verdict
from .worker import Run

_OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "memory", "crashed", "refused")


def of_tests(id: str, run: Run, limits: Limits) -> Verdict:
    """The examiner's verdict, unless it was ended; the sample's process cannot write there."""
    if run.late:
        return Verdict(id, "timeout", f"no result after {limits.seconds:g} s", run.seconds)
    try:
        said = json.loads(run.said)
        outcome = _OUTCOMES[_OUTCOMES.index(said["outcome"])]
        evidence = _plain(str(said["evidence"]))
    except (ValueError, KeyError, TypeError):
        return Verdict(id, "crashed", "the process of the tests ended", run.seconds)
    if outcome == "crashed" and run.end != -signal.SIGKILL:  # which is how what still runs at the verdict is ended
        evidence = f"{evidence}: {_ended(run.end)}"
    return Verdict(id, outcome, evidence, run.seconds)


def of_case(run: Run, wanted: str, limits: Limits) -> tuple[Outcome, str]:
    """A program's output and exit status against what is wanted."""
    if run.late:
        return "timeout", f"still running after {limits.seconds:g} s"
    if run.too_long:
        return "failed", f"printed more than {limits.output_kib} KiB"
    if run.told:
        return _told(run.told)
    if run.end != 0:
        return "crashed", _ended(run.end)
    got = _lines(run.said.decode("utf-8", "replace"))
    lines = _lines(wanted)
    if got == lines:
        return "passed", ""
    line = next((i for i, (a, b) in enumerate(zip(got, lines, strict=False)) if a != b), min(len(got), len(lines)))
    return "failed", f"line {line + 1}: expected {_show(lines, line)}, got {_show(got, line)}"


def _told(said: bytes) -> tuple[Outcome, str]:
    """The exception a program died of, as its process tells it: it can only make a failure another failure."""
    try:
        nearest, own, text = (str(part) for part in json.loads(said))
    except (ValueError, TypeError, RecursionError):
        return "crashed", "ended in disorder"
    outcome: Outcome = "memory" if nearest == "MemoryError" else "failed"
    return outcome, _plain(" ".join(f"{own}: {text}".split())[:400])


def _plain(text: str) -> str:
    """Text of a sample that a terminal may show: what would move its cursor, recolour or reorder it is spelled out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _lines(text: str) -> list[str]:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").split("\n")


def _show(lines: list[str], index: int) -> str:
    return repr(lines[index][:120]) if index < len(lines) else "the end"


def _ended(end: int) -> str:
    if end >= 0:
        return f"exited with status {end}"
    try:
        return f"was ended by {signal.Signals(-end).name}"
    except ValueError:
        return f"was ended by signal {-end}"
