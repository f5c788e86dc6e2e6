"""What a comparison is made from: the files of finished runs, and nothing else.

<arm>/seed-<k>/arm.json        the arm's settings
               results.json    the figures, and what they cost
               scores.json     a value an example
               metrics.jsonl   a line a step
               heldout.jsonl   a line an evaluation
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ...errors import RunError
from ...runtime.files import read_json
from ...runtime.logs import JsonLog

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ExampleScores:
    """One figure of one run, an example at a time."""

    values: Floats
    weights: Floats
    transform: str


@dataclass(frozen=True)
class RunFacts:
    """One finished run, read when it is asked for."""

    seed: int
    folder: Path
    results: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The figures; one that is no number counts as not measured."""
        found = self.results.get("metrics") or {}
        order = [*(self.results.get("figures") or []), *found]
        values = {name: found.get(name) for name in order}
        return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}

    @cached_property
    def _scores(self) -> dict[str, Any]:
        path = self.folder / "scores.json"
        return _whole(path) if path.exists() else {"ids": [], "scores": {}}

    @cached_property
    def places(self) -> dict[str, int]:
        """Where in its scores each measured example is, in the order they were measured."""
        return {name: i for i, name in enumerate(self._scores["ids"])}

    def scores(self, metric: str) -> ExampleScores | None:
        found = self._scores["scores"].get(metric)
        if found is None or len(found["values"]) != len(self.places):
            return None
        values = np.array(found["values"], dtype=np.float64)  # null becomes nan
        weights = np.ones_like(values) if found["weights"] is None else np.array(found["weights"], dtype=np.float64)
        usable = np.isfinite(values) & np.isfinite(weights)
        return ExampleScores(np.where(usable, values, 0.0), np.where(usable, weights, 0.0), found["transform"])

    @property
    def domains(self) -> dict[str, str]:
        """The domain of each example whose row names one; none in runs of before it was kept."""
        return dict(self._scores.get("domains") or {})

    def of_domain(self, domain: str, only: str | None = None) -> RunFacts:
        """The same run on the examples of one domain: each figure that has a value an example there, or `only` one."""
        named, ids = self.domains, self._scores["ids"]
        own = [i for i, name in enumerate(ids) if named.get(name) == domain]
        scores, metrics = {}, {}
        for name, whole in self._scores["scores"].items():
            found = self.scores(name) if only in (None, name) else None
            if found is None or not found.weights[own].sum() > 0:
                continue
            mean = float((found.values[own] * found.weights[own]).sum() / found.weights[own].sum())
            metrics[name] = float(np.exp(mean)) if found.transform == "exp" else mean
            scores[name] = {
                "values": found.values[own], "weights": found.weights[own], "transform": whole["transform"],
            }  # fmt: skip
        part = {"ids": [ids[i] for i in own], "scores": scores}
        return DomainFacts(self.seed, self.folder, self.results | {"metrics": metrics}, part)

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        return JsonLog(self.folder / "metrics.jsonl").rows()

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """Those of the training itself, which have a held-out loss. A curve over other rows than those that the run was
        measured on since is nobody's to compare with."""
        now = ((self.results.get("data") or {}).get("eval") or {}).get("ids_hash")
        if self.results.get("curve_rows", now) != now:
            return []
        rows = JsonLog(self.folder / "heldout.jsonl").rows()
        return [row for row in rows if row.get("loss") is not None and row.get("what", "eval") == "eval"]


@dataclass(frozen=True)
class DomainFacts(RunFacts):
    """A run on a part of its examples."""

    part: dict[str, Any]

    @cached_property
    def _scores(self) -> dict[str, Any]:
        return self.part


@dataclass(frozen=True)
class ArmFacts:
    """One arm: its settings, and its finished runs by seed."""

    name: str
    settings: dict[str, Any]
    runs: dict[int, RunFacts]

    @property
    def trained(self) -> bool:
        return self.settings.get("trainer") != "none"

    @property
    def seeds(self) -> list[int]:
        return list(self.runs)

    @property
    def fixed(self) -> bool:
        """A model that nobody trained, measured once: the same for every seed."""
        return not self.trained and len(self.runs) == 1

    def run_of(self, seed: int) -> RunFacts | None:
        return next(iter(self.runs.values())) if self.fixed else self.runs.get(seed)


def read_arm(folder: str | Path, name: str | None = None, seeds: list[int] | None = None) -> ArmFacts:
    """The finished runs of an arm's folder, all of them or those of some seeds.

    >>> arm = read_arm("runs/quickstart/short_first", seeds=[0, 1])   # doctest: +SKIP
    """
    folder = Path(folder)
    found = [path.parent for path in folder.glob("seed-*/results.json")]
    numbered = {int(path.name.removeprefix("seed-")): path for path in found if path.name[5:].isdigit()}
    chosen = {seed: numbered[seed] for seed in sorted(numbered) if seeds is None or seed in seeds}
    if not chosen:
        asked = "" if seeds is None else f" of seed {', '.join(map(str, seeds))}"
        raise RunError(f"{folder} holds no finished run{asked}: there is no seed-*/results.json in it")
    runs = {seed: RunFacts(seed, path, _whole(path / "results.json")) for seed, path in chosen.items()}
    settings = _whole(next(iter(chosen.values())) / "arm.json").get("settings", {})
    return ArmFacts(name or folder.name, settings, runs)


def _whole(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; the run is not whole, run it again") from None
    except orjson.JSONDecodeError as error:
        raise RunError(f"{path} is no JSON ({error}); run it again with --force") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} holds {type(found).__name__}, not an object")
    return found


def changes(base: dict[str, Any], arm: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (the base's value, the arm's) wherever two settings differ; lists are compared whole.

    >>> changes({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}})
    {'a.y': (2, 3)}
    """
    ours, theirs = _leaves(base), _leaves(arm)
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def _leaves(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= _leaves(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found
