"""Answers gathered by example, sorted by how far the arms are apart, and packed small."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from curricle.experiments.report import samples as module
from curricle.experiments.report.foreign import foreign_answers
from curricle.experiments.report.samples import SAMPLES, Samples, apart, arm_means, packed, read_samples
from made_runs import ARMS, made_comparison, write_runs


def unpacked(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_runs(tmp_path, seeds=(0, 1), steps=4)


def read(folder: Path) -> Samples:
    return read_samples(made_comparison(folder), folder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_answer_of_every_run_is_there_once(folder: Path) -> None:
    found = read(folder)
    assert found.runs == [(arm.name, seed) for arm in ARMS for seed in (0, 1)]
    assert found.missing == []
    for run, (arm, seed) in enumerate(found.runs):
        own = {e.id: a for e in found.examples for a in e.answers if a.run == run}
        rows = lines(folder / arm / f"seed-{seed}" / SAMPLES)
        assert {row["id"]: (row["prediction"], row["finished"]) for row in rows} == {
            id_: (answer.prediction, answer.finished) for id_, answer in own.items()
        }
        scores = json.loads((folder / arm / f"seed-{seed}" / "scores.json").read_text())
        place = [name for name, _ in found.figures].index("overlap")
        assert [own[id_].scores[place] for id_ in scores["ids"]] == scores["scores"]["overlap"]["values"]


def test_examples_come_by_their_largest_difference(folder: Path) -> None:
    found = read(folder)
    assert found.figures[0] == ("overlap", True)  # about the answer, and higher is better
    assert "perplexity" not in dict(found.figures)  # an example's own part of it is no perplexity
    differences = [apart(example, found.runs) for example in found.examples]
    assert differences == sorted(differences, reverse=True)
    first = found.examples[0]
    values = {arm: [] for arm, _ in found.runs}
    for answer in first.answers:
        values[found.runs[answer.run][0]].append(answer.scores[0])
    means = {arm: sum(each) / 2 for arm, each in values.items()}
    assert arm_means(first, found.runs) == pytest.approx(means)
    assert differences[0] == pytest.approx(max(means.values()) - min(means.values()))


def test_what_the_browser_unpacks_is_what_was_read(folder: Path) -> None:
    found = read(folder)
    text, num = packed(found)
    content = unpacked(text)
    assert num == len(content["examples"]) == 12
    assert content["runs"] == [list(run) for run in found.runs]
    for example, own in zip(found.examples, content["examples"], strict=True):
        assert (own["id"], own["n"], own["p"], own["r"]) == (
            example.id,
            example.place,
            example.prompts,
            example.references,
        )
        assert [answer[1] for answer in own["a"]] == [answer.prediction for answer in example.answers]
    assert "<" not in text


def test_too_many_are_cut_to_those_that_differ_most(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(folder)
    whole, _ = packed(found)
    monkeypatch.setattr(module, "MAX_BYTES", len(whole) // 2)
    text, num = packed(found)
    assert 1 <= num < 12
    assert len(text) <= len(whole) // 2
    assert [example["id"] for example in unpacked(text)["examples"]] == [example.id for example in found.examples[:num]]


def test_an_arm_that_asks_otherwise_shows_its_own_prompt(folder: Path) -> None:
    path = folder / "curriculum" / "seed-0" / SAMPLES
    rows = lines(path)
    rows[3]["prompt"] = "In three words, please."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(folder)
    example = next(e for e in found.examples if e.id == rows[3]["id"])
    assert example.prompts[1:] == ["In three words, please."]
    assert [answer.prompt for answer in example.answers] == [0, 0, 1, 0]


def test_a_run_without_answers_is_named(folder: Path) -> None:
    (folder / "shuffled" / "seed-1" / SAMPLES).unlink()
    found = read(folder)
    assert found.missing == ["shuffled, seed 1"]
    assert len(found.runs) == 3


def test_an_example_without_its_value_has_none(folder: Path) -> None:
    path = folder / "shuffled" / "seed-0" / "scores.json"
    scores = json.loads(path.read_text())
    scores["scores"]["overlap"]["weights"] = [0.0] + [1.0] * 11
    scores["scores"]["overlap"]["values"][1] = None
    path.write_text(json.dumps(scores))
    found = read(folder)
    values = {e.id: a.scores[0] for e in found.examples for a in e.answers if a.run == 0}
    assert values[scores["ids"][0]] is None
    assert values[scores["ids"][1]] is None
    assert values[scores["ids"][2]] is not None


def test_foreign_letters_are_found_by_the_recipe_of_the_arm(folder: Path) -> None:
    comparison = made_comparison(folder)
    found = read_samples(comparison, folder)
    [part] = foreign_answers(comparison, found, folder)
    answers = [a for e in found.examples for a in e.answers]
    assert len(part.findings) == sum("你好" in answer.prediction for answer in answers) > 0
    assert all(finding.letters == "你好" and "你好" in finding.answer for finding in part.findings)
    assert sum(int(row[1]) for row in part.counts.rows) == len(part.findings)
    arm = folder / "shuffled" / "seed-0" / "arm.json"
    content = json.loads(arm.read_text())
    content["settings"]["evaluation"] = [
        {"metric": "foreign_script", "name": "wide", "allow": ["Hangul", "Latin", "Han"]}
    ]
    arm.write_text(json.dumps(content))
    wide = next(part for part in foreign_answers(comparison, found, folder) if part.label == "wide")
    assert [row[:2] for row in wide.counts.rows] == [["shuffled, seed 0", "0"]]
