"""`load_dataset`: rows of a prepared data set by its name, drawn for a stage of training without reading the others.

    stage1   right and wrong programs half and half, of any difficulty: for a value head that learns to tell them apart
    stage2   easy problems first: the parts of `difficulty_schedule` one after another, each with its shares of the bins

The rows come in the order in which they are to be trained on: shuffled, in stage 2 part by part. No row comes twice,
and a seed gives the same rows on every rank and machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from ..curriculum.config import CurriculumConfig, MixStage
from ..data.store import Selection, Store, open_store, select
from ..data.store.matching import largest_remainder
from ..data.store.selecting import Account, priorities
from ..errors import DataError, RecipeError, nearest
from ..runtime.config import Section
from ..runtime.files import atomic_file
from ..runtime.progress import counted, say

if TYPE_CHECKING:
    from datasets import Dataset

DIFFICULTY = "metadata.difficulty"
COLUMNS = ("is_correct", "problem", DIFFICULTY)
"""All that is ever gone by, so that one index serves every draw."""
_SPLITS = {"train": ("train",), "valid": ("valid", "validation"), "validation": ("valid", "validation")}
_BINS: dict[str, tuple[float, float]] = {"low": (1, 3), "medium": (4, 7), "high": (8, 11)}
_SCHEDULE = [
    MixStage(epoch_range=(0.0, 0.3), difficulty_weights={"low": 0.7, "medium": 0.3, "high": 0.0}),
    MixStage(epoch_range=(0.3, 0.7), difficulty_weights={"low": 0.3, "medium": 0.6, "high": 0.1}),
    MixStage(epoch_range=(0.7, 1.0), difficulty_weights={"low": 0.1, "medium": 0.5, "high": 0.4}),
]
STAGES: dict[str, dict[str, Any]] = {
    "stage1": {"n_samples": 50_000, "balance_correct": True},
    "stage2": {"n_samples": 200_000, "curriculum_learning": True},
}
"""What a stage sets unless the call says otherwise."""


class Sampling(Section):
    """What `load_dataset` draws, under the names of the source's `sampling:`."""

    n_samples: Annotated[int, Field(ge=1)] | None = None
    """How many rows; all that may be taken when not given."""
    balance_correct: bool = False
    """Right and wrong programs in the proportion of `correct_ratio`."""
    correct_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The share of right programs."""
    difficulty_range: tuple[float, float] | None = None
    """The easiest and the hardest that are taken; rows of unknown difficulty (0) are then left out with the others."""
    curriculum_learning: bool = False
    """Draw the parts of `difficulty_schedule` one after another."""
    difficulty_bins: dict[str, tuple[float, float]] = Field(default_factory=lambda: dict(_BINS))
    """Bin -> [easiest, hardest]. Rows in no bin are left out, and counted."""
    difficulty_schedule: list[MixStage] = Field(default_factory=lambda: list(_SCHEDULE))
    """Parts of the run, each with the shares of the bins."""
    per_problem: Annotated[int, Field(ge=1)] | None = None
    """The most rows of one problem; a few problems have thousands."""
    seed: int = 42
    """Which draw."""


@dataclass(frozen=True)
class Part:
    """A stretch of the rows: a part of the schedule, or all of them."""

    name: str
    start: int
    stop: int
    account: Account


class Rows(Sequence[dict[str, Any]]):
    """The drawn rows, read when they are asked for. A data set for a `DataLoader`, too: its workers may share it."""

    def __init__(self, store: Store, indices: npt.NDArray[np.int64], parts: Sequence[Part]) -> None:
        self.store, self.indices, self.parts = store, indices, tuple(parts)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.store.rows(self.indices)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        chosen = self.indices[index]
        if isinstance(index, slice):
            return list(self.store.rows(chosen))
        return next(self.store.rows([int(chosen)]))

    def __str__(self) -> str:
        lines = [f"{counted(len(self), 'row')} of {self.store.path}"]
        for part in self.parts:
            lines += [f"{part.name}: {line}" if part.name else line for line in str(part.account).splitlines()]
        return "\n".join(lines)

    def write(self, path: str | Path) -> Path:
        """The rows as a file of their own, in their order, for a recipe's `data.train`."""
        with atomic_file(path, "wb") as handle:
            handle.writelines(line + b"\n" for line in self.store.raw(self.indices))
        return Path(path)

    def to_hf(self) -> Dataset:
        """A `datasets.Dataset` of them, which holds them in memory."""
        from datasets import Dataset

        return Dataset.from_list(list(self))


def load_dataset(
    name: str,
    stage: str | None = None,
    *,
    split: str = "train",
    data_dir: str | Path | None = None,
    dataset_suffix: str | None = None,
    **sampling: Any,
) -> Rows:
    """Rows of the prepared data set `name`, drawn for `stage1` or `stage2`, or as `sampling` says.

    `name` is a folder, or the name of one in `data_dir`, `$CURRICLE_DATA` or `data`. `dataset_suffix="small"` takes the
    small file of the split. `sampling`: see `Sampling`; a stage's own settings are `STAGES`.
    """
    if stage is not None and stage not in STAGES:
        raise RecipeError(f"load_dataset has no stage `{stage}`; {nearest(stage, STAGES)}, or leave it out")
    chosen = _checked(STAGES.get(stage or "", {}), sampling)
    path = find_rows(name, split, data_dir, dataset_suffix)
    store = open_store(path, columns=COLUMNS)
    parts = _scheduled(store, chosen) if chosen.curriculum_learning else [_all(store, chosen)]
    done = Rows(store, np.concatenate([indices for indices, _ in parts]), _places(parts))
    for part in done.parts:
        for remark in part.account.remarks():
            say(f"{name}{', ' + part.name if part.name else ''}: {remark}")
    return done


def _checked(of_stage: dict[str, Any], given: dict[str, Any]) -> Sampling:
    for option in given:
        if option not in Sampling.model_fields:
            raise RecipeError(f"load_dataset has no option `{option}`; {nearest(option, Sampling.model_fields)}")
    if "difficulty_schedule" in given and not given.get("curriculum_learning", True):
        raise RecipeError("difficulty_schedule is for curriculum_learning, which is false; leave one out")
    drawn_by_parts = {"curriculum_learning": True} if "difficulty_schedule" in given else {}
    try:
        chosen = Sampling(**{**of_stage, **drawn_by_parts, **given})
        if chosen.curriculum_learning:  # bins that overlap, a schedule with gaps: the same rules as in a recipe
            CurriculumConfig(
                strategy="staged_mix",
                labels="data",
                difficulty_bins=chosen.difficulty_bins,
                difficulty_schedule=chosen.difficulty_schedule,
            )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"load_dataset: {place + ': ' if place else ''}{first['msg']}") from error
    return chosen


def _selection(chosen: Sampling, rows: int | None, bins: dict[str, float] | None = None) -> Selection:
    """One draw; with `bins` at these shares of the bins of difficulty."""
    shares: dict[str, Any] = {}
    if chosen.balance_correct:
        shares["is_correct"] = {"true": chosen.correct_ratio, "false": 1 - chosen.correct_ratio}
    if bins is not None:
        shares[DIFFICULTY] = {_span(chosen.difficulty_bins[name]): share for name, share in bins.items()}
    return Selection(
        rows=rows,
        where={DIFFICULTY: [_span(chosen.difficulty_range)]} if chosen.difficulty_range else {},
        shares=shares,
        cap={"problem": chosen.per_problem} if chosen.per_problem else {},
        seed=chosen.seed,
    )


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}..{ends[1]:g}"


Drawn = tuple[npt.NDArray[np.int64], tuple[str, Account]]


def _all(store: Store, chosen: Sampling) -> Drawn:
    selected = select(store, _selection(chosen, chosen.n_samples))
    return _shuffled(selected.indices, chosen.seed), ("", selected.account)


def _scheduled(store: Store, chosen: Sampling) -> list[Drawn]:
    """Each part takes its share of all rows, from those that no part before it took."""
    widths = np.array([part.epoch_range[1] - part.epoch_range[0] for part in chosen.difficulty_schedule])
    total = _possible(store, chosen)
    if chosen.n_samples is not None and chosen.n_samples > total:
        say(f"{store.path}: {chosen.n_samples:,} rows were asked for, {total:,} can be taken")
    counts = largest_remainder(min(total, chosen.n_samples or total), widths)
    taken = np.empty(0, dtype=np.int64)
    drawn: list[Drawn] = []
    for part, rows in zip(chosen.difficulty_schedule, counts.tolist(), strict=True):
        name = f"{part.epoch_range[0]:.0%} to {part.epoch_range[1]:.0%}"
        if not rows:
            raise DataError(f"{store.path}: {counted(total, 'row')} are too few for the part {name} of the schedule")
        shares = {bin_name: part.difficulty_weights.get(bin_name, 0.0) for bin_name in chosen.difficulty_bins}
        selected = select(store, _selection(chosen, rows, shares), without=taken)
        taken = np.concatenate([taken, selected.indices])
        drawn.append((_shuffled(selected.indices, chosen.seed), (name, selected.account)))
    return drawn


def _possible(store: Store, chosen: Sampling) -> int:
    """How many rows of any bin there are, under the cap: what a draw of all rows comes to."""
    every = chosen.model_copy(update={"balance_correct": False})
    equal = {name: 1 / len(chosen.difficulty_bins) for name in chosen.difficulty_bins}
    return len(select(store, _selection(every, store.num_rows, equal)))


def _shuffled(indices: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    return indices[np.argsort(priorities(seed + 1, indices), kind="stable")]


def _places(parts: Sequence[Drawn]) -> list[Part]:
    found, start = [], 0
    for indices, (name, account) in parts:
        found.append(Part(name, start, start + len(indices), account))
        start += len(indices)
    return found


# --- where a named set lies -------------------------------------------------------------------------


def find_rows(name: str, split: str = "train", data_dir: str | Path | None = None, suffix: str | None = None) -> Path:
    """The file of rows of a split: `train.jsonl`, `train_small.jsonl`; in the folder or in its `processed`."""
    roots = [Path(data_dir)] if data_dir is not None else [Path(), *_roots()]
    folders = [root / name / inner for root in roots for inner in ("", "processed")]
    if data_dir is not None:
        folders += [Path(data_dir), Path(data_dir) / "processed"]
    names = [f"{alias}{'_' + suffix if suffix else ''}.jsonl" for alias in _SPLITS.get(split, (split,))]
    for folder in folders:
        for file in names:
            if (folder / file).is_file():
                return folder / file
    places = ", ".join(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))
    looked = (
        f"looked into {places}" if places else f"none of {', '.join(str(root / name) for root in roots)} is a folder"
    )
    raise DataError(
        f"no {' or '.join(names)} of `{name}`: {looked}. Prepare it (`curricle prepare {name} SOURCE -o data/{name}`), "
        "or name its folder, or set CURRICLE_DATA to the folder that holds it"
    )


def _roots() -> list[Path]:
    asked = os.environ.get("CURRICLE_DATA")
    return [*([Path(asked)] if asked else []), Path("data")]
