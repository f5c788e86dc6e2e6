"""What every benchmark shares: ours and a peer in turn in one process, and one JSON line per figure.

A figure is a ratio, because a time of its own says more about the machine than about the code. `ours` and `peer` run in
turn, so that whatever else the machine does falls on both; the ratio is the median of the ratios of the rounds and the
spread is their smallest and largest.

    from harness import compare_times, figure
    compare_times("packing.speed", ours, peer, target=2.0, peer_version=versioned("trl"))  # peer time / our time >= 2
    figure("packing.fill", ours=0.985, target=0.97)                                 # no peer: ours >= target
    figure("loss.memory", ours=70e6, peer=400e6, target=0.2, direction="at_most")   # ours / peer <= 0.2
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Literal

Direction = Literal["at_least", "at_most"]


def interleaved(
    ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = 5, warmup: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of each run of `ours` and of `peer`, taken in turn; who goes first changes every round."""
    for _ in range(warmup):
        ours()
        peer()
    ours_times, peer_times = [], []
    for round_ in range(repeats):
        pair = [(ours, ours_times), (peer, peer_times)]
        for run, times in pair if round_ % 2 == 0 else reversed(pair):
            times.append(seconds(run))
    return ours_times, peer_times


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one call, its garbage collected beforehand and its result dropped before the next."""
    gc.collect()
    start = time.perf_counter()
    result = run()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def figure(
    name: str,
    *,
    ours: float,
    peer: float | None = None,
    peer_version: str | None = None,
    ratio: float | None = None,
    target: float | None = None,
    direction: Direction = "at_least",
    spread: Sequence[float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Print and return one figure. `ratio` is ours / peer unless given, and `ours` itself when there is no peer."""
    if ratio is None:
        ratio = ours if peer is None else ours / peer
    holds = None if target is None else (ratio >= target if direction == "at_least" else ratio <= target)
    line = {
        "name": name,
        "ours": _short(ours),
        "peer": _short(peer),
        "peer_version": peer_version,
        "ratio": _short(ratio),
        "target": target,
        "direction": direction,
        "spread": None if spread is None else [_short(value) for value in spread],
        "holds": holds,
        **more,
    }
    print(json.dumps(line), flush=True)
    return line


def compare_times(
    name: str,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    *,
    target: float | None,
    peer_version: str | None = None,
    direction: Direction = "at_least",
    repeats: int = 5,
    **more: Any,
) -> dict[str, Any]:
    """Time both in turn. `at_least`: how many times faster than the peer; `at_most`: our share of the peer's time."""
    ours_times, peer_times = interleaved(ours, peer, repeats)
    pairs = list(zip(ours_times, peer_times, strict=True))
    ratios = [p / o for o, p in pairs] if direction == "at_least" else [o / p for o, p in pairs]
    return figure(
        name,
        ours=statistics.median(ours_times),
        peer=statistics.median(peer_times),
        peer_version=peer_version,
        ratio=statistics.median(ratios),
        target=target,
        direction=direction,
        spread=(min(ratios), max(ratios)),
        unit="s",
        repeats=repeats,
        **more,
    )


def versioned(package: str) -> str:
    """`trl 1.16.0`: how a figure names its peer."""
    return f"{package} {version(package)}"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
