"""How far an experiment is, from its files alone: nothing is written, locked or read whole.

    recipe.yaml          which arms and seeds there will be, and how many steps
    arm.json             a run has begun
    metrics.jsonl        its last lines: step, planned steps, loss, tokens a second
    heldout.jsonl        its last line: the held-out loss
    model/               training is over, measuring goes on
    results.json         all is done

A run at work may write at the very moment its files are read: a line without its end is left for the next look, and a
file that goes away was not there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from ..errors import RunError
from ..runtime.rundir import LOCK
from .document import Tree, read_document
from .overrides import overlay

State = Literal["waiting", "starting", "training", "measuring", "finished", "stopped"]

TAIL = 1 << 16
PACE_OVER = 20
"""Steps whose mean duration is the pace of a run."""
SILENCE = 60.0
"""Seconds without a sign of life, beyond ten steps' time, after which a run counts as stopped when no process of this
machine holds its folder."""


@dataclass(frozen=True)
class RunProgress:
    """One arm with one seed, as its files stood."""

    arm: str
    seed: int
    state: State
    step: int = 0
    planned: int | None = None
    """Steps it will take; None where no file says so yet."""
    loss: float | None = None
    held_out: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    """None where nothing like it has been timed yet."""

    @property
    def name(self) -> str:
        return f"{self.arm}/seed-{self.seed}"

    def cells(self) -> dict[str, str]:
        """A row of the table."""
        steps = f"{self.step:,}/{self.planned:,}" if self.planned else f"{self.step:,}" if self.step else "-"
        return {
            "run": self.name,
            "state": self.state,
            "step": steps,
            "loss": _figure(self.loss),
            "held-out": _figure(self.held_out),
            "tokens/s": "-" if self.tokens_per_second is None else f"{self.tokens_per_second:,.0f}",
            "left": "" if self.state == "finished" else duration(self.seconds_left),
        }


@dataclass(frozen=True)
class Progress:
    """All runs of an experiment; prints itself as a table."""

    name: str
    folder: Path
    runs: list[RunProgress]
    at_work: bool
    """Whether a process seems to be working on it."""

    @property
    def finished(self) -> bool:
        return all(run.state == "finished" for run in self.runs)

    @property
    def stopped(self) -> bool:
        """No process works on it, and something that was begun is not finished, or nothing was."""
        states = {run.state for run in self.runs}
        return not self.at_work and ("stopped" in states or "finished" not in states)

    @property
    def seconds_left(self) -> float | None:
        """Of the whole experiment: its runs go one after another. A first measurement, which nothing foretells, is
        left out."""
        waiting = [run.seconds_left for run in self.runs if run.state != "measuring"]
        if any(seconds is None for seconds in waiting):
            return None
        return sum(run.seconds_left or 0.0 for run in self.runs)

    def summary(self) -> str:
        done = sum(run.state == "finished" for run in self.runs)
        text = f"{self.folder}: {done} of {len(self.runs)} runs finished"
        if self.finished:
            return text
        if self.stopped:
            return f"{text}, and no process works on the rest; run the same command again to go on"
        if not self.at_work:  # such as seeds of the recipe that the command line left out
            return f"{text}; the rest has not begun, and no process works on it"
        left = self.seconds_left
        return text if left is None else f"{text}, about {duration(left)} left"

    def __str__(self) -> str:
        from .results import render

        return f"{render([run.cells() for run in self.runs])}\n\n{self.summary()}"


def look(run: str | Path) -> Progress:
    """How far the experiment in a folder is; given the folder of one of its arms or runs, only that part of it.

    >>> print(look("runs/quickstart"))   # doctest: +SKIP
    """
    asked = Path(run)
    folder = next((path for path in (asked, *asked.parents[:2]) if (path / "recipe.yaml").is_file()), None)
    if folder is None:
        raise RunError(
            f"{asked} is no folder of an experiment: there is no recipe.yaml in it; name runs/NAME, or an arm in it"
        )
    recipe, _ = read_document(folder / "recipe.yaml")
    places = [
        (arm, seed)
        for arm, seed in _expected(recipe, folder)
        if folder == asked or (folder / arm / f"seed-{seed}").is_relative_to(asked)
    ]
    if not places:
        raise RunError(f"{asked} is no run of {folder}; its recipe has the arms {', '.join(_arms(recipe))}")
    found = [_Found(folder / arm / f"seed-{seed}", arm, seed, _settings(recipe, arm)) for arm, seed in places]
    begun = [one for one in found if one.begun and not one.finished]
    current = max(begun, key=lambda one: one.touched, default=None)
    at_work = _held(folder) or (current is not None and _fresh(current))
    typical = _Typical(found)
    runs = [one.progress(at_work, one is current, typical) for one in found]
    return Progress(str(recipe.get("name", folder.name)), folder, runs, at_work)


def _arms(recipe: Tree) -> list[str]:
    return list(recipe.get("arms") or ["base"])


def _expected(recipe: Tree, folder: Path) -> list[tuple[str, int]]:
    """The recipe's arms and seeds, and seeds beyond them that somebody asked for on the command line."""
    found = {
        (path.parent.name, int(path.name.removeprefix("seed-")))
        for path in folder.glob("*/seed-*")
        if path.name.removeprefix("seed-").isdigit()
    }
    arms = _arms(recipe)
    planned = [(arm, seed) for arm in arms for seed in recipe.get("seeds") or []]
    return sorted({*planned, *(one for one in found if one[0] in arms)}, key=lambda one: (arms.index(one[0]), one[1]))


def _settings(recipe: Tree, arm: str) -> Tree:
    settings: Tree = overlay(recipe, (recipe.get("arms") or {}).get(arm) or {})
    return settings


class _Found:
    """One run's files, read once."""

    def __init__(self, folder: Path, arm: str, seed: int, settings: Tree) -> None:
        self.arm, self.seed, self.settings = arm, seed, settings
        self.begun = folder.is_dir()
        self.results = read_whole(folder / "results.json") or {}
        self.rows = last_rows(folder / "metrics.jsonl")
        self.held_out = next((row["loss"] for row in last_rows(folder / "heldout.jsonl")[::-1] if "loss" in row), None)
        self.has_model = (folder / "model").is_dir()
        self.touched = newest(folder)
        self.measures = bool(settings.get("evaluation"))
        self.trains = settings.get("trainer") != "none"

    @property
    def finished(self) -> bool:
        return bool(self.results) and ("metrics" in self.results or not self.measures)

    @property
    def pace(self) -> float | None:
        """Seconds a step: of the last steps, or of the whole run once that is over."""
        if self.results.get("steps"):
            return float(self.results.get("seconds", 0.0) / self.results["steps"])
        return _mean([row["seconds"] for row in self.rows if "seconds" in row])

    @property
    def last(self) -> dict[str, Any]:
        return self.rows[-1] if self.rows else {}

    @property
    def planned(self) -> int | None:
        asked = (self.settings.get("training") or {}).get("max_steps") or 0
        return self.results.get("steps") or self.last.get("planned_steps") or (asked if asked > 0 else None)

    def state(self, at_work: bool, current: bool) -> State:
        if self.finished:
            return "finished"
        if not (current and at_work):
            return "stopped" if self.begun and not at_work else "waiting"
        if self.has_model or self.results or not self.trains:
            return "measuring"
        return "training" if self.rows else "starting"

    def progress(self, at_work: bool, current: bool, typical: _Typical) -> RunProgress:
        state = self.state(at_work, current)
        working = state in ("training", "measuring")
        return RunProgress(
            arm=self.arm,
            seed=self.seed,
            state=state,
            step=int(self.results.get("steps") or self.last.get("step", 0)),
            planned=self.planned if self.trains else None,
            loss=self.results.get("train_loss", self.last.get("loss")),
            held_out=(self.results.get("metrics") or {}).get("loss", self.held_out),
            tokens_per_second=_mean([row["tokens_per_second"] for row in self.rows]) if working else None,
            seconds_left=0.0 if self.finished else typical.seconds_left(self, trained=state == "measuring"),
        )


class _Typical:
    """What a step and a measurement take, from the runs that have taken them."""

    def __init__(self, runs: Iterable[_Found]) -> None:
        runs = list(runs)
        self.paces = [(run.arm, run.pace) for run in runs if run.pace]
        self.measuring = _mean([run.results["measuring_seconds"] for run in runs if "measuring_seconds" in run.results])

    def seconds_left(self, run: _Found, trained: bool) -> float | None:
        measuring = self.measuring if run.measures else 0.0
        if trained or not run.trains:
            return measuring
        same_arm = _mean([pace for arm, pace in self.paces if arm == run.arm])
        pace = run.pace or same_arm or _mean([pace for _, pace in self.paces])
        if pace is None or run.planned is None:
            return None
        return (run.planned - int(run.last.get("step", 0))) * pace + (measuring or 0.0)


# --- files that somebody else is writing ------------------------------------------------------------


def last_rows(path: Path, most: int = PACE_OVER, tail: int = TAIL) -> list[dict[str, Any]]:
    """The last whole lines of a log; only its end is read, from where at least one line is whole."""
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            while True:
                handle.seek(max(0, size - tail))
                lines = handle.read(tail).split(b"\n")[:-1]  # the last part is a line still being written, or nothing
                if tail < size:
                    lines = lines[1:]  # the first may have begun before
                if lines or tail >= size:
                    break
                tail *= 4
    except OSError:
        return []
    return [row for row in map(_parsed, lines[-most:]) if isinstance(row, dict)]


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def read_whole(path: Path) -> dict[str, Any] | None:
    """A small JSON file, or None when it is not there."""
    try:
        found = _parsed(path.read_bytes())
    except OSError:
        return None
    return found if isinstance(found, dict) else None


def newest(folder: Path) -> float:
    """When anything in a folder was last written."""
    times = []
    try:
        for entry in os.scandir(folder):
            times.append(entry.stat().st_mtime)
    except OSError:  # removed while we looked
        pass
    return max(times, default=0.0)


def _held(folder: Path) -> bool:
    """Whether the process that signed the folder's lock lives. The lock itself is not touched."""
    try:
        os.kill(int((folder / LOCK).read_text()), 0)
    except PermissionError:
        return True  # it lives, and is somebody else's
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _fresh(run: _Found) -> bool:
    """A run on another machine has no process here, but its files grow."""
    return time.time() - run.touched < SILENCE + 10 * (run.pace or 0.0)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time as people say it: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
