"""YAML as version 1.2 reads it, with the place of every key."""

from __future__ import annotations

import math

import pytest
import yaml

from curricle.errors import RecipeError
from curricle.experiments.document import dotted, parse, parse_value, read_document, write_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("2.0e-5", 2e-5),
        (".5", 0.5),
        ("-3", -3),
        ("007", 7),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("'1e-3'", "1e-3"),
        ("", None),
        ("null", None),
        ("[a, b#5]", ["a", "b#5"]),
        ("{lora_r: 8}", {"lora_r": 8}),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_places() -> None:
    tree, places = parse("a: 1\nb:\n  c: [1, {d: 2}]\n  'e.f': x\n", "r.yaml")
    assert tree == {"a": 1, "b": {"c": [1, {"d": 2}], "e.f": "x"}}
    shown = {dotted(path): str(place) for path, place in places.items()}
    assert shown == {
        "a": "r.yaml:1",
        "b": "r.yaml:2",
        "b.c": "r.yaml:3",
        "b.c[0]": "r.yaml:3",
        "b.c[1]": "r.yaml:3",
        "b.c[1].d": "r.yaml:3",
        "b.e.f": "r.yaml:4",
    }


def test_anchors_and_merges() -> None:
    tree, places = parse("x: &x {q: 1}\ny:\n  <<: *x\n  r: 2\n", "r.yaml")
    assert tree["y"] == {"q": 1, "r": 2}
    assert str(places["y", "q"]) == "r.yaml:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"r.yaml:3: `a` is written twice, first on line 1"),
        ("arms:\n  x: {}\n  y: {}\n  x: {}", r"r.yaml:4: `arms.x` is written twice, first on line 2"),
        ("a: {b: 1,\n  b: 2}", r"r.yaml:2: `a.b` is written twice"),
        ("- 1", r"r.yaml: a recipe is a mapping.*found a list"),
        ("", r"r.yaml: .*found nothing"),
        ("a: 1\nb: [1", r"r.yaml:2: this is not YAML"),
        ("a:\n\t- b", r"r.yaml:2: this is not YAML"),
        ("1: a", r"r.yaml:1: a key must be text; quote it: '1'"),
        ("a: !!python/object/apply:os.system [ls]", r"r.yaml:1: this is not YAML: could not determine a constructor"),
        ("a: &a [*a]", r"r.yaml:1: nested too deep, or an anchor that holds itself"),
    ],
)
def test_what_is_no_recipe(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(text, "r.yaml")


def test_missing_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match="there is no recipe file"):
        read_document(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        read_document(tmp_path / "latin.yaml")


def test_writing_reads_back_here_and_elsewhere() -> None:
    tree = {
        "rate": 1e-5,
        "big": 1e20,
        "inf": math.inf,
        "no": "no",
        "number": "1e-3",
        "date": "2024-01-01",
        "korean": "위 대화를 요약해주세요.",
        "same": [[1, 2], [1, 2]],
        "lines": "a\nb",
        "nothing": None,
    }
    text = write_document(tree)
    assert parse(text, "r.yaml")[0] == tree
    assert yaml.safe_load(text) == tree
    assert list(parse(text, "r.yaml")[0]) == list(tree)
