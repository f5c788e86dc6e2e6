"""Arms that are merged out of others: their weights, their cost, and what is not trained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from curricle.errors import CurricleError
from curricle.experiments.run import run
from curricle.experts.checkpoint import Checkpoint
from curricle.experts.reading import read_difference

SHAPE = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
RECIPE: dict[str, Any] = {
    "name": "share",
    "model": {"name_or_path": "nano:llama", "shape": {**SHAPE, "num_attention_heads": 2}, "adapter": {"lora_r": 4}},
    "data": {"format": "prompt-completion", "max_length": 160},
    "training": {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "eval_strategy": "no",
        "use_cpu": True,
    },
    "evaluation": [{"metric": "loss"}],
    "seeds": [0],
}
DOMAINS = {"sums": "toy:domain-sums#60", "records": "toy:domain-records#60"}


def recipe(domains: dict[str, str] = DOMAINS, **experts: Any) -> dict[str, Any]:
    asked = {"domains": domains, "held_out": 0.4, "controls": ["uniform_soup"], **experts}
    return RECIPE | {"experts": asked}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


def test_an_experiment_ends_in_a_merged_model_and_the_sources_files(tmp_path: Path) -> None:
    result = run(recipe(merge={"search": {"budget": 7, "method": "nelder-mead"}, "num_prompts": 2}))

    folder = tmp_path / "runs" / "share"
    results = {each.arm: each.results for each in result.runs}  # type: ignore[union-attr]
    weights = results["merged"]["weights"]
    assert set(weights) == {"sums", "records"}
    assert results["uniform_soup"]["weights"] == {"sums": 0.5, "records": 0.5}
    assert results["merged"]["start_flops"] == results["uniform_soup"]["start_flops"] > 0
    assert results["merged"]["label_flops"] > results["merged"]["start_flops"]  # the search is charged
    assert set(results["merged"]["domain_loss"]) == {"sums", "records"}

    base = Checkpoint(folder / "merged" / "seed-0" / "base")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged" / "seed-0" / "model").state_dict()
    own = {name: read_difference(folder / name / "seed-0" / "model", base) for name in weights}
    for name in base.names:
        parts = [weight * own[arm].dense(name) for arm, weight in weights.items() if name in own[arm].names]
        expected = base.read(name) + sum(parts) if parts else base.read(name)
        torch.testing.assert_close(merged[name], expected, rtol=1e-5, atol=1e-6)

    beside = folder / "experts" / "seed-0"
    for domain in DOMAINS:
        assert (beside / "checkpoints" / f"lora_{domain}" / "adapter_model.safetensors").is_file()
        assert "loss" in (beside / "logs" / f"train_{domain}.log").read_text()
        assert (beside / "summary" / f"train_{domain}.csv").read_text().startswith("step,epoch,loss,eval_loss")
        assert (beside / "diff_vectors" / f"diff_{domain}.npy").is_file()
        assert json.loads((beside / "diff_stats" / f"diff_{domain}_summary.json").read_text())
    assert (beside / "merged_model" / "model.safetensors").is_file()
    assert "untouched" not in (beside / "results" / "eval_prompt_comparison.md").read_text()
    assert "merged" in (folder / "results" / "metric_summary.csv").read_text()


def test_a_further_domain_trains_one_expert(tmp_path: Path) -> None:
    def settings(domains: dict[str, str]) -> dict[str, Any]:
        asked = recipe(domains, controls=[], merge={"weights": "uniform", "num_prompts": 0})
        return asked | {
            "model": {**asked["model"], "vocabulary": "toy:domain-records#60"}
        }  # of no domain more than another

    run(settings(DOMAINS))
    folder = tmp_path / "runs" / "share"
    written = {name: (folder / name / "seed-0" / "metrics.jsonl").stat().st_mtime_ns for name in DOMAINS}

    wider = settings({**DOMAINS, "korean": "toy:domain-korean#60"})
    result = run(wider)

    assert {name: (folder / name / "seed-0" / "metrics.jsonl").stat().st_mtime_ns for name in DOMAINS} == written
    for each in result.runs:  # type: ignore[union-attr]
        assert set(each.results["domain_loss"]) == {"sums", "records", "korean"}


def test_a_whole_model_can_be_an_expert(tmp_path: Path) -> None:
    whole = recipe(controls=[], merge={"weights": {"sums": 1.0, "records": 0.0}, "num_prompts": 0})
    whole["model"] = {**whole["model"], "adapter": None}
    run(whole)

    folder = tmp_path / "runs" / "share"
    own, merged = (Checkpoint(folder / arm / "seed-0" / "model") for arm in ("sums", "merged"))
    for name in own.names:
        torch.testing.assert_close(merged.read(name), own.read(name), rtol=0, atol=1e-6)


def test_an_expert_trained_again_is_merged_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recipe(controls=[], merge={"weights": "uniform", "num_prompts": 0})
    run(whole)
    model = tmp_path / "runs" / "share" / "merged" / "seed-0" / "model" / "model.safetensors"
    before = model.read_bytes()

    other = {**whole, "arms": {"sums": {"training": {"learning_rate": 2e-2}}}}
    with pytest.raises(CurricleError, match=r"sums/seed-0 holds another recipe.*--arms sums --force"):
        run(other)
    run(other, arms=["sums"], force=True)
    assert "merged: merged of models that are others now" in capsys.readouterr().err
    assert model.read_bytes() == before
    run(other)
    assert "merged again, as the recipe is another" in capsys.readouterr().err
    assert model.read_bytes() != before
    after = model.stat().st_mtime_ns
    run(other)
    assert model.stat().st_mtime_ns == after


def test_smoke_merges_what_it_trained(capsys: pytest.CaptureFixture[str]) -> None:
    tried = run(recipe(controls=["untouched"]), smoke=True)
    said = capsys.readouterr().err
    assert "smoke untouched: the model as it is" in said
    assert "smoke merged: merging sums, records" in said
    assert {row["arm"] for row in tried.rows} == {"untouched", "sums", "records", "merged"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("experts", "says"),
    [
        ({"merge": {"search": {"budget": 2}}}, "budget of 2"),
        ({"domains": {**DOMAINS, "korean": "toy:domain-korean#3"}, "held_out": 0.1}, "no usable row between"),
        ({"merge": {"weights": {"sums": 1.0, "records": -1.0}, "normalize": "sum1"}}, "sum to 0"),
    ],
)
def test_what_a_merge_needs_is_known_before_training(tmp_path: Path, experts: Any, says: str) -> None:
    for how in ({"plan": True}, {}):
        with pytest.raises(CurricleError, match=says):
            run(recipe(**experts), **how)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("runs/*/*/seed-0/model"))
