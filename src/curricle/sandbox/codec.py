"""Values that cross between the process with the sample and the process with its tests: plain builtins, as JSON.

What arrives is built here from numbers, text and containers of exactly these types, whatever the other side did to its
own interpreter: nothing of the sample's making, no class, no method, comes across. Everything else stays where it is
and is spoken of by number.

None, bool, str, short int and float   themselves
list                                   [...]
other                                  {"kind": ..., "of": ...}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

_SHORT = 1 << 63
_PLAIN_CLASSES = (
    bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, object, type(None),
)  # fmt: skip
_CLASS_NAMES = {kind.__name__: kind for kind in _PLAIN_CLASSES}
_SEQUENCES: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class Shelf(Protocol):
    """Where one side keeps what cannot cross."""

    def put(self, value: Any) -> Any:
        """What to send in its place."""

    def get(self, sent: Any) -> Any:
        """The value that was spoken of."""


def encode(value: Any, shelf: Shelf) -> Any:
    """A value as JSON's own types. A subclass of a builtin crosses as that builtin, by the builtin's own means."""
    match value:
        case None | True | False:
            return value
        case str():
            return value if type(value) is str else str.__str__(value)
        case int():
            number = int.__index__(value)
            return number if -_SHORT < number < _SHORT else {"kind": "int", "of": hex(number)}
        case float():
            return float.__float__(value)
        case list():
            return [encode(item, shelf) for item in list.__iter__(value)]
        case dict():
            pairs = [[encode(key, shelf), encode(item, shelf)] for key, item in dict.items(value)]
            return {"kind": "dict", "of": pairs}
        case tuple():
            return {"kind": "tuple", "of": [encode(item, shelf) for item in tuple.__iter__(value)]}
        case set() | frozenset():
            kind = "set" if isinstance(value, set) else "frozenset"
            return {"kind": kind, "of": [encode(item, shelf) for item in value]}
    return _encode_rarer(value, shelf)


def _encode_rarer(value: Any, shelf: Shelf) -> Any:
    match value:
        case complex():
            return {"kind": "complex", "of": [value.real, value.imag]}
        case bytes() | bytearray():
            return {"kind": type(value).__name__, "of": value.hex()}
        case range():
            return {"kind": "range", "of": [value.start, value.stop, value.step]}
        case type() if value in _PLAIN_CLASSES:
            return {"kind": "class", "of": value.__name__}
    return {"kind": "shelf", "of": shelf.put(value)}


def decode(sent: Any, shelf: Shelf) -> Any:
    """The value again; ValueError where it is nothing that `encode` makes."""
    if isinstance(sent, list):
        return [decode(item, shelf) for item in sent]
    if not isinstance(sent, dict):
        return sent
    kind, of = sent.get("kind"), sent.get("of")
    if kind in _SEQUENCES and isinstance(of, list):
        return _SEQUENCES[kind](decode(item, shelf) for item in of)
    if kind == "dict" and isinstance(of, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in of):
        return {decode(key, shelf): decode(item, shelf) for key, item in of}
    if kind == "shelf":
        return shelf.get(of)
    return _decode_rarer(kind, of)


def _decode_rarer(kind: Any, of: Any) -> Any:
    match kind, of:
        case "int", str():
            return int(of, 16)
        case "complex", [int() | float() as real, int() | float() as imaginary]:
            return complex(real, imaginary)
        case "bytes", str():
            return bytes.fromhex(of)
        case "bytearray", str():
            return bytearray.fromhex(of)
        case "range", [int() as start, int() as stop, int() as step]:
            return range(start, stop, step)
        case "class", str() if of in _CLASS_NAMES:
            return _CLASS_NAMES[of]
    raise ValueError(f"no value of kind {kind!r}")
