from __future__ import annotations

import pytest

from curricle.data.store import Selection
from curricle.data.store.words import selection
from curricle.errors import RecipeError


def test_the_command_line_says_what_a_recipe_says() -> None:
    assert selection(
        ["level=1..3", "source=cf, aizu"],
        ["ok:true=0.5,false=0.5", "level:equal"],
        None,
        ["problem=8"],
        rows=100,
        seed=3,
        on_shortage="fewer",
    ) == Selection.model_validate(
        {
            "where": {"level": "1..3", "source": ["cf", "aizu"]},
            "shares": {"ok": {True: 0.5, False: 0.5}, "level": "equal"},
            "cap": {"problem": 8},
            "rows": 100,
            "seed": 3,
            "on_shortage": "fewer",
        }
    )
    assert selection(None, None, ["level:3=20,4=5"], None, on_shortage="error").counts == {"level": {"3": 20, "4": 5}}


@pytest.mark.parametrize(
    ("where", "shares", "counts", "cap", "says"),
    [
        (["level"], [], [], [], "--where takes COLUMN=VALUE"),
        (["level=1", "level=2"], [], [], [], "--where names `level` twice"),
        ([], ["ok=true=0.5"], [], [], "--shares takes COLUMN:VALUE=NUMBER"),
        ([], ["ok:true=half"], [], [], "'half' of 'ok:true=half' is no number"),
        ([], ["ok:true=-1"], [], [], "from 0; found 'ok:true=-1'"),
        ([], ["ok:true=0.5,true=0.5"], [], [], "names a value twice"),
        ([], [], ["ok:equal"], [], "--counts takes COLUMN:VALUE=NUMBER"),
        ([], [], ["ok:true=1.5"], [], "--counts takes whole numbers"),
        ([], [], [], ["problem=0"], "--cap takes COLUMN=NUMBER with a whole number from 1"),
        ([], [], [], ["problem=1.5"], "--cap takes COLUMN=NUMBER with a whole number from 1"),
    ],
)
def test_what_is_not_understood(
    where: list[str], shares: list[str], counts: list[str], cap: list[str], says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        selection(where, shares, counts, cap, on_shortage="fewer")
    with pytest.raises(RecipeError, match="did you mean `fewer`"):
        selection(None, None, None, None, on_shortage="few")
