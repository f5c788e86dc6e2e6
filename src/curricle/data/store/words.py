"""A selection as it is written on the command line: `COLUMN=VALUE,...` and `COLUMN:VALUE=SHARE,...`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import RecipeError, nearest
from .config import Selection

ON_SHORTAGE = ("redistribute", "fewer", "error")

Given = Iterable[str] | None


def selection(where: Given, share: Given, count: Given, cap: Given, *, on_shortage: str, **settings: Any) -> Selection:
    """All of them together."""
    if on_shortage not in ON_SHORTAGE:
        raise RecipeError(f"--on-shortage {on_shortage!r}: {nearest(on_shortage, ON_SHORTAGE)}")
    numbers = shares(count or [], "--counts")
    for name, values in numbers.items():
        if any(value != int(value) for value in values.values()):
            raise RecipeError(f"--counts takes whole numbers; found {values} for `{name}`")
    return Selection.model_validate(
        {
            "where": filters(where or []),
            "shares": shares(share or []),
            "counts": {n: {v: int(k) for v, k in values.items()} for n, values in numbers.items()},
            "cap": caps(cap or []),
            "on_shortage": on_shortage,
            **settings,
        }
    )


def filters(given: Iterable[str]) -> dict[str, list[str]]:
    """`difficulty=1..3` and `source=codeforces,atcoder`, as `Selection.where`.

    >>> filters(["difficulty=1..3", "source=codeforces,atcoder"])
    {'difficulty': ['1..3'], 'source': ['codeforces', 'atcoder']}
    """
    out: dict[str, list[str]] = {}
    for text in given:
        name, values = _split(text, "--where", "COLUMN=VALUE[,VALUE...]")
        _once(out, name, "--where")
        out[name] = [value.strip() for value in values.split(",")]
    return out


def shares(given: Iterable[str], flag: str = "--shares") -> dict[str, Any]:
    """`is_correct:true=0.5,false=0.5` and `difficulty:equal`, as `Selection.shares` or `.counts`.

    >>> shares(["is_correct:true=0.5,false=0.5", "difficulty:equal"])
    {'is_correct': {'true': 0.5, 'false': 0.5}, 'difficulty': 'equal'}
    """
    out: dict[str, Any] = {}
    form = "COLUMN:VALUE=NUMBER[,VALUE=NUMBER...]" + (" or COLUMN:equal" if flag == "--shares" else "")
    for text in given:
        name, values = _split(text, flag, form, sign=":")
        _once(out, name, flag)
        if values == "equal" and flag == "--shares":
            out[name] = "equal"
            continue
        pairs = [_split(pair, flag, form) for pair in values.split(",")]
        out[name] = {value: _number(share, flag, form, text) for value, share in pairs}
        if len(out[name]) < len(pairs):
            raise RecipeError(f"{flag} {text!r} names a value twice")
    return out


def caps(given: Iterable[str]) -> dict[str, int]:
    """`problem=8`, as `Selection.cap`."""
    out: dict[str, int] = {}
    for text in given:
        name, most = _split(text, "--cap", "COLUMN=NUMBER")
        _once(out, name, "--cap")
        out[name] = int(_number(most, "--cap", "COLUMN=NUMBER", text))
        if out[name] != float(most) or out[name] < 1:
            raise RecipeError(f"--cap takes COLUMN=NUMBER with a whole number from 1; found {text!r}")
    return out


def _split(text: str, flag: str, form: str, sign: str = "=") -> tuple[str, str]:
    name, found, rest = text.partition(sign)
    if not found or not name.strip() or not rest.strip():
        raise RecipeError(f"{flag} takes {form}; found {text!r}")
    return name.strip(), rest.strip()


def _number(text: str, flag: str, form: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise RecipeError(f"{flag} takes {form}; {text!r} of {whole!r} is no number") from None
    if not 0 <= number < float("inf"):
        raise RecipeError(f"{flag} takes {form}, from 0; found {whole!r}")
    return number


def _once(out: dict[str, Any], name: str, flag: str) -> None:
    if name in out:
        raise RecipeError(f"{flag} names `{name}` twice; put its values into one")
