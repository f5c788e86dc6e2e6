"""One way to name a piece of work by what went into it."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def fingerprint(*parts: Any) -> str:
    """Twenty hex digits that change when any part changes; parts are JSON values (paths and the like become text).

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    flags = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return hashlib.sha256(orjson.dumps(parts, option=flags, default=str)).hexdigest()[:20]
