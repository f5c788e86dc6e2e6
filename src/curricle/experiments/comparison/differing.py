"""What an arm departs from the base arm in, said so that a person sees it at once: rows by their domains or files, a
merge in one line, and what somebody wrote before the defaults that came with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Changes = Mapping[str, tuple[Any, Any]]

NAMED = 8
"""Domains or files that are named; the rest are counted."""
OF_TRAINING = ("trainer", "training.", "curriculum.", "weighting.", "data.train")
"""What says nothing of an arm that trains nothing."""
ROWS = {
    "data.train": ("rows of", "no rows"),
    "data.eval": ("held-out rows of", "no held-out rows"),
    "merge.validation": ("searched on rows of", "searched on no rows"),
}


@dataclass(frozen=True)
class Said:
    """One thing in which an arm differs: a key with its two values, or both in words."""

    key: str
    base: Any
    own: Any
    in_words: bool = False


def differing(changes: Changes) -> list[Said]:
    """Of `ArmInfo.changes`; what the arm is comes first, then what was written, then defaults of a section that only
    one of the two has.

    >>> differing({"trainer": ("hf", "none")})
    [Said(key='trainer', base='hf', own='nothing is trained', in_words=True)]
    """
    base, own = (_merge({key: pair[i] for key, pair in changes.items()}) for i in (0, 1))
    first, left = [], dict(changes)
    if bool(base) != bool(own):
        first.append(Said("merge", base or "not merged", own or "not merged", in_words=True))
        left = {key: pair for key, pair in left.items() if not key.startswith("merge.")}
    trainer = changes.get("trainer", ("", ""))
    if (first and own) or trainer[1] == "none":
        left = {key: pair for key, pair in left.items() if not key.startswith(OF_TRAINING)}
    if trainer[1] == "none":
        first.append(Said("trainer", trainer[0], "nothing is trained", in_words=True))
    elif "trainer" in left and trainer[0] == "none":
        first.append(Said("trainer", "nothing is trained", f"trained with {left.pop('trainer')[1]}", in_words=True))
    defaults = [key for key, pair in left.items() if _came_along(key, pair)]
    order = [*(key for key in left if key not in defaults), *defaults]
    return [*first, *(_said(key, *left[key]) for key in order)]


def _said(key: str, base: Any, own: Any) -> Said:
    if key in ROWS and all(value is None or _names(value) for value in (base, own)):
        (some, none), ours, theirs = ROWS[key], _names(base), _names(own)
        said = [f"{some} {_listed(names)}" if names else none for names in (ours, theirs)]
        other = f" ({_other(base, own)})" if ours == theirs else ""
        return Said(key, said[0], said[1] + other, in_words=True)
    if key == "merge.arms" and base and own:
        return Said(key, f"merged of {_listed(base)}", f"merged of {_listed(own)}", in_words=True)
    return Said(key, base, own)


# ---- rows -----------------------------------------------------------------------------------------------------------


def _names(sources: Any) -> list[str]:
    """Of each source its domain, or its file; none where these are no sources."""
    written = _as_mappings(sources)
    return list(dict.fromkeys(str(each.get("domain") or Path(str(each.get("path", ""))).name) for each in written))


def _as_mappings(sources: Any) -> list[Mapping[str, Any]]:
    listed = sources if isinstance(sources, list) else [sources]
    found = [{"path": each} if isinstance(each, str) else each for each in listed]
    return [each for each in found if isinstance(each, Mapping)]


def _other(base: Any, own: Any) -> str:
    """What differs in sources of the same names."""
    ours, theirs = _as_mappings(base), _as_mappings(own)
    if len(ours) != len(theirs):
        return "other parts"
    keys = [
        key for one, two in zip(ours, theirs, strict=True) for key in {**one, **two} if one.get(key) != two.get(key)
    ]
    return f"other {', '.join(dict.fromkeys(keys))}" if keys else "as text"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


# ---- merges ---------------------------------------------------------------------------------------------------------


def _merge(values: Mapping[str, Any]) -> str:
    """Of one side's `merge.` keys: what is merged, and how; empty where nothing is."""
    arms = values.get("merge.arms")
    if not arms or not isinstance(arms, list):
        return ""
    normalize = f"normalize {values.get('merge.normalize')}"
    method, density = values.get("merge.method"), values.get("merge.density")
    how = normalize if method in (None, "linear") else f"{normalize}, {method} of density {density:g}"
    return f"merged of {_listed(map(str, arms))}, {_weights(values)} ({how})"


def _weights(values: Mapping[str, Any]) -> str:
    said = {"search": "weights by search", "shares": "weights by shares of tokens", "uniform": "uniform weights"}
    named = {key.removeprefix("merge.weights."): value for key, value in values.items() if "merge.weights." in key}
    written = ", ".join(f"{name} {value:g}" for name, value in named.items() if value is not None)
    return said.get(str(values.get("merge.weights")), f"weights {written}")


# ---- defaults -------------------------------------------------------------------------------------------------------


def _came_along(key: str, pair: tuple[Any, Any]) -> bool:
    """Whether nobody need have written it: one side has no such section, and the other the key's default."""
    given = [value for value in pair if value is not None]
    return len(given) == 1 and given[0] in _defaults().get(key, [])


@cache
def _defaults() -> dict[str, list[Any]]:
    """Of every key; several where it stands in sections of several kinds."""
    from ..keys import all_fields
    from ..recipe import Settings

    found: dict[str, list[Any]] = {}
    for key, field in all_fields(Settings):
        found.setdefault(key, []).append(field.get_default(call_default_factory=True))
    return found
