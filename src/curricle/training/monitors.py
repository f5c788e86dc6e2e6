"""What a run tells about itself, step by step.

`metrics.jsonl` has a line a step, `consumed.jsonl` the examples of that step in the order they were trained on, and
`heldout.jsonl` a line an evaluation. All are cut back to the checkpoint on resume, so a killed run's logs read as if
nothing had happened.
"""

from __future__ import annotations

import math
import re
import resource
import statistics
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.logs import JsonLog
from ..runtime.progress import say
from ..runtime.ranks import is_main

SPIKE_FACTOR = 2.0
"""A step whose loss or gradient norm is this many times the running median is called a spike."""

SPIKE_WINDOW = 50
OF_CRITIC = ("value_loss", "value_mean", "value_clipped", "explained_variance")
CLIP_ADVICE_AFTER = 50
CLIP_ADVICE_SHARE = 0.5


@dataclass
class Spikes:
    """Compares a value with the median of the steps before it; the first ten are never called spikes."""

    window: deque[float] = field(default_factory=lambda: deque(maxlen=SPIKE_WINDOW))

    def look(self, value: float) -> bool:
        spike = len(self.window) >= 10 and value > SPIKE_FACTOR * statistics.median(self.window)
        if math.isfinite(value):  # a step that a loss scaler skipped has no norm to compare with
            self.window.append(value)
        return spike


_OWN = Path("/proc/self")


def forget_peak() -> None:
    """Begin to measure anew: each run of a process has a peak of its own, where the system can do that."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif (_OWN / "clear_refs").exists():
        with suppress(OSError):
            (_OWN / "clear_refs").write_text("5")  # Linux: the high-water mark of resident memory, and nothing else


def peak_memory_bytes() -> int:
    """The most memory held since `forget_peak`: on the accelerator where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if (_OWN / "status").exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB", (_OWN / "status").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


class Monitor:
    """Keeps the books of a run: one call a step, three files, and a line to the person when something is off."""

    def __init__(self, folder: str | Path | None, max_grad_norm: float) -> None:
        names = ("metrics", "consumed", "heldout") if folder is not None and is_main() else ()
        self.logs = {name: JsonLog(Path(folder or ".") / f"{name}.jsonl") for name in names}
        self.max_grad_norm = max_grad_norm
        self.totals = {"tokens": 0, "supervised_tokens": 0, "clipped_steps": 0, "steps": 0}
        self.loss_spikes, self.norm_spikes = Spikes(), Spikes()
        self._started = time.perf_counter()
        self._advised = False
        self.last: dict[str, Any] = {}

    def step(self, row: dict[str, Any], rows_of_examples: list[list[int]]) -> dict[str, Any]:
        """Complete the step's row with totals, rates and alarms, and write it."""
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        clipped = bool(self.max_grad_norm and row["grad_norm"] > self.max_grad_norm)
        self.totals["steps"] += 1
        self.totals["clipped_steps"] += clipped
        self.totals["tokens"] += row["step_tokens"]
        self.totals["supervised_tokens"] += row["step_supervised_tokens"]
        row |= {
            "tokens": self.totals["tokens"],
            "supervised_tokens": self.totals["supervised_tokens"],
            "supervised_share": row["step_supervised_tokens"] / max(1, row["step_tokens"]),
            "clipped": clipped,
            "clipped_share": self.totals["clipped_steps"] / self.totals["steps"],
            "loss_spike": self.loss_spikes.look(row["loss"]),
            "grad_norm_spike": self.norm_spikes.look(row["grad_norm"]),
            "seconds": seconds,
            "tokens_per_second": row["step_tokens"] / seconds,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        self.last = row
        self._speak(row)
        if self.logs:
            self.logs["metrics"].append(row)
            self.logs["consumed"].append({"step": row["step"], "rows": rows_of_examples})
        return row

    def measured(self, step: int, what: str, metrics: dict[str, float], by_domain: dict[str, float]) -> None:
        """An evaluation: a line in the log and one to the person."""
        shown = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        say(f"step {step}: {what} {shown}")
        if self.logs:
            row = {"step": step, "what": what, "tokens_trained": self.totals["tokens"], **metrics}
            self.logs["heldout"].append(row | {"domain_loss": by_domain})
            self.logs["heldout"].close()  # it may be the last word, long after training

    def _speak(self, row: dict[str, Any]) -> None:
        for name in ("loss", "grad_norm"):
            if row[f"{name}_spike"]:
                say(f"step {row['step']}: {name} {row[name]:.3g} is over {SPIKE_FACTOR:g} times its running median")
        often = row["clipped_share"] > CLIP_ADVICE_SHARE and self.totals["steps"] >= CLIP_ADVICE_AFTER
        if often and not self._advised:
            self._advised = True
            say(
                f"step {row['step']}: {row['clipped_share']:.0%} of steps were clipped at max_grad_norm "
                f"{self.max_grad_norm:g}; a lower learning_rate, a longer warm-up or a larger batch usually serves "
                "better than constant clipping"
            )

    def brief(self) -> dict[str, float]:
        """What the host's own log lines gain from ours."""
        names = ("supervised_share", "clipped_share", "tokens_per_second", "tokens", "fill", "repeats", *OF_CRITIC)
        return {name: float(self.last[name]) for name in names if name in self.last}

    def restart_clock(self) -> None:
        """Time spent saving or evaluating belongs to no step."""
        self._started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {
            "totals": dict(self.totals),
            "loss_window": list(self.loss_spikes.window),
            "norm_window": list(self.norm_spikes.window),
            "last": self.last,
        }

    def start_over(self) -> None:
        """A run from its first step: what an earlier try left in the logs is gone."""
        self._cut_back(0)

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        self.totals = dict(state["totals"])
        self.loss_spikes.window.extend(state["loss_window"])
        self.norm_spikes.window.extend(state["norm_window"])
        self.last = dict(state["last"])
        self._cut_back(step)

    def _cut_back(self, step: int) -> None:
        for log in self.logs.values():
            log.cut_back(step)

    def close(self) -> None:
        for log in self.logs.values():
            log.close()
