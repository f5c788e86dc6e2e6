"""Looks at what a recipe would train on, before it trains: label masks, packed rows, the order of examples, the data.

Nothing here has an idea of its own how training goes: rows come from the tables, the packer and the stream of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .resolve import AnyRecipe, Arm, Experiment, resolve
from .results import render

if TYPE_CHECKING:
    from ..data.inspection import DataReport
    from ..training.batches import StepPlan


@dataclass(frozen=True)
class TakenRow:
    """One row of the run."""

    step: int
    """Counted from 1, as in the run's log."""
    examples: list[str]
    """Their ids, in the sequence they lie in the row."""
    times: list[int]
    """Whether each of them comes for the first, second, ... time."""
    num_tokens: int
    fill: float
    """The share of the row that holds an example's token."""


@dataclass(frozen=True)
class Packing:
    """How examples share the first rows, and what one pass over the data comes to; prints itself."""

    rows: list[TakenRow]
    num_examples: int
    one_pass: StepPlan

    def __str__(self) -> str:
        lines = [
            {
                "row": number,
                "step": row.step,
                "documents": len(row.examples),
                "tokens": row.num_tokens,
                "fill": row.fill,
            }
            for number, row in enumerate(self.rows, start=1)
        ]
        plan = self.one_pass
        return (
            f"{render(lines)}\n\n"
            f"one pass: {self.num_examples:,} examples in {plan.rows:,} rows and {plan.steps:,} steps, "
            f"{plan.documents_per_row:.2f} documents a row, fill {plan.fill:.3f}, waste {plan.waste:.3f}"
        )


@dataclass(frozen=True)
class Consumption:
    """Which examples the first rows take; prints itself."""

    rows: list[TakenRow]
    num_examples: int

    @property
    def num_repeats(self) -> int:
        """How many of the examples shown had come before."""
        return sum(times > 1 for row in self.rows for times in row.times)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for number, row in enumerate(self.rows, start=1):
            came = (f"{name} (time {n})" if n > 1 else name for name, n in zip(row.examples, row.times, strict=True))
            yield f"row {number}, step {row.step}: {', '.join(came)}"
        taken = sum(len(row.examples) for row in self.rows)
        yield f"\n{taken:,} examples, {self.num_repeats:,} of them repeats; one pass has {self.num_examples:,}"


def masks(recipe: AnyRecipe, rows: int = 3, overrides: Sequence[str] = (), arm: str | None = None) -> str:
    """The first examples as text, what is learned in green and in brackets; colours are terminal escapes."""
    from ..data.inspect_masks import render_masks
    from .material import gather

    material = gather(_arm(recipe, overrides, arm).settings)
    return render_masks(material.train, material.tokenizer, rows)


def packing(recipe: AnyRecipe, rows: int = 10, overrides: Sequence[str] = (), arm: str | None = None) -> Packing:
    """How the first rows of a run are packed."""
    taken, num_examples, one_pass = _first_rows(_chosen(recipe, overrides, arm), rows)
    return Packing(taken, num_examples, one_pass)


def order(recipe: AnyRecipe, rows: int = 10, overrides: Sequence[str] = (), arm: str | None = None) -> Consumption:
    """Which examples the first rows of a run take. An order that follows losses is shown as if it had seen none."""
    taken, num_examples, _ = _first_rows(_chosen(recipe, overrides, arm), rows)
    return Consumption(taken, num_examples)


def data(recipe: AnyRecipe, overrides: Sequence[str] = (), arm: str | None = None) -> DataReport:
    """What is in the training and held-out files; no tokenizer is needed."""
    from ..data.inspection import inspect_data
    from ..data.sources import read_examples

    config = _arm(recipe, overrides, arm).settings.data
    return inspect_data(read_examples(config, "train"), read_examples(config, "eval") if config.eval else None)


def _arm(recipe: AnyRecipe, overrides: Sequence[str], arm: str | None) -> Arm:
    return _first_arm(_chosen(recipe, overrides, arm))


def _chosen(recipe: AnyRecipe, overrides: Sequence[str], arm: str | None) -> Experiment:
    return resolve(recipe, overrides).select([arm] if arm else None)


def _first_arm(experiment: Experiment) -> Arm:
    """The arm that was named, or the first one."""
    return next(iter(experiment.arms.values()))


def _first_rows(experiment: Experiment, num_rows: int) -> tuple[list[TakenRow], int, StepPlan]:
    from ..training.batches import OrderedBatches, plan_steps
    from .labels.making import found, request
    from .material import gather, layout_of, rows_of, run_length
    from .ordering import make_order

    arm, seed = _first_arm(experiment), experiment.seeds[0]
    material = found(gather(arm.settings), request(arm.settings, experiment.folder))
    table, rows = material.train, rows_of(material)
    layout = replace(layout_of(material, seed), max_steps=run_length(material, seed).max_steps)
    batches = OrderedBatches(table, make_order(material, layout.max_steps, seed), rows, layout)
    seen: Counter[int] = Counter()
    taken: list[TakenRow] = []
    step = 0
    while len(taken) < num_rows:
        step += 1
        for _ in range(layout.gradient_accumulation_steps):
            batches.next_batch()
        for row in batches.rows_of_step(step):
            seen.update(row)
            num_tokens = int(table.lengths[row].sum())
            fill = num_tokens / rows.num_slots(table.lengths[row].sum(keepdims=True), 1)
            taken.append(TakenRow(step, table.ids[row], [seen[example] for example in row], num_tokens, fill))
    return taken[:num_rows], len(table), plan_steps(table, rows, layout, 1.0)
