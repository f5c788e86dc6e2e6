"""`experts:` written out as arms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curricle.errors import CurricleError
from curricle.experiments.resolve import resolve

BASE: dict[str, Any] = {
    "name": "experts",
    "model": {"name_or_path": "nano:llama", "adapter": {}},
    "data": {"format": "text"},
    "training": {"max_steps": 5},
    "evaluation": [{"metric": "loss"}],
}
TWO = {"web": "toy:text#300", "talk": "toy:text#200"}


def settings(**experts: Any) -> dict[str, Any]:
    return BASE | {"experts": {"domains": TWO, **experts}}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_expert_and_every_control_is_an_arm():
    arms = resolve(settings()).arms

    assert list(arms) == ["untouched", "web", "talk", "merged", "uniform_soup", "joint", "sequential"]
    assert not arms["untouched"].settings.trains
    assert [source.domain for source in arms["web"].settings.data.sources("train")] == ["web"]
    assert {source.domain for source in arms["web"].settings.data.sources("eval")} == {"web", "talk"}
    merged, soup = arms["merged"].settings.merge, arms["uniform_soup"].settings.merge
    assert merged is not None
    assert merged.arms == ["web", "talk"]
    assert merged.searches
    assert soup is not None
    assert (soup.weights, soup.normalize) == ("uniform", "sum1")
    assert arms["sequential"].settings.curriculum.strategy == "domains_in_turn"
    assert arms["joint"].settings.training["max_steps"] == 10


def test_what_is_held_out_is_in_no_other_part():
    arms = resolve(settings(held_out=0.2)).arms
    merge = arms["merged"].settings.merge
    assert merge is not None
    [train] = arms["web"].settings.data.sources("train")
    held_out = arms["web"].settings.data.sources("eval")[0]
    validation = merge.validation[0]  # type: ignore[index]
    assert train.between == (0.0, 0.8)
    assert validation.between == (0.8, 0.9)  # type: ignore[union-attr]
    assert held_out.between == (0.9, 1.0)


def test_epochs_need_no_counting():
    arms = resolve(settings() | {"training": {"num_train_epochs": 2}}).arms
    assert arms["joint"].settings.training["max_steps"] == -1


def test_an_expert_may_have_settings_of_its_own():
    own = {"train": "toy:text#300", "overrides": {"training": {"max_steps": 7}}}
    arms = resolve(settings(domains={"web": own, "talk": "toy:text#200"})).arms
    assert [arms[name].settings.training["max_steps"] for name in ("web", "talk", "joint")] == [7, 5, 12]


def test_arms_may_be_added_and_merge_the_experts():
    whole = settings(merge={"weights": "uniform"}) | {
        "arms": {"ties": {"merge": {"method": "ties", "weights": "uniform"}}}
    }
    ties = resolve(whole).arms["ties"].settings.merge
    assert ties is not None
    assert ties.arms == ["web", "talk"]
    assert ties.validation is None


def test_a_folder_has_a_file_for_each_domain(tmp_path):
    for name in ("code", "web"):
        write(tmp_path / f"{name}.jsonl", [{"text": f"{name} {n}"} for n in range(3)])
    (tmp_path / "README.md").write_text("not rows")
    assert list(resolve(settings(domains=str(tmp_path), controls=[])).arms) == ["code", "web", "merged"]


def test_a_column_names_the_domain(tmp_path):
    rows = [{"text": f"row {n}", "kind": ("b", "a")[n % 2]} for n in range(6)]
    file = write(tmp_path / "all.jsonl", rows)
    arms = resolve(settings(domains=str(file), field="kind", controls=[])).arms
    assert list(arms) == ["b", "a", "merged"]
    [source] = arms["a"].settings.data.sources("train")
    assert source.select is not None
    assert source.select.where == {"kind": ["a"]}


@pytest.mark.parametrize(
    ("experts", "says"),
    [
        ({"domains": {"merged": "a.jsonl", "b": "b.jsonl"}}, "`merged`, which is the name of an arm"),
        ({"domains": {"a": "a.jsonl"}}, "there is one domain, a"),
        ({"domains": "nowhere"}, "is nowhere, no folder"),
        ({"field": "kind"}, "names each domain's own"),
        ({"merge": {"weights": {"web": 1.0}}}, "each needs one"),
        ({"merge": {"method": "ties"}}, "name the weights"),
        ({"domain": {}}, "is not a key here"),
        ({"held_out": 1.5}, "experts.held_out"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(experts, says):
    with pytest.raises(CurricleError) as caught:
        resolve(settings(**experts))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rows_are_named_once():
    with pytest.raises(CurricleError, match=r"`data.train` is written too"):
        resolve(settings() | {"data": {"format": "text", "train": "toy:text"}})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"merge": {"arms": ["b"], "weights": {"b": 1.0}}, "model": {"shape": {"hidden_size": 32}}}, "model.shape"),
        ({"merge": {"arms": ["c"], "weights": "uniform"}}, "no arm; "),
        ({"merge": {"arms": [], "weights": "uniform"}}, "names no arm"),
        ({"merge": {"arms": ["b"]}}, "merge.validation"),
        ({"merge": {"arms": ["untouched"], "weights": "uniform"}}, "trains nothing"),
    ],
)
def test_a_merge_of_arms_is_checked(changes, says):
    recipe = BASE | {"data": {"train": "toy:text", "eval": "toy:text#9"}}
    with pytest.raises(CurricleError) as caught:
        resolve(recipe | {"arms": {"untouched": {"trainer": "none"}, "b": {}, "merged": changes}})
    assert says in str(caught.value)
