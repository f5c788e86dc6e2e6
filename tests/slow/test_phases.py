"""The plan of the dialogue source: every arm of it with two architectures, its checks judged, its report written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("libraries")]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "dialogue" / "phases.yaml"
LADDER = ("phase0", "phase1", "phase1_fallback", "phase2", "phase3", "phase3_as_written")


@pytest.mark.parametrize("model", ["nano:llama", "nano:qwen2"])
def test_phases(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "dialogsum", str(shared_data / "dialogsum"), "-o", "data/dialogsum"]) == 0
    assert main(["run", str(RECIPE), "--set", f"model.name_or_path={model}"]) == 0
    folder = Path("runs/phases")
    compared = json.loads((folder / "comparison.json").read_bytes())
    results = {path.parts[2]: json.loads(path.read_bytes()) for path in folder.glob("*/seed-42/results.json")}
    arms = [arm["name"] for arm in compared["arms"]]
    assert set(arms) == set(results)
    assert set(LADDER) < set(arms)
    assert compared["base"] == "phase0"
    assert all(results[arm]["steps"] == 60 for arm in LADDER)
    assert results["untouched"]["steps"] == 0
    figures = {arm: results[arm]["metrics"] for arm in arms}
    assert all(set(found) == set(figures["phase0"]) for found in figures.values())
    assert figures["phase0"]["loss"] < figures["untouched"]["loss"]
    assert figures["only_trainer"]["loss"] == pytest.approx(figures["phase0"]["loss"], rel=1e-3)
    tokens = {arm: results[arm]["tokens"] for arm in arms}
    assert tokens["packing_equal_tokens"] == pytest.approx(tokens["phase0"], rel=0.1)
    assert tokens["packing_equal_examples"] == pytest.approx(tokens["phase0"], rel=0.1)
    assert tokens["phase3"] == pytest.approx(tokens["phase2"], rel=0.1)
    outcomes = {(line["arm"], line["check"]): line["outcome"] for line in compared["checks"]}
    assert len(outcomes) == 11
    assert outcomes["phase2", "rouge.sum > 70"] == "not met"  # an honest one: a random model and 60 steps
    assert outcomes["phase3", "seconds_per_epoch < 0.6 * phase2"] in ("met", "not met")
    assert (folder / "report.html").stat().st_size > 50_000
