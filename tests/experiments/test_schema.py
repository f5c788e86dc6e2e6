"""The schema takes what the recipe takes, the pages say what the sections say, and keys change on purpose only."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from curricle.experiments.document import parse, read_document
from curricle.experiments.keys import all_fields, help_of
from curricle.experiments.pages import pages, with_generated
from curricle.experiments.recipe import Recipe
from curricle.experiments.resolve import resolve
from curricle.experiments.schema import recipe_schema, schema

ROOT = Path(__file__).resolve().parents[2]
RECIPES_FOLDER = ROOT / "recipes"
RECIPES = sorted(RECIPES_FOLDER.rglob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())


def tree(text: str) -> dict[str, Any]:
    return parse(text, "r.yaml")[0]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    assert '"data.max_length"' not in schema()
    assert "위 대화를" in schema()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_here_are_valid(path: Path, few_rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(few_rows)
    VALIDATOR.validate(read_document(path)[0])
    experiment = resolve(few_rows / path.relative_to(RECIPES_FOLDER))
    VALIDATOR.validate(tree(experiment.dump()))


@pytest.fixture(scope="module")
def few_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipes with a dozen rows of each toy, as thousands take half a minute to make up; beside them the
    folder of domains that one of them asks for."""
    made = tmp_path_factory.mktemp("recipes")
    (made / "domains").mkdir()
    for name in ("law", "news"):
        (made / "domains" / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}\n', encoding="utf-8")
    for path in RECIPES:
        copy = made / path.relative_to(RECIPES_FOLDER)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(re.sub(r"(toy:[\w-]+)#\d+", r"\1#12", path.read_text(encoding="utf-8")), encoding="utf-8")
    return made


@pytest.mark.parametrize(
    "text",
    [
        "model: {name_or_path: x}\ndata: {train: [a, {path: b, weight: 2}]}",
        "extends: base.yaml\ndata: {max_length: 64}\narms: {a: , b: {training: {learning_rate: 1e-4}}}",
        "extends: base.yaml\nmodel: {adapter: null}\ngrid: {training.optim: [sgd, adamw_torch]}\nseeds: [0, 1]",
    ],
)
def test_taken(text: str) -> None:
    VALIDATOR.validate(tree(text))


@pytest.mark.parametrize(
    "text",
    [
        "data: {train: a}",
        "model: {name_or_path: x}\ndata: {train: a, max_lenght: 3}",
        "model: {name_or_path: x}\ndata: {train: a, max_length: 2}",
        "model: {name_or_path: x}\ndata: {train: a}\ntraining: {lerning_rate: 3}",
        "model: {name_or_path: x}\ndata: {train: a}\ntraining: {deepspeed: x}",
        "model: {name_or_path: x}\ndata: {train: a}\ntraining: {eval_strategy: sometimes}",
        "extends: b.yaml\narms: {a: {seed: 3}}",
        "extends: b.yaml\narms: {a: {data: {max_lenght: 3}}}",
        "extends: b.yaml\ngrid: {a.b: []}",
    ],
)
def test_marked_as_wrong(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(tree(text))


def test_every_key_is_explained() -> None:
    unexplained = [key for key, field in all_fields(Recipe) if not help_of(field).endswith((".", ":"))]
    assert unexplained == []


def test_defaults_cannot_be_changed_by_accident() -> None:
    """Sections are shared between recipes as defaults, so they must be frozen."""
    first = Recipe.model_validate(tree("model: {name_or_path: x}\ndata: {train: a}"))
    with pytest.raises(ValueError, match="frozen"):
        first.data.max_length = 3
    assert copy.deepcopy(first) == first


@pytest.mark.parametrize("name", pages())
def test_the_pages_are_up_to_date(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == with_generated(page, pages()[name]), f"docs/{name} is out of date; run `make docs`"


def test_a_page_without_marks_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_generated("# A page", "generated")
