"""What programs of the contest are made of: each step says itself in English, in Python, and by what it does.

`run` is the meaning; every form in `exprs` and `loops` is Python that does the same, `{v}` being the value so far and
`{k}` the step's constant. `careless` is what somebody writes who forgets a case: an expression, and what that does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Type = Literal["int", "list", "str", "words"]
Run = Callable[[Any, Any], Any]


class Wild(Exception):
    """A program goes past what a small problem asks."""


@dataclass(frozen=True)
class Step:
    """One operation, with a constant or without."""

    name: str
    kind: str
    takes: Type
    gives: Type
    words: str
    run: Run
    exprs: tuple[str, ...] = ()
    loop: str = ""
    """Statements that put the result into `{out}`; `{v}` is a name there."""
    constants: tuple[Any, ...] = ()
    near: tuple[str, ...] = ()
    """Steps that are easily taken for this one."""
    careless: tuple[str, Run] | None = None


@dataclass(frozen=True)
class Condition:
    """A question about the value so far."""

    name: str
    takes: Type
    words: str
    run: Callable[[Any, Any], bool]
    expr: str
    constants: tuple[Any, ...] = ()
    near: tuple[str, ...] = ()


_SMALL, _MID = tuple(range(2, 10)), tuple(range(1, 13))
_FEW = (2, 3, 4, 5)
_LETTERS = tuple("aeiostrn")
_VOWELS = "aeiou"


def _int(name: str, words: str, run: Run, *exprs: str, **more: Any) -> Step:
    return Step(name, "arith", "int", "int", words, run, exprs, **more)


def _each(name: str, words: str, run: Callable[[int, Any], int], inner: str, **more: Any) -> Step:
    """A step that changes every number of a list."""
    loop = f"{{out}} = []\nfor x in {{v}}:\n    {{out}}.append({inner})"
    expr = f"[{inner} for x in {{v}}]"
    return Step(name, "map", "list", "list", words, lambda v, k: [run(x, k) for x in v], (expr,), loop, **more)


def _keep(name: str, words: str, run: Callable[[int, Any], bool], test: str, **more: Any) -> Step:
    """A step that keeps some numbers of a list."""
    loop = f"{{out}} = []\nfor x in {{v}}:\n    if {test}:\n        {{out}}.append(x)"
    expr = f"[x for x in {{v}} if {test}]"
    return Step(name, "filter", "list", "list", words, lambda v, k: [x for x in v if run(x, k)], (expr,), loop, **more)


def _order(name: str, words: str, run: Run, *exprs: str, **more: Any) -> Step:
    return Step(name, "order", "list", "list", words, run, exprs, **more)


def _reduce(name: str, words: str, run: Run, *exprs: str, **more: Any) -> Step:
    return Step(name, "reduce", "list", "int", words, run, exprs, **more)


def _text(name: str, words: str, run: Run, *exprs: str, **more: Any) -> Step:
    return Step(name, "text", "str", "str", words, run, exprs, **more)


_ARITH = (
    _int("add", "add {k}", lambda v, k: v + k, "{v} + {k}", constants=_MID, near=("subtract", "multiply")),
    _int("subtract", "subtract {k}", lambda v, k: v - k, "{v} - {k}", constants=_MID, near=("add", "from")),
    _int("from", "subtract it from {k}", lambda v, k: k - v, "{k} - {v}", constants=_MID, near=("subtract",)),
    _int("multiply", "multiply by {k}", lambda v, k: v * k, "{v} * {k}", "{k} * {v}", constants=_SMALL, near=("add",)),
    _int("square", "square it", lambda v, k: v**2, "{v} ** 2", near=("negate",)),
    _int("negate", "negate it", lambda v, k: -v, "-{v}", "0 - {v}", near=("absolute",)),
    _int("absolute", "take the absolute value", lambda v, k: abs(v), "abs({v})", near=("negate",)),
    _int(
        "remainder", "take the remainder by {k}", lambda v, k: v % k, "{v} % {k}", constants=_SMALL, near=("quotient",)
    ),
    _int(
        "quotient", "divide by {k} rounding down", lambda v, k: v // k, "{v} // {k}",
        constants=_SMALL, near=("remainder",),
    ),
    _int("at_least", "raise it to at least {k}", lambda v, k: max(v, k), "max({v}, {k})", "max({k}, {v})",
         loop="{out} = {v}\nif {out} < {k}:\n    {out} = {k}", constants=_MID, near=("at_most",)),
    _int("at_most", "lower it to at most {k}", lambda v, k: min(v, k), "min({v}, {k})", "min({k}, {v})",
         loop="{out} = {v}\nif {out} > {k}:\n    {out} = {k}", constants=_MID, near=("at_least",)),
    _int("digit_sum", "take the sum of its digits", lambda v, k: sum(int(d) for d in str(abs(v))),
         "sum([int(d) for d in str(abs({v}))])",
         loop="{out} = 0\nfor d in str(abs({v})):\n    {out} += int(d)",
         careless=("sum([int(d) for d in str({v})])", lambda v, k: sum(int(d) for d in str(v)))),
)  # fmt: skip

_LISTS = (
    _each("add_each", "add {k} to each", lambda x, k: x + k, "x + {k}", constants=_SMALL, near=("multiply_each",)),
    _each("multiply_each", "multiply each by {k}", lambda x, k: x * k, "x * {k}", constants=_SMALL, near=("add_each",)),
    _each("square_each", "square each", lambda x, k: x**2, "x ** 2", near=("negate_each", "absolute_each")),
    _each("negate_each", "negate each", lambda x, k: -x, "-x", near=("absolute_each",)),
    _each("absolute_each", "take the absolute value of each", lambda x, k: abs(x), "abs(x)", near=("negate_each",)),
    _each("remainder_each", "take the remainder of each by {k}", lambda x, k: x % k, "x % {k}", constants=_SMALL,
          near=("quotient_each",)),
    _each("quotient_each", "divide each by {k} rounding down", lambda x, k: x // k, "x // {k}", constants=_FEW,
          near=("remainder_each",)),
    _keep("even", "keep the even numbers", lambda x, k: x % 2 == 0, "x % 2 == 0", near=("odd",)),
    _keep("odd", "keep the odd numbers", lambda x, k: x % 2 == 1, "x % 2 == 1", near=("even",)),
    _keep("above", "keep the numbers above {k}", lambda x, k: x > k, "x > {k}", constants=_SMALL,
          near=("below", "from_on")),
    _keep("below", "keep the numbers below {k}", lambda x, k: x < k, "x < {k}", constants=_SMALL,
          near=("above", "from_on")),
    _keep("from_on", "keep the numbers from {k} on", lambda x, k: x >= k, "x >= {k}", constants=_SMALL,
          near=("above", "below")),
    _keep("multiples", "keep the multiples of {k}", lambda x, k: x % k == 0, "x % {k} == 0", constants=_FEW,
          near=("no_multiples",)),
    _keep("no_multiples", "drop the multiples of {k}", lambda x, k: x % k != 0, "x % {k} != 0", constants=_FEW,
          near=("multiples",)),
    _order("sort", "sort them", lambda v, k: sorted(v), "sorted({v})", near=("sort_down", "reverse")),
    _order("sort_down", "sort them from large to small", lambda v, k: sorted(v, reverse=True),
           "sorted({v}, reverse=True)", "sorted({v})[::-1]", near=("sort", "reverse")),
    _order("reverse", "reverse the list", lambda v, k: v[::-1], "{v}[::-1]", "list(reversed({v}))",
           near=("sort_down",)),
    _order("first", "take the first {k}", lambda v, k: v[:k], "{v}[:{k}]", constants=_FEW, near=("skip", "last")),
    _order("skip", "drop the first {k}", lambda v, k: v[k:], "{v}[{k}:]", constants=_FEW, near=("first",)),
    _order("last", "take the last {k}", lambda v, k: v[-k:], "{v}[-{k}:]", constants=_FEW, near=("first", "skip")),
    _order("second", "take every second one", lambda v, k: v[::2], "{v}[::2]", near=("reverse",)),
    _order("unique", "drop repeated numbers", lambda v, k: list(dict.fromkeys(v)), "list(dict.fromkeys({v}))",
           loop="{out} = []\nfor x in {v}:\n    if x not in {out}:\n        {out}.append(x)", near=("sort",)),
    _order("steps", "take the differences of neighbours", lambda v, k: [b - a for a, b in pairwise(v)],
           "[b - a for a, b in zip({v}, {v}[1:])]",
           loop="{out} = []\nfor i in range(1, len({v})):\n    {out}.append({v}[i] - {v}[i - 1])", near=("running",)),
    _order("running", "take the running totals", lambda v, k: [sum(v[: i + 1]) for i in range(len(v))],
           "[sum({v}[:i + 1]) for i in range(len({v}))]",
           loop="{out} = []\nt = 0\nfor x in {v}:\n    t += x\n    {out}.append(t)", near=("steps",)),
)  # fmt: skip

_REDUCE = (
    _reduce("sum", "take the sum", lambda v, k: sum(v), "sum({v})", loop="{out} = 0\nfor x in {v}:\n    {out} += x",
            near=("count", "largest")),
    _reduce("count", "count them", lambda v, k: len(v), "len({v})", loop="{out} = 0\nfor x in {v}:\n    {out} += 1",
            near=("sum",)),
    _reduce("largest", "take the largest, 0 if none", lambda v, k: max(v, default=0), "max({v}, default=0)",
            "max({v}) if {v} else 0", near=("smallest", "final"), careless=("max({v})", lambda v, k: max(v))),
    _reduce("smallest", "take the smallest, 0 if none", lambda v, k: min(v, default=0), "min({v}, default=0)",
            "min({v}) if {v} else 0", near=("largest",), careless=("min({v})", lambda v, k: min(v))),
    _reduce("final", "take the last one, 0 if none", lambda v, k: v[-1] if v else 0, "{v}[-1] if {v} else 0",
            near=("largest",), careless=("{v}[-1]", lambda v, k: v[-1])),
    _reduce("spread", "take the largest minus the smallest, 0 if none", lambda v, k: max(v) - min(v) if v else 0,
            "max({v}, default=0) - min({v}, default=0)", "max({v}) - min({v}) if {v} else 0", near=("largest",),
            careless=("max({v}) - min({v})", lambda v, k: max(v) - min(v))),
    _reduce("occurrences", "count how often {k} occurs", lambda v, k: v.count(k), "{v}.count({k})",
            loop="{out} = 0\nfor x in {v}:\n    if x == {k}:\n        {out} += 1", constants=_SMALL, near=("count",)),
)  # fmt: skip

_SPREAD = (
    Step("digits", "spread", "int", "list", "list its digits", lambda v, k: [int(d) for d in str(abs(v))],
         ("[int(d) for d in str(abs({v}))]",), "{out} = []\nfor d in str(abs({v})):\n    {out}.append(int(d))"),
    Step("up_to", "spread", "int", "list", "list the numbers from 1 to it", lambda v, k: list(range(1, v + 1)),
         ("list(range(1, {v} + 1))", "[i for i in range(1, {v} + 1)]"), near=("divisors",),
         careless=("list(range(1, {v}))", lambda v, k: list(range(1, v)))),
    Step("divisors", "spread", "int", "list", "list its divisors",
         lambda v, k: [i for i in range(1, v + 1) if v % i == 0],
         ("[i for i in range(1, {v} + 1) if {v} % i == 0]",),
         "{out} = []\nfor i in range(1, {v} + 1):\n    if {v} % i == 0:\n        {out}.append(i)", near=("up_to",),
         careless=("[i for i in range(1, {v}) if {v} % i == 0]", lambda v, k: [i for i in range(1, v) if v % i == 0])),
)  # fmt: skip

_STRINGS = (
    _text("backwards", "reverse the text", lambda v, k: v[::-1], "{v}[::-1]", "''.join(reversed({v}))"),
    _text("upper", "make it upper case", lambda v, k: v.upper(), "{v}.upper()"),
    _text("head", "take the first {k} letters", lambda v, k: v[:k], "{v}[:{k}]", constants=_FEW, near=("tail",)),
    _text("tail", "drop the first {k} letters", lambda v, k: v[k:], "{v}[{k}:]", constants=_FEW, near=("head",)),
    _text("consonants", "drop the vowels", lambda v, k: "".join(c for c in v if c not in _VOWELS),
          "''.join([c for c in {v} if c not in 'aeiou'])", near=("vowels",),
          loop="{out} = ''\nfor c in {v}:\n    if c not in 'aeiou':\n        {out} += c"),
    _text("vowels", "keep the vowels", lambda v, k: "".join(c for c in v if c in _VOWELS),
          "''.join([c for c in {v} if c in 'aeiou'])", near=("consonants",),
          loop="{out} = ''\nfor c in {v}:\n    if c in 'aeiou':\n        {out} += c"),
    _text("without", "drop every {k}", lambda v, k: v.replace(k, ""), "{v}.replace({k}, '')", constants=_LETTERS,
          loop="{out} = ''\nfor c in {v}:\n    if c != {k}:\n        {out} += c", near=("consonants",)),
    _text("twice", "write each letter twice", lambda v, k: "".join(c * 2 for c in v),
          "''.join([c * 2 for c in {v}])", loop="{out} = ''\nfor c in {v}:\n    {out} += c * 2"),
    _text("sort_letters", "sort the letters", lambda v, k: "".join(sorted(v)), "''.join(sorted({v}))",
          near=("backwards",)),
    Step("length", "measure", "str", "int", "take its length", lambda v, k: len(v), ("len({v})",),
         "{out} = 0\nfor c in {v}:\n    {out} += 1", near=("num_vowels",)),
    Step("num_vowels", "measure", "str", "int", "count the vowels", lambda v, k: sum(c in _VOWELS for c in v),
         ("len([c for c in {v} if c in 'aeiou'])",),
         "{out} = 0\nfor c in {v}:\n    if c in 'aeiou':\n        {out} += 1", near=("length",)),
    Step("letter", "measure", "str", "int", "count every {k}", lambda v, k: v.count(k), ("{v}.count({k})",),
         "{out} = 0\nfor c in {v}:\n    if c == {k}:\n        {out} += 1", _LETTERS, near=("num_vowels",)),
)  # fmt: skip

_WORDS = (
    Step("split", "split", "str", "words", "split it into words", lambda v, k: v.split(), ("{v}.split()",)),
    Step("longer", "words", "words", "words", "keep the words longer than {k}",
         lambda v, k: [w for w in v if len(w) > k], ("[w for w in {v} if len(w) > {k}]",),
         "{out} = []\nfor w in {v}:\n    if len(w) > {k}:\n        {out}.append(w)", _FEW, near=("shorter",)),
    Step("shorter", "words", "words", "words", "keep the words shorter than {k}",
         lambda v, k: [w for w in v if len(w) < k], ("[w for w in {v} if len(w) < {k}]",),
         "{out} = []\nfor w in {v}:\n    if len(w) < {k}:\n        {out}.append(w)", _FEW, near=("longer",)),
    Step("containing", "words", "words", "words", "keep the words with {k}", lambda v, k: [w for w in v if k in w],
         ("[w for w in {v} if {k} in w]",),
         "{out} = []\nfor w in {v}:\n    if {k} in w:\n        {out}.append(w)", _LETTERS, near=("lacking",)),
    Step("lacking", "words", "words", "words", "drop the words with {k}", lambda v, k: [w for w in v if k not in w],
         ("[w for w in {v} if {k} not in w]",),
         "{out} = []\nfor w in {v}:\n    if {k} not in w:\n        {out}.append(w)", _LETTERS, near=("containing",)),
    Step("turned", "words", "words", "words", "reverse the order of the words", lambda v, k: v[::-1],
         ("{v}[::-1]", "list(reversed({v}))"), near=("sort_words",)),
    Step("sort_words", "words", "words", "words", "sort the words", lambda v, k: sorted(v), ("sorted({v})",),
         near=("turned",)),
    Step("few_words", "words", "words", "words", "take the first {k} words", lambda v, k: v[:k], ("{v}[:{k}]",),
         constants=_FEW),
    Step("spell_back", "words", "words", "words", "reverse each word", lambda v, k: [w[::-1] for w in v],
         ("[w[::-1] for w in {v}]",), "{out} = []\nfor w in {v}:\n    {out}.append(w[::-1])", near=("turned",)),
    Step("lengths", "lengths", "words", "list", "take the length of each word", lambda v, k: [len(w) for w in v],
         ("[len(w) for w in {v}]",), "{out} = []\nfor w in {v}:\n    {out}.append(len(w))"),
    Step("join", "join", "words", "str", "join them with spaces", lambda v, k: " ".join(v), ("' '.join({v})",),
         near=("join_dash",)),
    Step("join_dash", "join", "words", "str", "join them with dashes", lambda v, k: "-".join(v), ("'-'.join({v})",),
         near=("join",)),
)  # fmt: skip


def _halvings(v: int, k: Any) -> int:
    count = 0
    while v > 0:
        v, count = v // k, count + 1
    return count


def _collatz(v: int, k: Any) -> int:
    count = 0
    while v > k:
        v, count = v // 2 if v % 2 == 0 else 3 * v + 1, count + 1
        if count > 200:
            raise Wild
    return count


def _chain(v: int, k: Any) -> int:
    """The v-th number of the sequence that starts with 1 and k, each the sum of the two before."""
    a, b = 1, k
    for _ in range(v % 20):
        a, b = b, a + b
    return a


_WHILE = (
    Step("halvings", "while", "int", "int", "count the divisions by {k} rounding down until it is 0", _halvings, (),
         "{out} = 0\nt = {v}\nwhile t > 0:\n    t = t // {k}\n    {out} += 1", _FEW),
    Step("collatz", "while", "int", "int",
         "count the steps, halving if even, else times 3 plus 1, until it is at most {k}", _collatz, (),
         "{out} = 0\nt = {v}\nwhile t > {k}:\n    t = t // 2 if t % 2 == 0 else 3 * t + 1\n    {out} += 1",
         (1, 4, 8, 16)),
    Step("chain", "while", "int", "int",
         "from 1 and {k}, add the last two so many times as its remainder by 20, and take the last but one", _chain, (),
         "{out}, b = 1, {k}\nfor _ in range({v} % 20):\n    {out}, b = b, {out} + b", _SMALL),
)  # fmt: skip

STEPS: Mapping[str, Step] = {
    step.name: step for step in (*_ARITH, *_LISTS, *_REDUCE, *_SPREAD, *_STRINGS, *_WORDS, *_WHILE)
}

CONDITIONS: Mapping[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("is_even", "int", "it is even", lambda v, k: v % 2 == 0, "{v} % 2 == 0", near=("is_odd",)),
        Condition("is_odd", "int", "it is odd", lambda v, k: v % 2 == 1, "{v} % 2 == 1", near=("is_even",)),
        Condition("is_above", "int", "it is above {k}", lambda v, k: v > k, "{v} > {k}", _MID, ("is_below",)),
        Condition("is_below", "int", "it is below {k}", lambda v, k: v < k, "{v} < {k}", _MID, ("is_above",)),
        Condition("divides", "int", "it is a multiple of {k}", lambda v, k: v % k == 0, "{v} % {k} == 0", _FEW),
    )
}
