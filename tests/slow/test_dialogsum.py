"""DialogSum as it was published: prepared, then learned by two architectures, whole and with LoRA, by both trainers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curricle.cli import main
from curricle.runtime.logs import JsonLog

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("libraries")]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "dialogue" / "dialogsum.yaml"


def test_dialogsum(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "dialogsum", str(shared_data / "dialogsum"), "-o", "data/dialogsum"]) == 0
    assert "12,460 of 12,460 rows" in capsys.readouterr().out
    asked = ["--set", "data.limit=600", "--set", "training.max_steps=60", "--set", "grid={trainer: [hf, trl]}"]
    assert main(["run", str(RECIPE), *asked]) == 0
    table = capsys.readouterr().out
    final = {}
    for arm in ("llama", "llama-lora", "qwen2", "qwen2-lora"):
        for trainer in ("hf", "trl"):
            run = Path(f"runs/dialogsum/{arm}+trainer={trainer}/seed-42")
            losses = [row["loss"] for row in JsonLog(run / "metrics.jsonl").rows()]
            results = json.loads((run / "results.json").read_bytes())
            assert len(losses) == results["steps"] == 60
            assert sum(losses[-5:]) < sum(losses[:5]) * (0.95 if "lora" in arm else 0.8)
            assert results["metrics"]["loss"] < losses[0]
            assert results["data"]["train"]["examples"] == 600
            assert results["data"]["eval"]["examples"] == 100
            assert f"{arm}+trainer={trainer}" in table
            final[arm, trainer] = losses[-1], results["metrics"]["loss"]
    for arm in ("llama", "llama-lora", "qwen2", "qwen2-lora"):
        assert final[arm, "hf"] == pytest.approx(final[arm, "trl"], rel=1e-3)
