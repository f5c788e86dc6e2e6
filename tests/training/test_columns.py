"""What rows bring reaches the weightings in training: each learned token its own numbers, and none by chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import support
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import RecipeError
from curricle.losses.flat import FlatTokens, Metrics, flatten, keep_mask
from curricle.training.columns import RowColumns, refuse_one_sided
from curricle.training.rows import identity, tokens_identity
from curricle.weighting import Weighting, WeightingConfig, build_weighting

pytestmark = pytest.mark.usefixtures("libraries")


def bringing(num: int = 24) -> TokenTable:
    """Rewards by turns; the weight of a token is its place in the whole table."""
    table = support.table(num)
    places = np.arange(len(table.tokens), dtype=np.float32)
    rewards = (np.arange(num) % 2).astype(np.float32)
    return replace(table, rewards=rewards, token_weights=places, truncated=np.arange(num) % 3 == 0)


@pytest.mark.parametrize("packing", ["ordered", "none"])
def test_each_token_gets_its_own(packing: Any) -> None:
    table = bringing()
    batch = Rows(max_length=64, packing=packing).collate(table, [[5, 2], [9]])
    tokens = flatten(batch["labels"], keep_mask(batch["labels"]), batch)
    columns = RowColumns(table, np.arange(len(table.tokens), dtype=np.float32) / 2)
    joined = columns.join(tokens, batch["example_ids"])
    assert joined.given_n is not None
    assert joined.reference_n is not None
    assert joined.example_n is not None
    assert joined.reward_n is not None
    assert joined.truncated_n is not None
    assert table.tokens[joined.given_n.long().numpy()].tolist() == tokens.target_n.tolist()
    assert torch.equal(joined.reference_n * 2, joined.given_n)
    assert list(dict.fromkeys(joined.example_n.tolist())) == [5, 2, 9]
    assert torch.equal(joined.reward_n, joined.example_n % 2)
    assert torch.equal(joined.truncated_n, joined.example_n % 3 == 0)


def test_a_batch_of_other_examples_is_noticed() -> None:
    table = bringing()
    batch = Rows(max_length=64).collate(table, [[5, 2]])
    tokens = flatten(batch["labels"], keep_mask(batch["labels"]), batch)
    with pytest.raises(ValueError, match="learned tokens"):
        RowColumns(table).join(tokens, [5])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("td_error", "td_error needs the values of a critic"),
        ("column", "column needs the weights that rows bring.*data.weight_field"),
        ("correct_only", "correct_only needs the reward of each row.*data.reward_field"),
        ("reference_excess", "reference_excess needs the losses of a reference model"),
    ],
)
def test_what_a_weighting_lacks_is_said_before_training(kind: Any, said: str) -> None:
    weighting = build_weighting(WeightingConfig(kind=kind, reference="some/model"))
    with pytest.raises(RecipeError, match=said):
        RowColumns(support.table(4)).check(weighting)


def test_weights_that_are_all_zero_are_refused() -> None:
    table = support.table(4)
    weighting = build_weighting(WeightingConfig(kind="column"))
    zeros = np.zeros(len(table.tokens), np.float32)
    with pytest.raises(RecipeError, match=r"those of all 4 rows are 0.*data\.weight_field"):
        RowColumns(replace(table, token_weights=zeros)).check(weighting)
    zeros[np.flatnonzero(table.supervised)[-1]] = 0.5
    RowColumns(replace(table, token_weights=zeros)).check(weighting)


@pytest.mark.parametrize(
    ("rewards", "said"), [([1, 1], "all 2 rewards are 1"), ([np.nan, 0], "all 1 rewards are 0"), (None, "no row has")]
)
def test_rewards_of_one_kind_are_refused(rewards: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        refuse_one_sided(None if rewards is None else np.array(rewards, np.float32), "a critic")


class Recording(Weighting):
    """Weights of 1, and a look at what it was given."""

    known_beforehand = True
    needs = frozenset({"given_n", "reward_n"})

    def __init__(self) -> None:
        self.seen: list[FlatTokens] = []
        self.steps: list[int] = []

    def __call__(self, tokens: FlatTokens) -> tuple[torch.Tensor | None, Metrics]:
        self.seen.append(tokens)
        self.steps.append(self.step)
        return tokens.target_n.new_ones(len(tokens), dtype=torch.float32), {}


def trained(folder: Path, weighting: Weighting | None, table: TokenTable | None = None, **changes: Any) -> Any:
    from curricle.training.hf import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(
        model=support.model(),
        args=support.arguments(folder, gradient_accumulation_steps=2, **changes),
        train_dataset=bringing() if table is None else table,
        rows=Rows(max_length=48),
        weighting=weighting,
    )
    trainer.train()
    return trainer


def test_weights_of_one_train_bit_for_bit_like_none(tmp_path: Path) -> None:
    recording = Recording()
    plain, weighted = trained(tmp_path / "a", None), trained(tmp_path / "b", recording)
    for own, other in zip(plain.model.parameters(), weighted.model.parameters(), strict=True):
        assert torch.equal(own, other)
    assert recording.steps[-8:] == [0, 0, 1, 1, 2, 2, 3, 3]
    for tokens in recording.seen:
        assert tokens.given_n is not None
        assert bringing().tokens[tokens.given_n.long().numpy()].tolist() == tokens.target_n.tolist()


def test_weights_of_correct_and_incorrect_rows_are_logged(tmp_path: Path) -> None:
    uniform = trained(tmp_path / "a", None, max_steps=1).monitor.last
    assert (uniform["weight_correct"], uniform["weight_incorrect"]) == (1.0, 1.0)
    gated = trained(tmp_path / "b", build_weighting(WeightingConfig(kind="correct_only")), max_steps=1).monitor.last
    assert (gated["weight_correct"], gated["weight_incorrect"]) == (1.0, 0.0)
    assert gated["loss"] == uniform["loss"], "the logged loss is not weighted"


def test_rows_of_weight_zero_are_as_good_as_absent(tmp_path: Path) -> None:
    """Columns of 0 and 1 train like the same rows with fewer labels, at the same count of tokens."""
    table = support.table(24)
    kept = np.repeat(np.arange(24) % 2 == 0, table.lengths)
    trainer = trained(
        tmp_path,
        build_weighting(WeightingConfig(kind="column")),
        replace(table, token_weights=kept.astype(np.float32)),
        max_steps=1,
        max_grad_norm=0.0,
        learning_rate=1e-2,
    )
    other = support.model()
    taken = trainer.batches.rows_of_step(1)
    total, count = torch.zeros(()), 0
    for row in taken:
        for i in row:
            tokens, learned = (torch.from_numpy(np.array(part)) for part in table.example(i))
            losses = torch.nn.functional.cross_entropy(
                other(tokens.long()[None]).logits[0, :-1], tokens.long()[1:], reduction="none"
            )
            total = total + (losses * learned[1:]).sum() * float(i % 2 == 0)
            count += int(learned[1:].sum())
    (total / count).backward()
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.0)
    optimizer.step()
    for own, wanted in zip(trainer.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"kind": "random_tokens"}, {"kind": "own_probability", "control": "random_matched"}], ids=str
)
def test_a_resumed_run_draws_what_the_unbroken_one_drew(tmp_path: Path, settings: dict[str, Any]) -> None:
    from curricle.training.hf import Trainer

    torch.set_num_threads(1)

    def trainer(folder: Path) -> Any:
        return Trainer(
            model=support.model(),
            args=support.arguments(folder, save_strategy="steps", save_steps=2),
            train_dataset=bringing(),
            rows=Rows(max_length=48),
            weighting=build_weighting(WeightingConfig.model_validate(settings), seed=1),
        )

    whole = trainer(tmp_path)
    whole.train()
    rest = trainer(tmp_path)
    rest.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for own, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(own, other)


def test_a_run_does_not_go_on_with_other_rewards_or_weights() -> None:
    table = bringing()
    assert table.rewards is not None
    assert table.token_weights is not None
    others = [replace(table, rewards=1 - table.rewards), replace(table, token_weights=2 * table.token_weights)]
    assert len({identity(one) for one in (table, *others, support.table(24))}) == 4
    assert {tokens_identity(one) for one in others} == {tokens_identity(support.table(24))}
    losses = np.ones(len(table.tokens), dtype=np.float32)
    assert len({identity(table), identity(table, losses), identity(table, 2 * losses)}) == 3
