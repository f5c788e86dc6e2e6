"""A curriculum in a loader of one's own: shards, resuming, and what each batch says of its documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from curricle import (
    CurriculumConfig,
    CurriculumDataset,
    CurriculumSampler,
    CurriculumTrainingScheduler,
    create_curriculum_dataloader,
)
from curricle.errors import DataError, RecipeError, RunError
from curricle.training.sampling import INFO

NUM = 23
HARD = np.random.default_rng(3).random(NUM)
CONFIG = CurriculumConfig(strategy="layer_wise_progressive")


def sampler(rank: int = 0, ranks: int = 1, **keys: Any) -> CurriculumSampler:
    plan = CurriculumTrainingScheduler(CONFIG, HARD, seed=5)
    return CurriculumSampler(plan, num_replicas=ranks, rank=rank, **keys)


@pytest.mark.parametrize("epoch", [0, 1, 2, 5])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_share_one_permutation_between_them(ranks: int, epoch: int) -> None:
    whole, shards = sampler(), [sampler(rank, ranks) for rank in range(ranks)]
    for one in (whole, *shards):
        one.set_epoch(epoch)
    order = list(whole)
    assert len(order) == len(whole) == len(set(order)) == [8, 16, NUM, NUM][min(epoch, 3)]
    found = [list(shard) for shard in shards]
    assert found == [order[rank::ranks] for rank in range(ranks)]
    assert [len(shard) for shard in shards] == [len(rows) for rows in found]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    one, other = sampler(), sampler()
    one.set_epoch(2)
    other.set_epoch(2)
    first = list(one)
    assert first == list(other)
    one.set_epoch(3)
    assert list(one) != first
    assert sorted(one) == sorted(first)


def test_drop_last_gives_every_rank_as_many() -> None:
    shards = [sampler(rank, 3, drop_last=True) for rank in range(3)]
    for shard in shards:
        shard.set_epoch(2)
    assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards] == [7, 7, 7]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_epoch_yields_what_is_left_on_any_number_of_ranks(ranks: int) -> None:
    whole = sampler()
    whole.set_epoch(1)
    order = list(whole)
    begun = sampler()
    begun.set_epoch(1)
    rows = iter(begun)
    assert [next(rows) for _ in range(6)] == order[:6]
    state = begun.state_dict()
    for rank in range(ranks):
        resumed = sampler(rank, ranks)
        resumed.load_state_dict(state)
        resumed.set_epoch(1)
        left = order[6:][rank::ranks]
        assert len(resumed) == len(left)
        assert list(resumed) == left
        resumed.set_epoch(2)
        assert len(list(resumed)) == len(range(rank, NUM, ranks))
    assert begun.state_dict(consumed=4)["drawn"] == 4


def test_workers_that_draw_ahead_do_not_spoil_a_resume() -> None:
    whole = sampler()
    whole.set_epoch(1)
    ahead = sampler()
    ahead.set_epoch(1)
    order, _ = list(whole), list(ahead)
    resumed = sampler()
    resumed.load_state_dict(ahead.state_dict(consumed=5))
    assert list(resumed) == order[5:]


def test_a_batch_says_how_hard_each_document_is() -> None:
    base = [{"x": torch.full((3,), float(i)), "name": str(i)} for i in range(NUM)]
    known = [{"mean": float(hard), "layers": [0.0, float(hard)]} for hard in HARD]
    loader = create_curriculum_dataloader(base, known, CONFIG, epoch=0, current_loss=None, batch_size=4, num_layers=6)
    seen = []
    for batch in loader:
        info = batch[INFO]
        rows = info["index"].tolist()
        assert batch["x"].shape == (len(rows), 3)
        assert batch["x"][:, 0].tolist() == rows
        assert batch["name"] == [str(row) for row in rows]
        assert np.allclose(info["difficulty"], HARD[rows])
        assert np.allclose(info["layers"][:, 1], HARD[rows])
        assert info["teaches"].tolist() == [[True, True, False, False, False, False]] * len(rows)
        seen += rows
    assert sorted(seen) == sorted(np.argsort(HARD)[:8].tolist())


def test_a_collator_of_ones_own_sees_its_rows_only() -> None:
    def collate(rows: list[Any]) -> dict[str, Any]:
        assert all(row.keys() == {"inputs"} for row in rows)
        return {"inputs": torch.nn.utils.rnn.pad_sequence([row["inputs"] for row in rows], batch_first=True)}

    base = [torch.ones(1 + i % 5) for i in range(NUM)]
    loader = create_curriculum_dataloader(base, HARD, CONFIG, 2, batch_size=5, collate_fn=collate, num_workers=0)
    batches = list(loader)
    assert [len(batch[INFO]["index"]) for batch in batches] == [5, 5, 5, 5, 3]
    assert all(len(batch["inputs"]) == len(batch[INFO]["percentile"]) for batch in batches)


def test_a_config_remembers_the_losses_of_earlier_epochs() -> None:
    def sizes(losses: list[float | None], config: CurriculumConfig) -> list[int]:
        loaders = (
            create_curriculum_dataloader(range(NUM), HARD, config, epoch, loss) for epoch, loss in enumerate(losses)
        )
        return [len(loader.sampler) for loader in loaders]  # type: ignore[arg-type]

    config = CurriculumConfig(strategy="dynamic_pacing", difficulty_step_up=0.2)
    losses = [None, 1.9, 1.8, 3.0, 1.7, 1.6]
    found = sizes(losses, config)
    assert found == [5, 10, 14, 14, 19, NUM]
    assert sizes(losses, config) == found
    alone = CurriculumConfig(strategy="dynamic_pacing", difficulty_step_up=0.2)
    resumed = create_curriculum_dataloader(range(NUM), HARD, alone, 4, losses[:5])
    assert len(resumed.sampler) == found[4]  # type: ignore[arg-type]


def test_mistakes_are_named() -> None:
    with pytest.raises(RecipeError, match="`shuffle` is what the curriculum decides"):
        create_curriculum_dataloader(range(NUM), HARD, CONFIG, 0, shuffle=True)
    with pytest.raises(DataError, match="23 labels and the data set 4 rows"):
        create_curriculum_dataloader(range(4), HARD, CONFIG, 0)
    with pytest.raises(RunError, match="rank is 2 of num_replicas 2"):
        sampler(2, 2)
    with pytest.raises(DataError, match="4 rows and the difficulties 23"):
        CurriculumDataset(range(4), CurriculumTrainingScheduler(CONFIG, HARD))
