"""From finished runs to a form: whose answers stand in it, which prompts, and that nobody's points are lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import curricle
from curricle.cli.app import main
from curricle.errors import CurricleError, RecipeError, RunError
from curricle.experiments.prompts.compare import BegunForm, compare_prompts, in_turn, write_comparison
from curricle.experiments.prompts.form import FORM, key_path, parse
from curricle.experiments.prompts.points import read_form
from made_runs import MadeArm, write_runs

ARMS = (MadeArm("untouched", 2.5, 0.2, {"trainer": "none"}), MadeArm("law", 2.1, 0.5), MadeArm("merged", 2.0, 0.6))


def kept(run: Path, arm: str, seed: int = 0) -> dict[str, dict[str, str]]:
    lines = (run / arm / f"seed-{seed}" / "samples_eval.jsonl").read_text().splitlines()
    return {row["prompt"]: row for row in map(json.loads, lines)}


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_answers_that_the_runs_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0, 1))
    assert main(["prompts", "compare", str(run), "-o", str(tmp_path / "out"), "--num", "4"]) == 0
    assert "open cells: 48 of 48" in capsys.readouterr().out
    form = parse(tmp_path / "out" / FORM)
    assert form.title == "made"
    assert (sorted(form.models), form.base) == (["law", "merged", "untouched"], "untouched")
    for arm in form.models:
        rows = {squeezed(prompt): squeezed(row["prediction"]) for prompt, row in kept(run, arm).items()}
        for entry in form.entries:
            assert squeezed(entry.answers[arm]) == rows[squeezed(entry.prompt)]
    assert [squeezed(entry.prompt) for entry in form.entries] == [squeezed(one) for one in list(kept(run, "law"))[:4]]


def test_a_begun_form_is_never_replaced(tmp_path: Path) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0, 1))
    path = tmp_path / FORM
    compare_prompts(run, tmp_path, num=2)
    first = path.read_text()
    compare_prompts(run, tmp_path, num=3)  # an empty one makes room
    assert path.read_text() != first
    path.write_text(path.read_text().replace("| law |  |", "| law | 4 |", 1))
    again = compare_prompts(run, tmp_path, num=3)
    assert again.open_cells == again.num_cells - 1
    assert "| law | 4 |" in path.read_text()
    with pytest.raises(RunError, match="holds points for other prompts or answers"):
        compare_prompts(run, tmp_path, num=2)


def test_blind_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0,))
    asked = ["prompts", "compare", str(run), "-o", str(tmp_path), "--blind", "--arms", "untouched,merged", "--num", "3"]
    assert main(asked) == 0
    assert parse(tmp_path / FORM).models == ["A", "B"]
    assert main(asked) == 0  # the same again
    key = json.loads(key_path(tmp_path / FORM).read_text())
    text = (tmp_path / FORM).read_text()
    places = [i for i, line in enumerate(text.splitlines()) if line.startswith("| A |")]
    lines = text.splitlines()
    for place, names in zip(places, key["prompts"], strict=True):
        a, b = ("5", "1") if names["A"] == "merged" else ("1", "5")
        lines[place], lines[place + 1] = f"| A | {a} | {a} | {a} | {a} |", f"| B | {b} | {b} | {b} | {b} |"
    (tmp_path / FORM).write_text("\n".join(lines))
    capsys.readouterr()
    assert main(["prompts", "read", str(tmp_path / FORM), "-o", str(tmp_path / "points.json")]) == 0
    assert "3 to 0, 0 equal" in capsys.readouterr().out
    models = {one["model"]: one for one in json.loads((tmp_path / "points.json").read_text())["models"]}
    assert (models["merged"]["improved"], models["untouched"]["improved"]) == (3, None)


def answers_of(folder: Path, arm: str) -> Path:
    """The only file that holds this arm's answers."""
    [path] = [one for one in (folder / "answers").glob("*.jsonl") if one.name.split(".")[0] == arm]
    return path


def test_a_begun_form_is_told_from_other_refusals(tmp_path: Path) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0,))
    compare_prompts(run, tmp_path, num=3)
    path = tmp_path / FORM
    path.write_text(path.read_text().replace("| law |  |", "| law | 4 |", 1))
    with pytest.raises(BegunForm) as caught:
        compare_prompts(run, tmp_path, num=2)
    assert isinstance(caught.value, RunError)
    assert "\n" not in str(caught.value)


def test_arms_may_be_named_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0,))
    asked = ["prompts", "compare", str(run), "--num", "2"]
    assert main([*asked, "-o", str(tmp_path / "a"), "--arms", "untouched", "--arms", "merged"]) == 0
    assert main([*asked, "-o", str(tmp_path / "b"), "--arms", "untouched, merged"]) == 0
    assert main([*asked, "-o", str(tmp_path / "c"), "--arms", "untouched,law", "--arms", "merged"]) == 0
    assert [sorted(parse(tmp_path / name / FORM).models) for name in "abc"] == [
        ["merged", "untouched"], ["merged", "untouched"], ["law", "merged", "untouched"],
    ]  # fmt: skip
    assert main([*asked, "-o", str(tmp_path / "d"), "--arms", ""]) == 2
    assert "no arm is named; known: law, merged, untouched" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("change", [{"base": "bass"}, {"arms": ["whole"]}, {"arms": []}, {"prompts": "absent.txt"}])
def test_a_refusal_leaves_nothing(small_runs: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CurricleError):
        compare_prompts(small_runs, tmp_path / "new" / "out", num=2, max_new_tokens=3, **change)
    assert list(tmp_path.iterdir()) == []


def test_answers_for_a_begun_form_are_taken_back(small_runs: Path, tmp_path: Path) -> None:
    write_comparison(["p"], {"a": ["x"], "b": ["y"]}, tmp_path, base="a")
    path = tmp_path / FORM
    path.write_text(path.read_text().replace("| a |  |", "| a | 4 |", 1))
    how: dict[str, Any] = {"num": 1, "max_new_tokens": 3, "arms": ["whole", "untouched"]}
    with pytest.raises(BegunForm):
        compare_prompts(small_runs, tmp_path, **how)
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "answers").mkdir()  # where some were before, new ones stay
    with pytest.raises(BegunForm):
        compare_prompts(small_runs, tmp_path, **how)
    made = answers_of(tmp_path, "whole")
    before = made.read_bytes()
    path.unlink()
    compare_prompts(small_runs, tmp_path, **how)
    assert made.read_bytes() == before


def test_a_run_that_was_trained_anew_is_asked_anew(small_runs: Path, tmp_path: Path) -> None:
    """Its weights are others between the few that generation itself looks at, which a file alone can tell."""
    run, out = tmp_path / "small", tmp_path / "out"
    shutil.copytree(small_runs, run)
    how: dict[str, Any] = {"num": 2, "max_new_tokens": 5, "arms": ["whole", "lora", "untouched"]}
    compare_prompts(run, out, **how)
    first = {path.name: path.read_bytes() for path in (out / "answers").glob("*.jsonl")}
    weights = run / "whole" / "seed-3" / "model" / "model.safetensors"
    tensors = load_file(weights)
    for tensor in tensors.values():
        flat = tensor.view(-1)
        looked_at = flat[:: max(1, flat.numel() // 256)].clone()
        flat.neg_()
        flat[:: max(1, flat.numel() // 256)] = looked_at
    save_file(tensors, weights, metadata={"format": "pt"})
    (out / FORM).unlink()
    compare_prompts(run, out, **how)
    second = {path.name: path.read_bytes() for path in (out / "answers").glob("*.jsonl")}
    [new] = second.keys() - first.keys()
    assert new.startswith("whole.")
    assert {name: second[name] for name in first} == first  # what others said stands, and what the old model said, too
    answers = [squeezed(json.loads(line)["prediction"]) for line in second[new].decode().splitlines()]
    assert [squeezed(one.answers["whole"]) for one in parse(out / FORM).entries] == answers
    [old] = [text for name, text in first.items() if name.startswith("whole.")]
    assert answers != [squeezed(json.loads(line)["prediction"]) for line in old.decode().splitlines()]


MERGED: dict[str, Any] = {
    "name": "share",
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
        "adapter": {"lora_r": 2},
    },
    "data": {"format": "prompt-completion", "max_length": 160},
    "training": {
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "save_strategy": "no",
        "eval_strategy": "no",
        "use_cpu": True,
    },
    "evaluation": [{"metric": "loss"}],
    "experts": {
        "domains": {"sums": "toy:domain-sums#30", "records": "toy:domain-records#30"},
        "held_out": 0.4,
        "controls": ["uniform_soup"],
        "merge": {"weights": "uniform", "num_prompts": 0},
    },
    "seeds": [0],
}


def test_merged_arms_that_kept_no_answers_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curricle.run(MERGED)
    run = Path("runs") / "share"
    assert not list(run.glob("*/seed-0/samples_eval.jsonl"))
    found = compare_prompts(run, "out", num=2, max_new_tokens=3)
    models = {one.model for one in found.models}
    assert {"sums", "records", "merged", "uniform_soup"} <= models
    for name in models:
        rows = [json.loads(line) for line in answers_of(Path("out"), name).read_text().splitlines()]
        own = [squeezed(one.answers[name]) for one in parse(Path("out") / FORM).entries]
        assert [squeezed(row["prediction"]) for row in rows] == own


def test_answers_are_made_where_a_run_has_none(small_runs: Path, tmp_path: Path) -> None:
    found = compare_prompts(small_runs, tmp_path, num=2, max_new_tokens=5)
    assert (found.base, found.num_prompts, len(found.models)) == ("untouched", 2, 3)
    form = parse(tmp_path / FORM)
    assert form.notes[0].startswith("answers of at most 5 tokens, made for this form")
    files = {arm: answers_of(tmp_path, arm) for arm in form.models}
    for arm, path in files.items():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [squeezed(row["prediction"]) for row in rows] == [squeezed(one.answers[arm]) for one in form.entries]
    # A file of lines, answered anew; the same is not made again.
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Where do we meet?\n\nWhat is agreed?\n")
    lines = tmp_path / "lines"
    assert compare_prompts(small_runs, lines, prompts=prompts, arms=["whole", "untouched"]).num_prompts == 2
    assert "Where do we meet?" in parse(lines / FORM).entries[0].prompt
    before = answers_of(lines, "whole").read_bytes()
    (lines / FORM).unlink()
    compare_prompts(small_runs, lines, prompts=prompts, arms=["whole", "untouched"])
    assert answers_of(lines, "whole").read_bytes() == before


def test_any_answers_by_name(tmp_path: Path) -> None:
    write_comparison(["p"], {"a": ["x"], "b": ["y"]}, tmp_path, base="a", title="mine")
    assert read_form(tmp_path / FORM).base == "a"


def test_each_domain_has_its_turn() -> None:
    rows = [(i, "abc"[i // 4]) for i in range(12)]
    assert [i for i, _ in in_turn(rows, 5)] == [0, 4, 8, 1, 5]
    assert [i for i, _ in in_turn([(i, None) for i in range(4)], 3)] == [0, 1, 2]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    run = write_runs(tmp_path / "runs" / "made", ARMS, seeds=(0,))
    with pytest.raises(RecipeError, match="no arm `lav` is finished; did you mean `law`"):
        compare_prompts(run, tmp_path, arms=["law", "lav"])
    with pytest.raises(RunError, match="no finished run of seed 7; it has 0"):
        compare_prompts(run, tmp_path, seed=7)
    with pytest.raises(RecipeError, match="the base is `bass`"):
        compare_prompts(run, tmp_path, base="bass")
