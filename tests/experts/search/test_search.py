"""A search from rows to weights: what it judges by, how it goes on, what it leaves behind, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mixtures
import support
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import CurricleError, DataError, ModelError, RecipeError, RunError
from curricle.experts.search import Found, search_weights
from curricle.experts.search.config import SearchConfig
from curricle.experts.search.objective import HeldOut, check_rows, score_of
from curricle.models.likelihood import token_losses_of

ROWS = Rows(max_length=64)
TABLE = support.table(12, domains=True)


def searched(
    folder: Path, table: TokenTable = TABLE, model: Any = None, more: dict[str, Any] | None = None, **how: Any
) -> Found:
    model = model or support.model()
    differences = {"a": expert(model, 1), "b": expert(model, 2)}
    config = SearchConfig(**{"method": "coordinate", "budget": 14, **how})
    return search_weights(model, differences, table, ROWS, config, folder, **(more or {}))


def expert(model: Any, seed: int) -> Any:
    return mixtures.expert(model, seed, rank=4, size=0.15)


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]


def test_losses_are_those_of_the_rows_of_each_domain(tmp_path: Path) -> None:
    model = support.model()
    values = token_losses_of(model, TABLE, ROWS)
    of_row = values.sums()
    found = searched(tmp_path, model=model, budget=6)
    for number, name in enumerate(TABLE.domain_names):
        rows = TABLE.domains == number
        expected = of_row[rows].sum() / TABLE.num_supervised[rows].sum()
        assert found.references["base"].losses[name] == pytest.approx(expected, rel=1e-9)


def test_the_best_is_the_best_of_all_and_its_loss_is_true(tmp_path: Path) -> None:
    model = support.model()
    before = mixtures.state(model)
    found = searched(tmp_path, model=model)
    assert mixtures.same(before, model.state_dict())
    assert found.best.score == min(one.score for one in found.tried)
    assert found.best.score < min(one.score for one in found.references.values())
    for name in ("a", "b"):  # the reference: whole tensors, added up
        one = expert(model, {"a": 1, "b": 2}[name])
        for tensor in one.names:
            model.get_parameter(tensor).data += found.weights[name] * one.dense(tensor)
    losses = HeldOut(TABLE, ROWS).losses(model, None)
    assert found.best.losses == pytest.approx(losses, abs=1e-5)


def test_the_folder_holds_what_was_found(tmp_path: Path) -> None:
    found = searched(tmp_path)
    about = json.loads((tmp_path / "weights.json").read_text())
    assert about["weights"] == found.weights
    assert (about["normalize"], about["method"], about["objective"]) == ("none", "coordinate", "mean")
    assert set(about["losses"]) == {"base", "uniform", "a", "b", "by tokens", "best"}
    assert about["used"] == found.evaluations == len(log(tmp_path)) == 14
    assert found.passes == 14
    picture = (tmp_path / "surface.svg").read_text()
    assert picture.startswith("<svg")
    assert picture.count("<circle") == 2 * 14 + 1
    text = str(found)
    assert "normalize none" in text
    assert f"{found.best.losses['a']:.4f}" in text


@pytest.mark.parametrize("method", ["coordinate", "nelder-mead", "bayes", "grid"])
def test_a_search_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path: Path, method: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    first = searched(whole, method=method)
    lines = (whole / "search.jsonl").read_bytes().splitlines(keepends=True)
    cut.mkdir()
    (cut / "search.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:20])  # as a kill leaves it
    second = searched(cut, method=method)
    assert second.made == first.evaluations - 8
    assert (cut / "weights.json").read_bytes() == (whole / "weights.json").read_bytes()
    assert (cut / "surface.svg").read_bytes() == (whole / "surface.svg").read_bytes()
    without = [[{**row, "seconds": 0} for row in log(folder)] for folder in (whole, cut)]
    assert without[0] == without[1]
    assert searched(cut, method=method).made == 0


def test_a_larger_budget_and_another_method_go_on_from_what_is_there(tmp_path: Path) -> None:
    searched(tmp_path, budget=8)
    more = searched(tmp_path, budget=12)
    assert more.made == 4
    other = searched(tmp_path, budget=12, method="bayes")
    assert 5 < other.evaluations <= 12
    assert other.made <= other.evaluations - 5  # the starting points are known


def test_another_base_or_other_rows_are_refused_in_the_same_folder(tmp_path: Path) -> None:
    searched(tmp_path, budget=6)
    for change in (
        {"model": support.model(seed=3)},
        {"table": support.table(12, seed=1, domains=True)},
        {"first_rows": 2},
    ):
        with pytest.raises(RunError, match=r"search\.jsonl holds a search of another base"):
            searched(tmp_path, budget=6, **change)


def test_a_search_of_something_else_is_kept_aside_and_a_new_one_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aside: dict[str, Any] = {"on_other": "aside"}
    fresh = searched(tmp_path / "fresh", budget=6, model=support.model(seed=3))
    old = {name: (tmp_path / "fresh" / name).read_bytes() for name in ("weights.json", "search.jsonl", "surface.svg")}
    capsys.readouterr()
    first = searched(tmp_path / "fresh", budget=6, more=aside)
    assert "kept as search-1.jsonl; a new one begins" in capsys.readouterr().err
    assert first.made == 6
    assert first.best.losses != fresh.best.losses
    for name, before in old.items():
        stem, _, ending = name.partition(".")
        assert (tmp_path / "fresh" / f"{stem}-1.{ending}").read_bytes() == before
    assert searched(tmp_path / "fresh", budget=6, more=aside).made == 0  # its own log is gone on from
    searched(tmp_path / "fresh", budget=6, table=support.table(12, seed=1, domains=True), more=aside)
    assert {path.name for path in (tmp_path / "fresh").glob("search*.jsonl")} == {
        "search.jsonl", "search-1.jsonl", "search-2.jsonl",
    }  # fmt: skip


def test_a_kill_between_setting_aside_and_the_first_line_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "search-1.jsonl").write_text("{}\n")
    assert searched(tmp_path, budget=6).made == 6


def test_a_log_that_is_none_of_ours_is_refused_or_kept(tmp_path: Path) -> None:
    (tmp_path / "search.jsonl").write_text('[1, 2]\nno json\n{"query": "cats"}\n')
    with pytest.raises(RunError, match="holds a search of another base"):
        searched(tmp_path, budget=6)
    searched(tmp_path, budget=6, more={"on_other": "aside"})
    assert "cats" in (tmp_path / "search-1.jsonl").read_text()


@pytest.mark.parametrize("how", [{"budget": 9}, {"budget": 40, "method": "coordinate", "bounds": (0.9, 1.0)}])
def test_lines_of_progress_are_numbered_by_evaluations_to_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: dict[str, Any]
) -> None:
    found = searched(tmp_path, **how)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("search ")]
    assert lines[-1].startswith(f"search {found.evaluations}/{how['budget']}: {found.ended}; {found.best.score:.4f} at")
    assert all("the best so far" in line for line in lines[:-1])  # which is why others have no line
    numbers = [int(line.split()[1].partition("/")[0]) for line in lines]
    assert numbers == sorted(numbers)
    best = np.minimum.accumulate([one.score for one in found.tried])
    assert len(lines) <= 1 + len(set(best.tolist()))


def test_a_search_that_ends_at_a_bound_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = searched(tmp_path, bounds=(0.0, 0.3))
    assert found.at_bound == [name for name, weight in found.weights.items() if weight in (0.0, 0.3)] != []
    assert capsys.readouterr().err.splitlines()[-1] == f"search: {found.bounds_in_words}"
    assert found.bounds_in_words in str(found).splitlines()


def test_sum1_weights_sum_to_one_and_say_so(tmp_path: Path) -> None:
    found = searched(tmp_path, normalize="sum1")
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.references["base"].weights == {"a": 0.0, "b": 0.0}
    assert json.loads((tmp_path / "weights.json").read_text())["normalize"] == "sum1"
    assert "normalize sum1" in str(found)


def test_first_rows_then_all_of_them(tmp_path: Path) -> None:
    found = searched(tmp_path, first_rows=2, budget=10)
    kinds = [row["rows"] for row in log(tmp_path)]
    assert kinds.count("first") == 10
    assert 5 <= kinds.count("all") <= 8  # the starting points and three finalists
    model = support.model()
    assert found.references["base"].losses == pytest.approx(HeldOut(TABLE, ROWS).losses(model, None))
    assert 5 < found.passes < 18
    small = HeldOut(TABLE, ROWS).first(2)
    assert small.table.domains.tolist() == [0, 1, 0, 1]
    assert small.table.ids[:] == TABLE.ids[:4]


def test_starting_points_of_ones_own(tmp_path: Path) -> None:
    found = searched(tmp_path, budget=6, more={"starts": {"given": {"a": 0.3, "b": 0.9}}})
    assert found.references["given"].weights == {"a": 0.3, "b": 0.9}
    with pytest.raises(RecipeError, match=r"`c`, and no expert is called that"):
        searched(tmp_path, more={"starts": {"given": {"c": 1.0}}})
    with pytest.raises(RecipeError, match="sum to 0"):
        searched(tmp_path, normalize="sum1", more={"starts": {"given": {"a": 0.0, "b": 0.0}}})


def test_rows_without_domains_are_one(tmp_path: Path) -> None:
    found = searched(tmp_path, table=support.table(6), budget=4)
    assert list(found.best.losses) == ["all"]
    assert "by tokens" not in found.references
    assert not (tmp_path / "pareto.json").exists()


def test_three_experts_are_drawn_in_slices(tmp_path: Path) -> None:
    model = support.model()
    differences = {name: mixtures.expert(model, seed) for seed, name in enumerate("xyz")}
    found = search_weights(model, differences, TABLE, ROWS, SearchConfig(budget=9), tmp_path)
    picture = (tmp_path / "surface.svg").read_text()
    assert [f"along {name}" in picture for name in "xyz"] == [True] * 3
    assert len(found.weights) == 3


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds thesis.txt and no search"):
        searched(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]


def test_mamba_2_on_padded_rows(tmp_path: Path) -> None:
    shape = {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8, "expand": 2}
    model = support.model("mamba2", None, **shape)  # type: ignore[arg-type]
    before = mixtures.state(model)
    experts = {name: mixtures.expert(model, seed, ends=("in_proj.weight",)) for seed, name in enumerate("ab")}
    found = search_weights(model, experts, TABLE, Rows(64, "none"), SearchConfig(budget=7), tmp_path, batch_size=4)
    assert mixtures.same(before, model.state_dict())
    one, other = found.references["base"].losses, found.references["a"].losses
    assert all(one[name] != other[name] for name in "ab")


def test_scores() -> None:
    losses, base = {"a": 2.0, "b": 4.0}, {"a": 4.0, "b": 4.0}
    assert score_of(losses, base, SearchConfig()) == 3.0
    assert score_of(losses, base, SearchConfig(objective="worst")) == 1.0
    assert score_of(losses, base, SearchConfig(objective="shares", shares={"a": 3, "b": 1})) == 2.5
    assert score_of(losses, base, SearchConfig(objective="shares", shares={"a": 1})) == 2.0


def without_domain(name: str) -> TokenTable:
    """A table that knows the domain and has no row of it."""
    return TABLE.select(TABLE.domains != TABLE.domain_names.index(name))


@pytest.mark.parametrize(
    ("kind", "line", "change"),
    [
        (RecipeError, "a budget of 3 evaluations, and its starting points take 4", {"budget": 3}),
        (RecipeError, "a grid over 2 experts takes 8 evaluations at least", {"budget": 7, "method": "grid"}),
        (RecipeError, r"shares name the domain `c`, which has no row", {"objective": "shares", "shares": {"c": 1}}),
        (DataError, "the domain `a` has no validation row", {"table": without_domain("a")}),
        (DataError, r"6 of 12 validation rows are test rows too \(first: id", {"more": {"test": without_domain("b")}}),
    ],
)
def test_what_is_refused_before_anything_is_measured(
    tmp_path: Path, kind: type[CurricleError], line: str, change: dict[str, Any]
) -> None:
    with pytest.raises(kind, match=line) as caught:
        searched(tmp_path / "out", **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_windows_of_a_test_row_are_test_rows() -> None:
    ids = ["0123456789abcdef-1", "fedcba9876543210"]
    lists = [[5, 6, 7], [7, 8, 9]]
    validation = TokenTable.from_lists(lists, lists, ids=ids)
    test = TokenTable.from_lists(lists[:1], lists[:1], ids=["0123456789abcdef-2"])
    with pytest.raises(DataError, match="1 of 2 validation rows are test rows too"):
        check_rows(HeldOut(validation, ROWS), ["a"], SearchConfig(), test)


def test_an_expert_whose_domain_has_no_rows_is_refused() -> None:
    held = HeldOut(TABLE, ROWS)
    with pytest.raises(DataError, match=r"the expert `law` has no validation rows of its own: the domains are a, b"):
        check_rows(held, ["a", "law"], SearchConfig(), None)
    check_rows(held, ["law", "news"], SearchConfig(), None)  # names of another kind: every domain judges all experts


@pytest.mark.parametrize(
    ("bases", "base", "line"),
    [
        (("x", "y"), None, r"`a` and `b` were trained from different bases \(x and y\)"),
        ((None, "y"), "z", "`b` was trained from a base with the fingerprint y, and this base has z"),
    ],
)
def test_experts_of_another_base_are_refused(
    tmp_path: Path, bases: tuple[Any, Any], base: str | None, line: str
) -> None:
    model = support.model()
    parts = {"model.norm.weight": model.model.norm.weight.detach().clone()}
    differences = {name: mixtures.difference(name, dict(parts), base=of) for name, of in zip("ab", bases, strict=True)}
    with pytest.raises(ModelError, match=line):
        search_weights(model, differences, TABLE, ROWS, SearchConfig(), tmp_path, base=base)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"normalize": "sum1", "bounds": (0, 2)}, "bounds are for `normalize: none`"),
        ({"bounds": (1, 1)}, "the smaller one first"),
        ({"shares": {"a": 1}}, "go together"),
        ({"objective": "shares"}, "go together"),
        ({"objective": "shares", "shares": {"a": 0}}, "sum to 0"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        SearchConfig(**settings)


def test_starting_points_outside_the_bounds_are_looked_at_and_not_chosen(tmp_path: Path) -> None:
    found = searched(tmp_path, bounds=(0.1, 0.4), budget=10)
    assert set(found.references) == {"base", "uniform", "a", "b", "by tokens"}
    assert np.all([0.1 <= weight <= 0.4 for weight in found.weights.values()])
