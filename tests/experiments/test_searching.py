"""From folders and files to weights: the command, its twin in Python, and the merge that comes of it."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.cli.app import main
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.experiments.searching import search_weights, sources_of
from curricle.models.nano import train_tokenizer
from curricle.runtime.quiet import calm_libraries
from curricle.runtime.rundir import LOCK, hold
from experts import made
from support import model

WORDS = {"law": "court judge appeal ruling", "news": "storm goal election market"}


def rows(name: str, num: int, first: int = 0) -> list[dict[str, str]]:
    words = WORDS[name].split()
    return [
        {"id": f"{name}-{i}", "topic": name, "text": " ".join(words[(i * k) % 4] for k in range(1, 9)) + f" {i}."}
        for i in range(first, first + num)
    ]


def write(path: Path, lines: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with its tokenizer, two adapters, held-out rows of two domains."""
    folder = tmp_path_factory.mktemp("place")
    for name in WORDS:
        write(folder / f"{name}.jsonl", rows(name, 5))
    write(folder / "both.jsonl", rows("law", 5) + rows("news", 5))
    with calm_libraries():
        tokenizer = train_tokenizer([row["text"] for name in WORDS for row in rows(name, 5)], 300)
        base = model("llama", None, vocab_size=len(tokenizer))
        base.save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
    for seed, name in enumerate(WORDS):
        made.adapter(folder / f"expert-{name}", folder / "base", seed=seed, size=0.2)
    return folder


def asked(place: Path, **changes: Any) -> dict[str, Any]:
    return {
        "base": place / "base",
        "experts": {name: place / f"expert-{name}" for name in WORDS},
        "data": {name: place / f"{name}.jsonl" for name in WORDS},
        "budget": 8,
        **changes,
    }


def test_what_is_found_is_what_the_merge_has(place: Path, tmp_path: Path) -> None:
    found = curricle.search_weights(**asked(place, output=tmp_path / "search", bounds=(0.25, 1.0)))
    assert min(found.weights.values()) >= 0.25
    assert list(found.best.losses) == ["law", "news"]
    merged = curricle.merge(place / "base", asked(place)["experts"], tmp_path / "merged", weights=found.weights)
    with calm_libraries():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(place / "base").save_pretrained(merged.folder)
    for name in WORDS:
        judged = curricle.evaluate(merged.folder, data=place / f"{name}.jsonl", metrics=["loss"])
        assert judged.metrics["loss"] == pytest.approx(found.best.losses[name], abs=1e-4)


def test_the_command_is_the_function(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search-weights", str(place / "base"), "-o", str(tmp_path / "search"), "--budget", "8"]
    for name in WORDS:
        command += ["--expert", f"{name}={place / f'expert-{name}'}"]
    command += ["--data", str(place / "both.jsonl"), "--domain-field", "topic"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "weights: law=" in shown.out
    assert "search 1/8" in shown.err
    one = json.loads((tmp_path / "search" / "weights.json").read_text())
    other = search_weights(**asked(place, output=tmp_path / "other"))
    assert one["weights"] == other.weights
    assert main([*command, "--bounds", "1"]) == 2
    assert "--bounds takes two numbers" in capsys.readouterr().err
    assert main([*command, "--objective", "shares", "--share", "law:2"]) == 2
    assert "--share takes DOMAIN=SHARE" in capsys.readouterr().err


def test_weights_beside_experts_are_tried(place: Path, tmp_path: Path) -> None:
    experts = [f"{name}={place / f'expert-{name}'}@0.3" for name in WORDS]
    found = search_weights(**asked(place, experts=experts, output=tmp_path))
    assert found.references["given"].weights == {"law": 0.3, "news": 0.3}


def test_test_rows_are_refused(place: Path, tmp_path: Path) -> None:
    apart = write(tmp_path / "apart.jsonl", rows("law", 4, first=100))
    search_weights(**asked(place, output=tmp_path / "fine", test=apart))
    mixed = write(tmp_path / "mixed.jsonl", rows("law", 4, first=3))
    with pytest.raises(DataError, match="2 of 10 validation rows are test rows too"):
        search_weights(**asked(place, output=tmp_path / "mixed", test=mixed))


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"budget": 0}, RecipeError, "`--budget`"),
        ({"method": "walk"}, RecipeError, "`--method`"),
        ({"bugdet": 5}, RecipeError, "did you mean `budget`"),
        ({"experts": []}, RecipeError, "no expert is named"),
        ({"data": []}, RecipeError, "no validation rows are named"),
        ({"base": "nano:llama"}, RecipeError, "nano:llama"),
        ({"data": "absent.jsonl"}, DataError, "absent.jsonl"),
    ],
)
def test_what_is_asked_wrongly(
    place: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind, match=line) as caught:
        search_weights(**asked(place, **{"output": tmp_path / "out", **changes}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind", "line"),
    [
        ({"objective": "shares", "shares": {"lav": 1.0}}, RecipeError, "name the domain `lav`, which has no row"),
        ({"budget": 3}, RecipeError, "budget of 3 evaluations, and its starting points take 4"),
        ({"output": "full"}, RunError, "holds thesis.txt and no search"),
        ({"output": "other"}, RunError, "holds a search of another base, other experts or other rows"),
        ({"output": "busy"}, RunError, "is in use by another process"),
        ({"test": "law.jsonl"}, DataError, "5 of 10 validation rows are test rows too"),
        ({"at": "@nan"}, RecipeError, "the weight"),
        ({"at": "@0", "normalize": "sum1"}, RecipeError, "sum to 0"),
    ],
)
def test_what_needs_no_model_is_refused_before_one_is_loaded(
    place: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], line: str
) -> None:
    """The base has no weights at all, so that any try to load it would say something else."""
    bare = tmp_path / "base"
    shutil.copytree(place / "base", bare, ignore=shutil.ignore_patterns("*.safetensors"))
    for name, file, text in (
        ("full", "thesis.txt", "years of work"),
        ("other", "search.jsonl", '{"step": 1, "key": {"rows": "x"}, "weights": {"law": 0, "news": 0}}\n'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    settings = {"output": "out", **changes}
    at = settings.pop("at", "")
    settings |= {"base": bare, "output": tmp_path / settings["output"]}
    settings["experts"] = [f"{name}={place / f'expert-{name}'}{at}" for name in WORDS]
    if "test" in settings:
        settings["test"] = place / settings["test"]
    busy = hold(tmp_path / "busy") if line.startswith("is in use") else nullcontext()
    before = files_in(tmp_path)
    with busy, pytest.raises(kind, match=line) as caught:
        search_weights(**asked(place, **settings))
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == before


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name != LOCK)


def test_an_expert_of_another_base(place: Path, tmp_path: Path) -> None:
    made.base(tmp_path / "other", "tied", seed=5)
    with pytest.raises(ModelError, match=r"expert law: .* \(another vocabulary or width"):
        search_weights(
            **asked(place, experts={"law": tmp_path / "other"}, data=place / "law.jsonl", output=tmp_path / "o")
        )


def test_files_and_domains(tmp_path: Path) -> None:
    assert sources_of("dev.jsonl") == [{"path": "dev.jsonl"}]
    assert sources_of(["law=a.jsonl", "b.jsonl"]) == [{"path": "a.jsonl", "domain": "law"}, {"path": "b.jsonl"}]
    assert sources_of({"law": Path("a.jsonl")}) == [{"path": "a.jsonl", "domain": "law"}]
    odd = tmp_path / "a=b.jsonl"
    odd.write_text("{}")
    assert sources_of([str(odd)]) == [{"path": str(odd)}]
