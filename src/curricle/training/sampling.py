"""A curriculum in a PyTorch loader of one's own: a sampler, a data set that says how hard each row is, and a loader.

Two ranks and an epoch that admits the rows 4 0 2 1 3, in this sequence:

    rank 0     4   2   3
    rank 1       0   1

`Trainer` and recipes need none of this: they pack, count tokens and resume to the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ..curriculum.config import CurriculumConfig as RecipeSection
from ..curriculum.names import CurriculumConfig, CurriculumTrainingScheduler
from ..errors import DataError, RecipeError, RunError
from ..runtime import ranks

INFO = "difficulty_info"
Collate = Callable[[list[Any]], Any]


class CurriculumSampler(Sampler[int]):
    """Rows in the sequence of a curriculum: the same for the same (seed, epoch, losses), each admitted row once.

    `len` is the number of rows that this rank will yield in this epoch. Ranks take every N-th row of one permutation;
    where N does not divide their number the first ranks have one more, or with `drop_last` nobody has.
    """

    def __init__(
        self,
        scheduler: CurriculumTrainingScheduler,
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self.scheduler, self.drop_last = scheduler, drop_last
        self.num_replicas = ranks.world_size() if num_replicas is None else num_replicas
        self.rank = ranks.rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise RunError(f"rank is {self.rank} of num_replicas {self.num_replicas}; ranks are counted from 0")
        self._start = self._drawn = 0  # of the epoch's whole permutation, all ranks together
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; its rows follow from the losses observed until now."""
        if epoch != getattr(self, "epoch", None):
            self._start = self._drawn = 0
        self.epoch = epoch
        self._order = self.scheduler.epoch_order(epoch)

    def __iter__(self) -> Iterator[int]:
        rows = self._shard().tolist()
        self._drawn = self._start
        for row in rows:
            self._drawn += self.num_replicas
            yield row
        self._start = 0

    def __len__(self) -> int:
        return len(self._shard())

    def _shard(self) -> Any:
        left = self._order[self._start :]
        if self.drop_last:
            left = left[: len(left) // self.num_replicas * self.num_replicas]
        return left[self.rank :: self.num_replicas]

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where the epoch stands. With loader workers, which draw ahead, say how many rows this rank has trained on in
        this epoch since the sampler was made or loaded."""
        drawn = self._drawn if consumed is None else self._start + consumed * self.num_replicas
        return {"epoch": self.epoch, "drawn": drawn, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another left off, with as many ranks or with others."""
        self.scheduler.load_state_dict(state["scheduler"])
        self.set_epoch(state["epoch"])
        self._start = self._drawn = state["drawn"]


class CurriculumDataset(Dataset[Any]):
    """A data set whose rows say how hard they are: a row that is a mapping gets `difficulty_info`, any other becomes
    {"inputs": row, "difficulty_info": ...}. With {index, difficulty, percentile}, and where they are known the
    difference at each layer (`layers`) and the layers it may teach in this epoch (`teaches`)."""

    def __init__(
        self, base: Any, scheduler: CurriculumTrainingScheduler, *, num_layers: int | None = None, epoch: int = 0
    ) -> None:
        if len(base) != scheduler.num_examples:
            raise DataError(f"the data set has {len(base):,} rows and the difficulties {scheduler.num_examples:,}")
        self.base, self.scheduler, self.num_layers, self.epoch = base, scheduler, num_layers, epoch
        self._percentiles_n = scheduler.percentiles_n

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.base[index]
        return {**(row if isinstance(row, Mapping) else {"inputs": row}), INFO: self.info(index)}

    def info(self, index: int) -> dict[str, Any]:
        scheduler = self.scheduler
        info: dict[str, Any] = {
            "index": index,
            "difficulty": float(scheduler.difficulty_n[index]),
            "percentile": float(self._percentiles_n[index]),
        }
        if scheduler.layers_nl is not None:
            info["layers"] = torch.from_numpy(scheduler.layers_nl[index])
        if self.num_layers is not None:
            info["teaches"] = torch.from_numpy(scheduler.gates(self.epoch, [index], self.num_layers)[0])
        return info


def collate_with_info(collate: Collate | None = None) -> Collate:
    """Collates rows as `collate` does, and puts `difficulty_info` beside: a tensor with an entry a document for each
    fact, which the rest of the batch knows nothing of."""
    return _WithInfo(collate or default_collate)


class _WithInfo:
    """A class, because loader workers that are spawned must be sent it."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        plain = [{name: value for name, value in row.items() if name != INFO} for row in rows]
        batch = self.collate(plain)
        if not isinstance(batch, Mapping):
            raise DataError(f"collate_fn gave a {type(batch).__name__}; it must give a mapping, for `{INFO}` to join")
        return {**batch, INFO: default_collate([row[INFO] for row in rows])}


def create_curriculum_dataloader(
    base_dataset: Any,
    difficulties: Any,
    config: RecipeSection,
    epoch: int,
    current_loss: float | Sequence[float | None] | None = None,
    batch_size: int = 8,
    num_layers: int | None = None,
    *,
    num_epochs: int | None = None,
    seed: int = 0,
    collate_fn: Collate | None = None,
    **loader: Any,
) -> DataLoader[Any]:
    """A loader over what one epoch admits, in its sequence; each batch has `difficulty_info`, an entry a document.

    `current_loss` is the mean loss of the epoch before. A `CurriculumConfig` remembers what it was told in earlier
    epochs; a script that starts in the middle gives the losses of all epochs before as a list. `num_layers` adds to
    `difficulty_info` which of so many layers each document may teach. `num_epochs` is the run's length, by default the
    number of stages. `loader` are arguments of `DataLoader`.
    """
    for name in ("shuffle", "sampler", "batch_sampler"):
        if name in loader:
            raise RecipeError(f"`{name}` is what the curriculum decides; take it out")
    scheduler = CurriculumTrainingScheduler(
        config, difficulties, dataset=base_dataset, num_epochs=num_epochs, seed=seed
    )
    for loss in _losses(config, epoch, current_loss):
        scheduler.observe(loss)
    sampler = CurriculumSampler(scheduler)
    sampler.set_epoch(epoch)
    rows = CurriculumDataset(base_dataset, scheduler, num_layers=num_layers, epoch=epoch)
    return DataLoader(rows, batch_size, sampler=sampler, collate_fn=collate_with_info(collate_fn), **loader)


def _losses(
    config: RecipeSection, epoch: int, current_loss: float | Sequence[float | None] | None
) -> Sequence[float | None]:
    """Those of the epochs before, the same on every rank: each has seen other rows, and all must admit the same."""
    if isinstance(current_loss, Sequence):
        told: Sequence[float | None] = ranks.shared(list(current_loss))
        return told
    known = [float(loss) for loss in ranks.gathered(current_loss) if loss is not None]
    mean = sum(known) / len(known) if known else None
    return config.remember(epoch, mean) if isinstance(config, CurriculumConfig) else [mean]
