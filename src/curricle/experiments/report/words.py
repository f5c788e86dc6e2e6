"""Numbers and verdicts as a person reads them. Both pages take every figure's text from here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..comparison.shape import Cell, Comparison, Interval, MetricInfo, Verdict

SIGNS: dict[str, str] = {
    "better": "▲",
    "worse": "▼",
    "no difference shown": "=",
    "not decidable": "?",
    "met": "✓",
    "not met": "✕",
}
"""Beside the word, never instead of it."""

MINUS = "−"
FEW_ARMS = 3
"""Up to so many arms are summed up at length."""
NAMED = 3
"""Figures named in a sentence of the summary, one where there are many arms; the rest are counted."""


def number(value: float | None, decimals: int | None = None) -> str:
    """Four significant digits, or so many decimals."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{MINUS if value < 0 else ''}∞"
    if decimals is None:
        if value and not 1e-4 <= abs(value) < 1e7:
            return f"{value:.2e}".replace("-", MINUS)
        decimals = 0 if not value else min(6, max(0, 3 - math.floor(math.log10(abs(value)))))
    return f"{value:z,.{decimals}f}".replace("-", MINUS)


def decimals_of(interval: Interval) -> int | None:
    """As many decimals as the interval's width makes meaningful: two digits of its half."""
    if interval.low is None or interval.high is None:
        return None
    half = (interval.high - interval.low) / 2
    if not math.isfinite(half) or half <= 0 or max(abs(interval.low), abs(interval.high)) >= 1e7 or half < 1e-6:
        return None
    return max(0, 1 - math.floor(math.log10(half)))


def signed(value: float, decimals: int | None = None) -> str:
    text = number(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def common_decimals(intervals: Iterable[Interval]) -> int | None:
    """As many for all as most of them deserve, so that they line up."""
    found = sorted(decimals for interval in intervals if (decimals := decimals_of(interval)) is not None)
    return min(4, found[len(found) // 2]) if found else None


def decimals_for(comparison: Comparison, metric: str) -> int | None:
    """For all arms of one figure."""
    cells = [cell for cell in comparison.cells if cell.metric == metric]
    intervals = [cell.interval for cell in cells] + [cell.difference.interval for cell in cells if cell.difference]
    return common_decimals(intervals)


def spread(interval: Interval, sign: bool = False, decimals: int | None = None) -> str:
    """`[40.8, 41.7]`, or nothing where nothing can be said."""
    if interval.low is None or interval.high is None:
        return ""
    decimals = _shown(interval, decimals)
    show = signed if sign else number
    return f"[{show(interval.low, decimals)}, {show(interval.high, decimals)}]"


def mean(interval: Interval, sign: bool = False, decimals: int | None = None) -> str:
    return (signed if sign else number)(interval.mean, _shown(interval, decimals))


def _shown(interval: Interval, decimals: int | None) -> int | None:
    """Up to two decimals more: where an end that is not 0 would be printed as 0, as its side of 0 matters;
    and for a mean without an interval, three digits."""
    decimals = decimals_of(interval) if decimals is None else decimals
    if decimals is None:
        return None
    known = [abs(end) for end in (interval.low, interval.high) if end and math.isfinite(end)]
    if interval.low is None and interval.mean and math.isfinite(interval.mean):
        needed = 2 - math.floor(math.log10(abs(interval.mean)))
    else:
        needed = math.ceil(-math.log10(2 * min(known))) if known else 0
    return max(decimals, min(decimals + 2, needed))


def with_spread(interval: Interval, sign: bool = False, decimals: int | None = None) -> str:
    """`41.2 [40.8, 41.7]`."""
    return f"{mean(interval, sign, decimals)} {spread(interval, sign, decimals)}".rstrip()


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def count(value: float | None) -> str:
    """`1.23 M`; whole numbers up to 99,999 are written out."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e5:
        return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    raise AssertionError("unreachable: every value from 1e5 has a unit")


def duration(seconds: float | None) -> str:
    """`38 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(num_bytes: float | None) -> str:
    if num_bytes is None or not math.isfinite(num_bytes):
        return "–"
    return f"{num_bytes / 2**30:.3g} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.3g} MiB"


def plain(value: Any) -> str:
    """A recipe's value in one line, as YAML would have it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(plain(inner) for inner in value) + "]"
    return str(value)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names with one line each."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", plain(value)))
    return lines


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def percent(comparison: Comparison) -> str:
    return f"{comparison.level * 100:g}%"


def setting(comparison: Comparison) -> str:
    """How many arms and seeds there were, against what."""
    seeds = sorted({seed for arm in comparison.arms for seed in arm.seeds})
    arms = plural(len(comparison.arms), "arm")
    text = f"{arms}, {plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))})" if seeds else arms
    if len(comparison.arms) > 1:
        text += f"; compared with {comparison.base}, intervals of {percent(comparison)}"
    return text


def summary(comparison: Comparison) -> list[tuple[str, str]]:
    """For each arm but the base: its name, and what was found, as the rest of a sentence."""
    others = [arm.name for arm in comparison.arms if arm.name != comparison.base]
    if not others:
        own = [cell for cell in comparison.cells if cell.arm == comparison.base][:NAMED]
        found = listed([f"{cell.metric} {with_spread(cell.interval)}" for cell in own]) or "was not measured"
        return [(comparison.base, f"is the only arm, so nothing is compared: {found}.")]
    return [(arm, _found(comparison, arm, brief=len(others) > FEW_ARMS)) for arm in others]


def _found(comparison: Comparison, arm: str, brief: bool) -> str:
    cells = [cell for cell in comparison.cells if cell.arm == arm and cell.difference is not None]
    by_verdict: dict[Verdict, list[Cell]] = {}
    for cell in cells:
        assert cell.difference is not None
        by_verdict.setdefault(cell.difference.verdict, []).append(cell)
    parts = []
    for verdict in ("better", "worse"):
        if found := by_verdict.get(verdict):
            parts.append(
                f"is {verdict} than {comparison.base} in {_in_figures(comparison, found, 1 if brief else NAMED)}"
            )
    if found := by_verdict.get("no difference shown"):
        parts.append(f"is not shown to differ from it in {_in_figures(comparison, found, 0 if brief else NAMED)}")
        parts[-1] = parts[-1] if len(parts) > 1 else parts[-1].replace("from it", f"from {comparison.base}")
    if found := by_verdict.get("not decidable"):
        names = listed([cell.metric for cell in found]) if len(found) <= NAMED else plural(len(found), "figure")
        parts.append(f"cannot be judged in {names}")
    return f"{'; it '.join(parts) or 'was not measured'}."


def _in_figures(comparison: Comparison, cells: Sequence[Cell], most: int) -> str:
    named = []
    for cell in cells[:most]:
        base = comparison.cell(comparison.base, cell.metric)
        assert cell.difference is not None
        decimals = decimals_for(comparison, cell.metric)
        said = with_spread(cell.difference.interval, sign=True, decimals=decimals)
        if base and cell.difference.verdict in ("better", "worse"):
            means = (number(each.interval.mean, decimals) for each in (cell, base))
            said = f"{' against '.join(means)}; {said}"
        named.append(f"{cell.metric} ({said})")
    if len(cells) > most:
        named.append(plural(len(cells) - most, "more figure" if named else "figure"))
    return listed(named)


def direction(metric: MetricInfo) -> str:
    return "higher is better" if metric.higher_is_better else "lower is better"
