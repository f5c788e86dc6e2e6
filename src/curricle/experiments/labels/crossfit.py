"""Rows in parts, and a training for each part on the other parts: every row is read by a model that never saw it.

    example        a     b     c-0   c-1   d       c is a text in two windows
    part           0     1     0     0     1       by the row's id alone
    training 0           *                 *       learns b and d; then a and c are read
    training 1     *           *     *             learns a and c; then b and d are read

Each training has a folder of its own, in which it goes on after a kill. Once its part is read, the losses and the books
stay, and the model goes.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...curriculum.labels import ID_DIGITS
from ...errors import DataError, RecipeError
from ...runtime.devices import computing
from ...runtime.files import atomic_file, read_json, write_json
from ...runtime.progress import counted, say, track
from ...runtime.quiet import calm_libraries
from ...runtime.ranks import barrier, is_main, shared
from ..comparison.compute import train_flops
from ..material import Material, half_of, rows_of
from ..resolve import Arm

LEAST = 16
"""Rows that a training learns from, at least."""

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RowLosses:
    """The held-out loss of each row, in the order of the data, and what it took."""

    ids: npt.NDArray[np.bytes_]
    loss_n: Sums
    """Mean over the row's supervised tokens, then over seeds; NaN where no token is supervised."""
    tokens_n: npt.NDArray[np.int64]
    flops: float
    seconds: float


def part_of(row_id: bytes, folds: int) -> int:
    """The part of a row: it depends on nothing but the row's own id, a hash, so the parts are about equally large."""
    return int(row_id[:ID_DIGITS], 16) % folds


@dataclass(frozen=True)
class Crossfit:
    """One arm's settings, trained once for each part and seed."""

    material: Material
    folds: int
    seeds: tuple[int, ...]

    @cached_property
    def _rows(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int64]]:
        """The rows in the order of the data, and for each example of the table the place of its row."""
        of_example = self.material.train.ids.raw.astype(f"S{ID_DIGITS}")
        ids, first, place = np.unique(of_example, return_index=True, return_inverse=True)
        by_order = np.argsort(first)
        order = np.empty_like(by_order)
        order[by_order] = np.arange(len(ids))
        return ids[by_order], order[place]

    @cached_property
    def parts(self) -> npt.NDArray[np.int64]:
        """The part of each example of the table."""
        ids, row_n = self._rows
        return np.array([part_of(row_id, self.folds) for row_id in ids], dtype=np.int64)[row_n]

    @cached_property
    def _once(self) -> npt.NDArray[np.bool_]:
        """False for an example that the table has had before: a row that is there twice is read once."""
        once_n = np.zeros(len(self.material.train), dtype=bool)
        once_n[np.unique(self.material.train.ids.raw, return_index=True)[1]] = True
        return once_n

    def read_by(self, fold: int) -> npt.NDArray[np.bool_]:
        """The examples that are read, and not learned, by the model of a part."""
        read_n: npt.NDArray[np.bool_] = (self.parts == fold) & self._once
        return read_n

    def refuse_small(self, key: str = "--folds") -> None:
        """A part without a row, or with too little outside it; `key` is where the number of folds was written."""
        ids, row_n = self._rows
        part_of_row = np.empty(len(ids), dtype=np.int64)
        part_of_row[row_n] = self.parts
        sizes = np.bincount(part_of_row, minlength=self.folds)
        fewest = len(ids) - int(sizes.max())
        if fewest < LEAST:
            raise DataError(
                f"`data.train` has {counted(len(ids), 'row')}: with {key} {self.folds} a model would learn from "
                f"{fewest} of them, and {LEAST} are the least; give more rows"
            )
        if not sizes.min():
            raise DataError(
                f"`data.train` has {counted(len(ids), 'row')}: of {key} {self.folds} at least one would be empty; "
                "take fewer"
            )
        learned = [self.material.train.num_supervised[self.parts != fold].any() for fold in range(self.folds)]
        if not all(learned):
            raise DataError(
                f"nothing to learn outside part {learned.index(False) + 1} of {self.folds}: no row there has a "
                "supervised token; look at the masks with `curricle inspect masks`"
            )

    def run(self, folder: Path) -> RowLosses:
        """All trainings that are not done, then the losses of all rows."""
        table, (ids, row_n) = self.material.train, self._rows
        jobs = [(fold, seed) for fold in range(self.folds) for seed in self.seeds]
        sums, flops, seconds = np.zeros(len(table)), 0.0, 0.0
        for fold, seed in track(jobs, "parts and seeds", total=len(jobs)):
            own = folder / f"fold-{fold}" / f"seed-{seed}"
            sums[self.read_by(fold)] += self._losses(fold, seed, own)
            books = read_json(own / "results.json")
            flops += train_flops(books) or 0.0
            seconds += books["seconds"] + books["reading_seconds"]
        barrier()  # every rank has what it needs of the folder
        tokens_n = np.bincount(row_n, table.num_supervised * self._once, minlength=len(ids)).astype(np.int64)
        sums_n = np.bincount(row_n, sums, minlength=len(ids)) / len(self.seeds)
        loss_n = np.where(tokens_n > 0, sums_n / np.maximum(tokens_n, 1), np.nan)
        return RowLosses(ids, loss_n, tokens_n, flops, seconds)

    def _losses(self, fold: int, seed: int, folder: Path) -> Sums:
        """The sum over the tokens of each example of a part."""
        kept = folder / "losses.npy"
        if not shared(kept.exists()):
            self._train(fold, seed, folder)
            self._read(fold, seed, folder, kept)
        sums: Sums = np.load(kept, allow_pickle=False)
        return sums

    def _train(self, fold: int, seed: int, folder: Path) -> None:
        """The model of a part into `model/`, unless it is there already."""
        from ..one import train_run

        if shared((folder / "results.json").exists()):
            return
        material = replace(self.material, train=self.material.train.select(self.parts != fold))
        learned = counted(len(material.train), "example")
        say(f"part {fold + 1} of {self.folds}, seed {seed}: training on {learned} of the other parts")
        arm = Arm("probe", material.settings, {}, "")
        books = train_run(arm, material, seed, folder)
        if is_main():
            write_json(folder / "results.json", books)
        barrier()

    @calm_libraries()
    def _read(self, fold: int, seed: int, folder: Path, kept: Path) -> None:
        """Read the part, and keep nothing but its losses: models of many parts would fill a disk."""
        from ...models.likelihood import token_losses_of
        from ..assemble import load_saved

        started = time.perf_counter()
        material = self.material
        batch_size = material.settings.training["per_device_eval_batch_size"]
        model: Any = load_saved(material, seed, folder)
        with computing(next(model.parameters()).device, half_of(material.settings)):
            part = material.train.select(self.read_by(fold))
            losses = token_losses_of(model, part, rows_of(material), batch_size=batch_size)
        if is_main():
            books = read_json(folder / "results.json")
            write_json(folder / "results.json", books | {"reading_seconds": time.perf_counter() - started})
            with atomic_file(kept, "wb") as handle:
                np.save(handle, losses.sums(), allow_pickle=False)
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
        barrier()


def check_folds(folds: int) -> None:
    if folds < 2:
        raise RecipeError(f"--folds {folds}: a row is read by a model that learned from other parts; give 2 or more")
