"""Work over many samples in parts on disk: a killed run goes on with the parts that are missing, ranks share them, and
memory does not grow with the number of samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..runtime.files import atomic_file
from ..runtime.progress import bar
from ..runtime.ranks import barrier, is_main, rank, shared, world_size

Arrays = dict[str, npt.NDArray[Any]]
PART = 256
"""Samples of one part."""


def _save(handle: IO[bytes], arrays: Any) -> None:
    np.savez(handle, **arrays)


class Parts:
    """The parts of one piece of work, a file each."""

    def __init__(self, folder: Path, name: str, num: int, size: int = PART) -> None:
        self.folder, self.name, self.num, self.size = folder, name, num, size

    def __len__(self) -> int:
        return -(-self.num // self.size)

    def rows(self, part: int) -> range:
        return range(part * self.size, min(self.num, (part + 1) * self.size))

    @property
    def missing(self) -> list[int]:
        return [part for part in range(len(self)) if not self._path(part).exists()]

    def fill(self, make: Callable[[range], Arrays], label: str, *, together: bool = False) -> None:
        """Make what is missing: each rank its share, or, `together`, all ranks each part and the first writes it.

        `make` gets the numbers of a part's samples.
        """
        missing = shared(self.missing)
        own = missing if together else missing[rank() :: world_size()]
        with bar(label, total=self.num) as move:
            done = self.num - sum(len(self.rows(part)) for part in own)
            for part in own:
                if move is not None:
                    move(completed=done)
                started = time.perf_counter()
                arrays = make(self.rows(part))
                seconds = np.array(time.perf_counter() - started)
                if is_main() or not together:
                    with atomic_file(self._path(part), "wb") as handle:
                        _save(handle, arrays | {"seconds": seconds})
                done += len(self.rows(part))
        barrier()

    def load(self, part: int) -> Arrays:
        with np.load(self._path(part), allow_pickle=False) as held:
            return {name: held[name] for name in held.files if name != "seconds"}

    def column(self, name: str) -> npt.NDArray[Any]:
        """One array of all parts, end to end."""
        return np.concatenate([self.load(part)[name] for part in range(len(self))])

    @property
    def seconds(self) -> float:
        """What making all parts took, by whichever run and rank."""
        return sum(self._seconds())

    def _seconds(self) -> Iterator[float]:
        for part in range(len(self)):
            with np.load(self._path(part), allow_pickle=False) as held:
                yield float(held["seconds"])

    def _path(self, part: int) -> Path:
        return self.folder / f"{self.name}-{part:06d}.npz"
