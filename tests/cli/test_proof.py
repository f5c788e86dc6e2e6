"""What a run proves, from end to end: figures of answers and of likelihoods, arms that nobody trained, checks, metrics
that are added later, figures that are watched while training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import curricle
from curricle.cli import main
from curricle.errors import CurricleError
from curricle.runtime.logs import JsonLog

RECIPE: dict[str, Any] = {
    "name": "r",
    "seeds": [0, 1],
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
    },
    "data": {"train": "toy:dialogue#24", "eval": "toy:dialogue-eval#6", "format": "dialogue", "max_length": 512},
    "training": {
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "save_steps": 2,
        "eval_steps": 2,
    },
    "generation": {"max_new_tokens": 8},
    "evaluation": [{"metric": "loss"}, {"metric": "rouge"}, {"metric": "foreign_script", "allow": ["Hangul"]}],
    "arms": {"tuned": {}, "untouched": {"trainer": "none"}},
}
TUNED = Path("runs/r/tuned/seed-0")
pytestmark = pytest.mark.usefixtures("libraries")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(**changes: Any) -> Any:
    return curricle.run({**RECIPE, **changes})


def results(folder: Path = TUNED) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_bytes())


def test_figures_have_a_value_a_row_and_answers_are_kept() -> None:
    done = run()
    names = [
        "loss",
        "loss.perplexity",
        *(f"rouge.{name}" for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "sum")),
    ]
    names += ["foreign_script.samples", "foreign_script.characters"]
    assert [info.name for info in done.comparison.metrics] == names
    samples = JsonLog(TUNED / "samples_eval.jsonl").rows()
    scores = json.loads((TUNED / "scores.json").read_bytes())
    assert len(samples) == 6
    assert [sample["id"] for sample in samples] == scores["ids"]
    assert all(len(sample["references"]) == 1 and sample["num_tokens"] <= 8 for sample in samples)
    for name, value in results()["metrics"].items():
        found = scores["scores"][name]
        weights = found["weights"] or [1.0] * 6
        mean = sum(w * v for w, v in zip(weights, found["values"], strict=True)) / (sum(weights) or 1.0)
        if found["transform"] == "none":
            assert value == pytest.approx(mean)


def test_the_untouched_model_is_an_arm() -> None:
    done = run()
    untouched = Path("runs/r/untouched/seed-0")
    assert results(untouched)["steps"] == 0
    assert not (untouched / "model").exists()
    assert [arm.trained for arm in done.comparison.arms] == [True, False]
    # A nano model is drawn by the seed: before its first step the tuned arm was this very model.
    first = JsonLog(TUNED / "metrics.jsonl").rows()[0]["loss"]
    assert results(untouched)["metrics"]["loss"] == pytest.approx(first, rel=0.05)
    assert results()["metrics"]["loss"] < results(untouched)["metrics"]["loss"]


def test_a_metric_added_later_is_measured_without_training() -> None:
    run(evaluation=[{"metric": "loss"}], arms={"tuned": {}})
    before, trained = results(), (TUNED / "metrics.jsonl").read_bytes()
    added = run(evaluation=[{"metric": "loss"}, {"metric": "token_accuracy"}], arms={"tuned": {}})
    assert (TUNED / "metrics.jsonl").read_bytes() == trained
    assert results()["seconds"] == before["seconds"]
    assert "token_accuracy" in results()["metrics"]
    assert added.comparison.cell("tuned", "token_accuracy").per_seed.keys() == {0, 1}
    grown = run(evaluation=[{"metric": "loss"}, {"metric": "token_accuracy"}], arms={"tuned": {}, "again": {}})
    [_, again] = grown.comparison.arms
    assert again.changes == {}, "what an arm was measured by is what it was measured by last"


def test_rows_that_changed_before_a_metric_was_added_are_in_the_books() -> None:
    rows = [{"prompt": f"{i} and {i} is", "completion": f" {2 * i}."} for i in range(8)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more: dict[str, Any] = {"data": {"train": "rows.jsonl", "eval": "dev.jsonl"}, "arms": {"tuned": {}}, "seeds": [0]}
    Path("dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    run(**more, evaluation=[{"metric": "loss"}])
    before = results()["data"]
    Path("dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    run(**more, evaluation=[{"metric": "loss"}, {"metric": "token_accuracy"}])
    assert results()["data"]["eval"]["examples"] == 5
    assert results()["data"]["eval"]["ids_hash"] != before["eval"]["ids_hash"]
    assert results()["data"]["train"] == before["train"]


def test_what_shaped_a_run_is_named_and_not_what_it_is_measured_by(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(yaml.safe_dump({**RECIPE, "arms": {"tuned": {}}, "evaluation": []}))
    assert main(["run", "r.yaml"]) == 0
    changes = ["training.learning_rate=1e-3", "generation.max_new_tokens=9", "evaluation=[{metric: loss}]"]
    capsys.readouterr()
    assert main(["run", "r.yaml", *(part for change in changes for part in ("--set", change))]) == 2
    told = capsys.readouterr().err
    assert "holds another recipe: `training.learning_rate` was 0.01, is 0.001; give" in told


def test_rows_without_a_target_count_in_the_perplexity_of_texts_and_nowhere_else() -> None:
    rows = [{"prompt": f"{i} and {i} is", "completion": f" {2 * i}."} for i in range(8)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[2]["completion"] = rows[4]["completion"] = None  # type: ignore[assignment]
    Path("dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    done = run(
        data={"train": "rows.jsonl", "eval": "dev.jsonl", "format": "prompt-completion"},
        evaluation=[{"metric": "loss"}, {"metric": "perplexity"}, {"metric": "chrf"}, {"metric": "foreign_script"}],
        arms={"tuned": {}},
        seeds=[0],
    )
    scores = json.loads((TUNED / "scores.json").read_bytes())
    counted = {name: sum(weight > 0 for weight in each["weights"]) for name, each in scores["scores"].items()}
    assert len(scores["ids"]) == 6
    assert (counted["loss"], counted["perplexity"], counted["foreign_script.samples"]) == (4, 6, 4)
    assert done.comparison.cell("tuned", "perplexity").interval.low is not None


def test_an_answer_figure_chooses_the_checkpoint() -> None:
    run(
        evaluation=[{"metric": "rouge", "during_training": 3}, {"metric": "foreign_script"}],
        selection={"metric": "rouge.rouge1", "num_examples": 4},
        arms={"tuned": {}},
        seeds=[0],
    )
    watched = {row["step"]: row["rouge.rouge1"] for row in JsonLog(TUNED / "heldout.jsonl").rows()}
    assert watched.keys() == {2, 4}
    assert "foreign_script.samples" not in JsonLog(TUNED / "heldout.jsonl").rows()[0]
    assert results()["best_checkpoint"] == f"checkpoint-{max(watched, key=lambda step: watched[step])}"


def outcomes() -> list[tuple[str, str, str]]:
    found = json.loads(Path("runs/r/comparison.json").read_bytes())["checks"]
    return [(line["arm"], line["outcome"], line["why"]) for line in found]


def test_checks_are_judged_and_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [
        {"arm": "tuned", "check": "loss < untouched"},
        {"arm": "tuned", "check": "rouge.sum > 299", "otherwise": "go back to the plain prompt"},
        "steps <= 4",
    ]
    Path("r.yaml").write_text(yaml.safe_dump({**RECIPE, "checks": checks}), encoding="utf-8")
    assert main(["run", "r.yaml", "--arms", "tuned"]) == 0
    assert outcomes()[0] == ("tuned", "not decidable", "untouched has no finished run")
    assert main(["run", "r.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "go back to the plain prompt" in shown
    assert [outcome for _, outcome, _ in outcomes()] == ["met", "not met", "met"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checks": ["rouge.sun > 70"]}, "did you mean `rouge.sum`"),
        ({"checks": [{"arm": "tund", "check": "loss < 1"}]}, "did you mean `tuned`"),
        ({"checks": ["loss < 3%"]}, "not in percent"),
        ({"comparison": {"base": "x"}}, "`comparison.base` is x, no arm"),
        ({"selection": {"metric": "rouge.rouge9"}}, "did you mean `rouge.rouge"),
        ({"evaluation": [{"metric": "foreign_script", "allow": ["Hangle"]}]}, "did you mean `Hangul`"),
        ({"evaluation": [{"metric": "bleu", "tokenizer": "13b"}]}, "did you mean `13a`"),
        ({"evaluation": [{"metric": "hits", "candidates": 5, "k": [5]}]}, "hits@5 of 5 candidates is always met"),
        ({"evaluation": [{"metric": "hits", "candidates": 9}]}, "`data.eval` has 6: set candidates to 6 or less"),
        ({"evaluation": [{"metric": "perplexity", "context": 9000}]}, "context is 9000, and the model was made for"),
        ({"data": {**RECIPE["data"], "eval": "texts.jsonl", "format": "text"}}, "raw text has no prompt"),
    ],
)
def test_mistakes_are_found_before_training(changes: dict[str, Any], message: str) -> None:
    row = json.dumps({"text": "A text of some words.", "dialogue": "#Person1#: Hi.", "summary": "Hi."})
    Path("texts.jsonl").write_text(f"{row}\n", encoding="utf-8")
    if "data" in changes:
        changes["data"]["train"] = "texts.jsonl"
    with pytest.raises(CurricleError, match=message):
        run(**changes)
    assert not list(Path("runs").glob("r/*/*"))


def test_a_run_of_an_older_version_goes_on() -> None:
    """A key that came since is not in its books; with the default in place it is the same recipe."""
    run(arms={"tuned": {}}, seeds=[0])
    trained = (TUNED / "metrics.jsonl").read_bytes()
    about = json.loads((TUNED / "arm.json").read_bytes())
    del about["settings"]["data"]["lookahead"]
    about["hash"] = "of another version"
    (TUNED / "arm.json").write_text(json.dumps(about), encoding="utf-8")
    done = run(arms={"tuned": {}})
    assert (TUNED / "metrics.jsonl").read_bytes() == trained
    assert [arm.seeds for arm in done.comparison.arms] == [[0, 1]]
    about["settings"]["data"]["lookahead"] = 7
    (TUNED / "arm.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(CurricleError, match=r"`data\.lookahead` was 7, is 256"):
        run(arms={"tuned": {}})


def test_a_run_killed_while_it_is_measured_is_not_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from curricle.experiments import measuring

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(measuring, "measure_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(arms={"tuned": {}}, seeds=[0])
    trained = (TUNED / "metrics.jsonl").read_bytes()
    assert "metrics" not in results()
    done = run(arms={"tuned": {}}, seeds=[0])
    assert (TUNED / "metrics.jsonl").read_bytes() == trained
    assert done.comparison.cell("tuned", "loss").per_seed.keys() == {0}
