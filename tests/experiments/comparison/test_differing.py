"""What an arm departs in, as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.experiments.comparison.differing import differing
from curricle.experiments.comparison.facts import changes
from curricle.experiments.share.config import MergeConfig
from curricle.models.config import HeadsConfig


def told(base: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """In one line each, as in the table of arms."""
    every = differing(changes(base, own))
    return [said.own if said.in_words else f"{said.key} {said.base} -> {said.own}" for said in every]


def source(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "between": [0.0, 0.9], "weight": 1.0, "domain": None, **more}


@pytest.mark.parametrize(
    ("base", "own", "words"),
    [
        ([source("x/a.jsonl"), source("x/b.jsonl")], [source("x/b.jsonl")], "rows of b.jsonl"),
        ([source("a.jsonl", domain="law")], [source("b.jsonl"), "y/c.jsonl"], "rows of b.jsonl, c.jsonl"),
        ([source("a.jsonl")], [source("b.jsonl", domain="art"), source("c.jsonl", domain="art")], "rows of art"),
        ("a.jsonl", "b.jsonl", "rows of b.jsonl"),
        ([source("a")], [source("a", weight=2.0, between=None)], "rows of a (other between, weight)"),
        ([source("a")], [source("a"), source("a", between=[0.95, 1])], "rows of a (other parts)"),
        ([source("x")], [source(f"f{i}") for i in range(11)], "rows of f0, f1, f2, f3, f4, f5, f6, f7 and 3 more"),
    ],
)
def test_rows_are_named_by_their_domains_or_files(base: Any, own: Any, words: str) -> None:
    assert told({"data": {"train": base}}, {"data": {"train": own}}) == [words]
    assert told({"data": {"eval": base}}, {"data": {"eval": own}}) == [f"held-out {words}"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "weights by search (normalize none)"),
        ({"weights": "uniform", "normalize": "sum1"}, "uniform weights (normalize sum1)"),
        ({"weights": {"law": 0.6, "art": -0.5}}, "weights law 0.6, art -0.5 (normalize none)"),
        ({"weights": "shares", "method": "ties"}, "weights by shares of tokens (normalize none, ties of density 0.5)"),
    ],
)
def test_a_merge_is_one_line(written: dict[str, Any], words: str) -> None:
    merge = MergeConfig.model_validate({"arms": ["law", "art"], "validation": "v.jsonl", **written})
    merged = {"trainer": "hf", "merge": merge.model_dump(mode="json"), "training": {"max_steps": 3}}
    whole = f"merged of law, art, {words}"
    assert told({"trainer": "hf", "merge": None, "training": {"max_steps": 9}}, merged) == [whole]
    assert told({"trainer": "none", "merge": None}, merged) == [whole]
    [said, *_] = differing(changes(merged, {"trainer": "hf", "merge": None}))
    assert (said.base, said.own) == (whole, "not merged")


def test_of_two_merges_the_single_keys_are_told() -> None:
    one = MergeConfig(arms=["law", "art"], validation="v.jsonl").model_dump(mode="json")
    other = MergeConfig(arms=["law", "art"], weights="uniform").model_dump(mode="json")
    assert told({"merge": one}, {"merge": other}) == ["merge.weights search -> uniform", "searched on no rows"]
    assert told({"merge": other}, {"merge": other | {"arms": ["law", "web"]}}) == ["merged of law, web"]


def test_an_arm_that_trains_nothing_and_one_that_does() -> None:
    untouched = {"trainer": "none", "training": {"max_steps": 9}, "model": {"dtype": "float32"}}
    trained = {"trainer": "hf", "training": {"max_steps": 60}, "model": {"dtype": "bfloat16"}}
    assert told(trained, untouched) == ["nothing is trained", "model.dtype bfloat16 -> float32"]
    assert told(untouched, trained) == [
        "trained with hf",
        "training.max_steps 9 -> 60",
        "model.dtype float32 -> bfloat16",
    ]


def test_what_was_written_comes_before_the_defaults_beside_it() -> None:
    heads = HeadsConfig(mtp_lambda=0.5).model_dump(mode="json")
    base = {"model": {"mtp": None, "dtype": "float32"}, "training": {"learning_rate": 1e-3}}
    own = {"model": {"mtp": heads, "dtype": "float32"}, "training": {"learning_rate": 2e-3}}
    assert told(base, own) == [
        "training.learning_rate 0.001 -> 0.002",
        "model.mtp.mtp_lambda None -> 0.5",
        "model.mtp.num_future_tokens None -> 4",
        "model.mtp.kind None -> parallel",
    ]
