"""A critic in training: its loss beside the tokens', what it may move, its books, and exact resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.models.likelihood import state_values_of
from curricle.models.value_head import ValueTap, add_value_head, value_head_of
from curricle.runtime.logs import JsonLog
from curricle.training.critic import check_rewards
from curricle.training.critic_config import CriticConfig
from curricle.training.hf import Trainer
from curricle.weighting.td_error import TDError
from support import VOCAB, arguments, lora, model, mtp

ROWS = Rows(max_length=64, lookahead=8)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def table(num: int = 24, seed: int = 0, rewards: Any = None) -> TokenTable:
    """Good documents answer in other tokens than bad ones: a value can be read off the state."""
    rng = np.random.default_rng(seed)
    ids, labels = [], []
    given = [i % 2 for i in range(num)] if rewards is None else rewards
    for reward in given:
        prompt = rng.integers(4, VOCAB, rng.integers(2, 5)).tolist()
        low = 4 if reward else VOCAB // 2
        answer = rng.integers(low, low + 6, rng.integers(3, 9)).tolist()
        ids.append(prompt + answer)
        labels.append([-100] * len(prompt) + answer)
    return TokenTable.from_lists(ids, labels, rewards=given)


def net(kind: Any = "linear", learned: bool = False, **shape: Any) -> Any:
    made = model(**shape)
    head = add_value_head(made, kind)
    if learned:
        with torch.no_grad():
            head.readout.copy_(0.2 * torch.randn(head.readout.shape, generator=torch.Generator().manual_seed(5)))
    return made


def trainer(folder: Path, made: Any, dials: Any = None, rows: Rows = ROWS, **critic: Any) -> Any:
    dials = dict(dials or {})
    given = {name: dials.pop(name) for name in ("weighting", "eval_dataset") if name in dials}
    data = dials.pop("data", None) or table()
    return Trainer(
        made, arguments(folder, **dials), train_dataset=data, rows=rows, critic=CriticConfig(**critic), **given
    )


def copies(made: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


def told(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in names) for row in JsonLog(folder / "metrics.jsonl").rows()]


def batch_of(data: TokenTable) -> tuple[dict[str, Any], list[int]]:
    batch = ROWS.collate(data, [[0, 1, 2], [3]])
    return batch, batch.pop("example_ids")


def plain_losses(made: Any, data: TokenTable, examples: list[int], distance: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over tokens and over states, document by document, without packing, hooks or chunks."""
    token_sum, value_sum = torch.zeros(()), torch.zeros(())
    for i in examples:
        tokens, supervised = (torch.from_numpy(np.array(part)).long() for part in data.example(i))
        outputs = made(tokens[None], output_hidden_states=True)
        score_t = made.value_head(outputs.hidden_states[-1])[0][0]
        assert data.rewards is not None
        reward = torch.tensor(float(data.rewards[i]))
        for t in range(1, len(tokens)):
            if supervised[t]:
                token_sum = token_sum + F.cross_entropy(outputs.logits[0, t - 1], tokens[t])
                value_sum = value_sum + distance(score_t[t - 1], reward)
    return token_sum, value_sum


DISTANCES = {
    ("linear", "mse"): lambda score, reward: 0.5 * (score - reward) ** 2,
    ("linear", "huber"): lambda score, reward: F.huber_loss(score, reward, delta=0.5),
    ("bounded", "bce"): lambda score, reward: F.binary_cross_entropy_with_logits(score, reward),
    ("bounded", "mse"): lambda score, reward: 0.5 * (score.sigmoid() - reward) ** 2,
}


@pytest.mark.parametrize(("kind", "loss"), list(DISTANCES))
@pytest.mark.parametrize("stage", ["joint", "pretrain"])
def test_the_loss_and_its_gradients_are_their_definition(tmp_path: Path, kind: Any, loss: Any, stage: Any) -> None:
    ours, plain = net(kind, learned=True), net(kind, learned=True, attn="eager")
    critic = {"kind": kind, "loss": loss, "stage": stage, "coef": 0.7, "value_clip": 0, "freeze_trunk": False}
    host, data = trainer(tmp_path, ours, **critic), table()
    batch, examples = batch_of(data)
    host.losses_of(ours.eval(), batch, examples).loss_sum.backward()
    token_sum, value_sum = plain_losses(plain.eval(), data, examples, DISTANCES[kind, loss])
    (value_sum if stage == "pretrain" else token_sum + 0.7 * value_sum).backward()
    expected = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        other = expected[name].grad
        if stage == "pretrain" and name == "lm_head.weight":
            continue
        assert (parameter.grad is None) == (other is None), name
        if other is not None:
            torch.testing.assert_close(parameter.grad, other, atol=1e-4, rtol=1e-4)


def test_a_frozen_trunk_learns_from_the_tokens_alone(tmp_path: Path) -> None:
    ours, plain = net(learned=True), net(learned=True)
    data = table()
    batch, examples = batch_of(data)
    trainer(tmp_path / "a", ours, freeze_trunk=True).losses_of(ours.eval(), batch, examples).loss_sum.backward()
    without = Trainer(plain, arguments(tmp_path / "b"), train_dataset=data, rows=ROWS)
    without.losses_of(plain.eval(), batch, examples).loss_sum.backward()
    expected = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        if not name.startswith("value_head"):
            assert torch.equal(parameter.grad, expected[name].grad), name
    assert ours.value_head.readout.grad.abs().sum() > 0


def test_pretraining_moves_the_head_alone_and_learns_to_tell_good_from_bad(tmp_path: Path) -> None:
    made, data = net("bounded"), table(40)
    before = copies(made)
    held_out = table(20, seed=9)
    host = trainer(
        tmp_path,
        made,
        {"data": data, "eval_dataset": held_out, "max_steps": 40, "learning_rate": 0.1, "weight_decay": 0.1},
        stage="pretrain",
        kind="bounded",
    )
    start = host.evaluate()
    host.train()
    after = copies(host.model)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        name for name in before if name.startswith("value_head")
    ]
    end = host.evaluate()
    assert start["eval_value_auc"] == 0.5  # one value everywhere
    assert start["eval_explained_variance"] == 0.0
    assert end["eval_value_auc"] > 0.9
    assert end["eval_explained_variance"] > 0.3
    assert end["eval_value_correct"] > 0.6 > 0.4 > end["eval_value_incorrect"]
    assert end["eval_value_brier"] < start["eval_value_brier"] == 0.25
    assert end["eval_trunk_drift"] < 1e-12
    assert end["eval_loss"] == start["eval_loss"]
    first, last = (told(tmp_path, "value_loss")[i][0] for i in (0, -1))
    assert first == pytest.approx(math.log(2))
    assert last < 0.5 * first


def test_pretraining_that_may_move_the_trunk_leaves_the_output_head(tmp_path: Path) -> None:
    made = net(learned=True, tie_word_embeddings=False)
    before = copies(made)
    dials = {"weight_decay": 0.1, "eval_dataset": table(8, seed=9)}
    host = trainer(tmp_path, made, dials, stage="pretrain", freeze_trunk=False)
    host.train()
    after = copies(host.model)
    assert [name for name in before if torch.equal(before[name], after[name])] == ["lm_head.weight"]
    assert host.evaluate()["eval_trunk_drift"] > 1e-4


def test_accumulation_changes_no_figure(tmp_path: Path) -> None:
    names = ("loss", "value_loss", "value_mean", "value_clipped", "explained_variance", "grad_norm")
    for folder, batch, accumulation in (("a", 4, 1), ("b", 1, 4)):
        dials = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "max_steps": 3}
        trainer(tmp_path / folder, net(learned=True), dials).train()
    for one, two in zip(told(tmp_path / "a", *names), told(tmp_path / "b", *names), strict=True):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("stage", ["pretrain", "joint"])
def test_a_resumed_run_is_the_unbroken_run(tmp_path: Path, adapter: bool, stage: Any) -> None:
    from training.test_mixin import StopAt

    def made() -> Any:
        base = net(learned=True)
        return tuned(base) if adapter else base

    dials = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    critic = {"stage": stage, "value_clip": 0.2, "ema_decay": 0.5, "anchor_coef": 0.1}
    whole = trainer(tmp_path / "whole", made(), dials, **critic)
    whole.train()
    first = trainer(tmp_path / "broken", made(), dials, **critic)
    first.add_callback(StopAt(3))
    first.train()
    second = trainer(tmp_path / "broken", made(), dials, **critic)
    second.train(resume_from_checkpoint=True)
    names = ("step", "loss", "value_loss", "value_clipped", "explained_variance", "grad_norm")
    assert told(tmp_path / "whole", *names) == told(tmp_path / "broken", *names)
    one, two = copies(whole.model), copies(second.model)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any("value_head" in name and ".old." in name for name in one)


@pytest.mark.parametrize("wrote", [True, False])
def test_a_run_goes_on_with_a_critic_only_where_it_had_one(tmp_path: Path, wrote: bool) -> None:
    def run(critic: bool) -> Any:
        args = arguments(tmp_path, save_strategy="steps", save_steps=2)
        chosen = CriticConfig() if critic else None
        return Trainer(net(learned=True), args, train_dataset=table(), rows=ROWS, critic=chosen)

    run(wrote).train()
    ways = ("with a critic, and this run is without" if wrote else "without a critic, and this run is with") + " one"
    with pytest.raises(RunError, match=rf"checkpoint-4 was written {ways}; give it the same `critic:`"):
        run(not wrote).train(resume_from_checkpoint=True)


def test_a_head_of_low_precision_has_an_old_head_too(tmp_path: Path) -> None:
    made = net(learned=True)
    made.value_head.to(torch.bfloat16)
    begun = made.value_head.readout.detach().clone()
    trainer(tmp_path, made, ema_decay=0.5).train()
    old = made.value_head.old.readout
    assert old.dtype == torch.float32
    assert not torch.equal(old, begun.float())


def tuned(base: Any) -> Any:
    from curricle.models.config import AdapterConfig
    from curricle.models.loading import add_adapter

    torch.manual_seed(1)
    return add_adapter(base, AdapterConfig(lora_r=4))


def test_the_explained_variance_of_an_epoch_is_that_of_all_its_states(tmp_path: Path) -> None:
    """Without learning, after one pass: against one look at every state of the table. A mean of steps is not it."""
    made, data = net(learned=True), table(24)
    dials = {"data": data, "learning_rate": 0.0, "max_steps": -1, "num_train_epochs": 1.0}
    host = trainer(tmp_path, made, dials)
    values = state_values_of(made, data, ROWS, ValueTap(made))
    host.train()
    assert data.rewards is not None
    reward_n = np.repeat(data.rewards, values.counts)
    expected = 1 - np.var(reward_n - values.values) / np.var(reward_n)
    rows = told(tmp_path, "explained_variance")
    assert len(rows) > 1
    assert rows[-1][0] == pytest.approx(expected, rel=1e-4)


def test_the_books_of_an_epoch_begin_anew_with_the_next(tmp_path: Path) -> None:
    host = trainer(tmp_path, net(learned=True), {"max_steps": 6, "per_device_train_batch_size": 1})
    host.train()
    rows = told(tmp_path, "epoch", "step_supervised_tokens")
    border = next(i for i, (epoch, _) in enumerate(rows) if epoch >= 1)
    assert 0 < border < len(rows) - 1
    assert host.critic.moments.num == sum(num for _, num in rows[border + 1 :])


def test_an_anchor_stays_and_an_average_follows(tmp_path: Path) -> None:
    for decay in (1.0, 0.5):
        made = net(learned=True)
        begun = made.value_head.readout.detach().clone()
        trainer(tmp_path / str(decay), made, ema_decay=decay).train()
        old, now = made.value_head.old.readout, made.value_head.readout
        assert not torch.equal(now, begun)
        assert torch.equal(old, begun) == (decay == 1.0)
        assert not torch.equal(old, now)


def test_without_clip_and_anchor_no_old_head_is_kept(tmp_path: Path) -> None:
    made = net()
    made.value_head.keep_old()
    assert trainer(tmp_path, made, value_clip=0).critic.head.old is None


def test_a_weighting_sees_the_values(tmp_path: Path) -> None:
    """TD errors sum to R - V(s_0): with lambda 1 every weight is exp((R - V) / temperature)."""
    made, data = net(learned=True), table()
    weighting = TDError(gae_lambda=1.0, clip=(1e-6, 1e6))
    host = trainer(tmp_path, made, {"weighting": weighting, "data": data})
    batch, examples = batch_of(data)
    result = host.losses_of(made.eval(), batch, examples)
    values = state_values_of(made, data, ROWS, ValueTap(made))
    assert data.rewards is not None
    expected = np.concatenate([np.exp((data.rewards[i] - values.of(i)) / 0.9) for i in examples])
    torch.testing.assert_close(result.weights_n.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
    assert {"value_loss", "value_mean", "value_clipped"} <= set(result.metrics)


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
@pytest.mark.parametrize("stage", ["pretrain", "joint"])
def test_a_multi_token_model_has_a_critic(tmp_path: Path, kind: Any, stage: Any) -> None:
    made = mtp(2, kind)
    add_value_head(made)
    before = copies(made)
    host = trainer(tmp_path, made, stage=stage, freeze_trunk=False)
    host.train()
    after = copies(host.model)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert all(not name.startswith("value_head") for name in still)
    head_1 = (f"model.layers.{len(made.model.layers) - 1}.", "model.norm") if kind == "parallel" else ()
    above_the_trunk = ("extra_heads.", *head_1)
    for name in before:
        assert (name in still) == (stage == "pretrain" and name.startswith(above_the_trunk)), name


# --- what is refused


def test_what_no_critic_can_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.reward_field"):
        check_rewards(TokenTable.from_lists([[4, 5]], [[-100, 5]]))
    with pytest.raises(DataError, match=r"1 of 4 rows of data\.train have no reward"):
        check_rewards(table(rewards=[1.0, 0.0, None, 1.0]))
    with pytest.raises(DataError, match=r"is 0\.5; it must be 0 or 1"):
        check_rewards(table(rewards=[1.0, 0.5, 0.0]))
    with pytest.raises(DataError, match=r"all 3 rows of data\.train have the reward 1"):
        trainer(tmp_path, net(), {"data": table(rewards=[1.0, 1.0, 1.0])})


def test_a_head_must_be_there_where_one_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no value head; train one with critic\.stage: pretrain"):
        trainer(tmp_path, model())
    with pytest.raises(ModelError, match=r"critic\.kind is bounded, but the model has a linear value head"):
        trainer(tmp_path, net(), kind="bounded")
    base = lora(net())
    with pytest.raises(ModelError, match="modules_to_save"):
        trainer(tmp_path, base)


def test_a_new_head_may_begin_at_the_mean_reward(tmp_path: Path) -> None:
    data = table(rewards=[1.0, 0.0, 0.0, 0.0])
    for kind in ("linear", "bounded"):
        made = model()
        trainer(tmp_path, made, {"data": data}, kind=kind, new_head="mean_reward")
        values = state_values_of(made, data, ROWS, ValueTap(made)).values
        np.testing.assert_allclose(values, 0.25, rtol=1e-6)


def test_a_critic_needs_our_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": [[4, 5, 6]], "labels": [[-100, 5, 6]]})
    with pytest.raises(RecipeError, match="TokenTable"):
        Trainer(net(), arguments(tmp_path), train_dataset=rows, critic=CriticConfig())


def test_held_out_rows_without_rewards_are_measured_without_them(tmp_path: Path) -> None:
    plain = TokenTable.from_lists([[4, 5, 6]] * 4, [[-100, 5, 6]] * 4)
    host = trainer(tmp_path, net(), {"eval_dataset": plain})
    host.train()
    assert {name for name in host.evaluate() if "value" in name or "explained" in name} == set()


def test_an_adapted_model_learns_its_head_whole(tmp_path: Path) -> None:
    made = tuned(net())
    host = trainer(tmp_path, made)
    host.train()
    head = value_head_of(made)
    assert head.readout.abs().sum() > 0
    assert head.old is not None
    assert not any(parameter.requires_grad for parameter in head.old.parameters())
