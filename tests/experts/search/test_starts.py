"""Where a search begins, and what a budget must have room for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from curricle.errors import RecipeError
from curricle.experts.search import check_budget
from curricle.experts.search.config import SearchConfig
from curricle.experts.search.starts import starting_points

NAMES = ["law", "news", "web", "code"]


@pytest.mark.parametrize("method", ["bayes", "coordinate", "nelder-mead", "grid"])
@pytest.mark.parametrize("normalize", ["none", "sum1"])
@pytest.mark.parametrize("num", [1, 2, 4])
def test_the_check_beforehand_is_that_of_the_search(num: int, normalize: Any, method: Any) -> None:
    """Whatever the rows turn out to be: what passes before training is not refused after it, and conversely."""
    names = NAMES[:num]
    for budget in range(1, 24):
        config = SearchConfig(method=method, normalize=normalize, budget=budget)
        try:
            check_budget(config, names)
        except RecipeError:
            with pytest.raises(RecipeError):
                starting_points(names, {}, config, {})
        else:
            for tokens in ({}, dict.fromkeys(names, 5), {name: i + 1 for i, name in enumerate(names)}):
                points = starting_points(names, tokens, config, {})
                assert len({tuple(point.values()) for point in points.values()}) <= budget


@pytest.mark.parametrize(("num", "needs"), [(1, 2), (2, 4), (3, 5), (4, 6)])
def test_how_many_starting_points_there_are(num: int, needs: int) -> None:
    """The base, all alike, each alone; of one expert the last two are the same."""
    check_budget(SearchConfig(budget=needs), NAMES[:num])
    with pytest.raises(
        RecipeError, match=f"of {needs - 1} evaluations, and its starting points take {needs} "
    ) as caught:
        check_budget(SearchConfig(budget=needs - 1), NAMES[:num])
    assert "\n" not in str(caught.value)


def test_given_weights_are_one_more_unless_they_are_known() -> None:
    check_budget(SearchConfig(budget=4), NAMES[:2], {"given": {"law": 0.5, "news": 0.5}})
    with pytest.raises(RecipeError, match=r"take 5 \(base, uniform, law, news, given\)"):
        check_budget(SearchConfig(budget=4), NAMES[:2], {"given": {"law": 0.4, "news": 0.5}})
    with pytest.raises(RecipeError, match=r"`nevs`, and no expert is called that; did you mean `news`"):
        check_budget(SearchConfig(), NAMES[:2], {"given": {"nevs": 0.4}})


def test_weights_by_tokens_give_way_to_the_budget() -> None:
    tokens = {"law": 30, "news": 10}
    assert "by tokens" not in starting_points(NAMES[:2], tokens, SearchConfig(budget=4), {})
    found = starting_points(NAMES[:2], tokens, SearchConfig(budget=5), {})
    assert found["by tokens"] == {"law": 0.75, "news": 0.25}


def test_the_check_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from curricle.experts.search import check_budget\n"
        "from curricle.experts.search.config import SearchConfig\n"
        "check_budget(SearchConfig(), ['law', 'news'])\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
