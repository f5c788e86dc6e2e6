"""Plain values cross unchanged; nothing else does."""

from __future__ import annotations

import collections
import enum
import json
import math
from typing import Any, NamedTuple

import pytest

from curricle.sandbox.codec import decode, encode

PLAIN = [
    None, True, False, 0, -1, 2**62, 2**63, -(2**200), 0.1, -0.0, math.inf, 3 + 4j, "", "naïve \ud800 \0", b"\xff",
    bytearray(b"ab"), [], [1, [2, [3]]], (), (1,), ((1, 2), [3]), {1, 2}, frozenset({"a"}), {},
    {"a": 1, (1, 2): [None]},
    {1: {2: {3}}}, {"kind": "tuple", "of": [1]}, range(3, 9, 2), int, str, type(None),
]  # fmt: skip


class Shelf:
    """Keeps what cannot cross, as both sides do."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def put(self, value: Any) -> Any:
        self.kept.append(value)
        return len(self.kept) - 1

    def get(self, sent: Any) -> Any:
        return ("object", sent)


def crossed(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value, Shelf()))), Shelf())


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_cross(value: Any) -> None:
    assert same(crossed(value), value)


def test_not_a_number_crosses() -> None:
    assert math.isnan(crossed(math.nan))


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Pair(NamedTuple):
    a: int
    b: int


class Colour(enum.IntEnum):
    RED = 1


class Many(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter([1, 2, 3])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Liar(5), 5),
        (Many([9]), [9]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), (1, 2)),
        (Colour.RED, 1),
    ],
)
def test_subclasses_cross_as_what_they_are_made_of(value: Any, plain: Any) -> None:
    assert same(crossed(value), plain)


@pytest.mark.parametrize("value", [object(), len, iter([]), Exception("x"), collections.deque([1]), Liar, json])
def test_other_objects_stay(value: Any) -> None:
    assert crossed(value) == ("object", 0)
    assert crossed([value, 1]) == [("object", 0), 1]


@pytest.mark.parametrize(
    "sent",
    [
        {}, {"kind": "eval", "of": "1"}, {"kind": "int", "of": 5}, {"kind": "dict", "of": [[1]]},
        {"kind": "class", "of": "eval"},
        {"kind": "tuple", "of": 1}, {"kind": "bytes", "of": "zz"}, {"kind": "range", "of": ["a", "b", "c"]},
    ],
    ids=repr,
)  # fmt: skip
def test_nonsense_is_an_error(sent: Any) -> None:
    with pytest.raises(ValueError):
        decode(sent, Shelf())
