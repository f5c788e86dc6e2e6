"""What a run leaves as it is while it trains learns again in the next run of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from curricle.data.rows import Rows
from curricle.errors import RecipeError
from curricle.models.value_head import value_head_of
from curricle.training.critic_config import CriticConfig
from curricle.training.frozen import frozen, num_learning
from curricle.training.hf import Trainer
from curricle.weighting import WeightingConfig, build_weighting
from support import arguments, lora, model, mtp
from training.test_critic import net, table, tuned

ROWS = Rows(max_length=64, lookahead=8)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Watch(TrainerCallback):
    """Which parameters learn while a run trains; it may break off there."""

    def __init__(self, breaks: bool = False) -> None:
        self.breaks = breaks
        self.learning: set[str] = set()

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        self.learning = learning(model)
        if self.breaks:
            raise RuntimeError("broken off")


def learning(made: Any) -> set[str]:
    return {name for name, parameter in made.named_parameters() if parameter.requires_grad}


def trainer(folder: Path, made: Any, watch: Watch, later_heads: Any = 1.0, **dials: Any) -> Any:
    dials["weighting"] = build_weighting(WeightingConfig(later_heads=later_heads))
    host = Trainer(made, arguments(folder), train_dataset=table(), rows=ROWS, **dials)
    host.add_callback(watch)
    return host


def copies(made: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in made.named_parameters()}


def moved(made: Any, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, begun in before.items() if not torch.equal(made.get_parameter(name), begun)}


def test_what_did_not_learn_before_does_not_learn_after() -> None:
    made = lora(model())
    before, size = learning(made), num_learning(made, set())
    some = sorted(before)[0]
    with frozen(made, set(dict(made.named_parameters())) - {some}):
        assert learning(made) == {some}
    assert learning(made) == before
    assert num_learning(made, {some}) == size - made.get_parameter(some).numel() > 0


@pytest.mark.parametrize("adapter", [False, True])
def test_without_a_critic_a_value_head_stays_as_it_is(
    tmp_path: Path, adapter: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made, watch = tuned(net(learned=True)) if adapter else net(learned=True), Watch()
    before, could = copies(made), learning(made)
    trainer(tmp_path, made, watch).train()
    assert watch.learning == {name for name in could if "value_head" not in name} != could
    assert moved(made, before) == watch.learning
    assert learning(made) == could
    assert "the model has a value head, which stays as it is" in " ".join(capsys.readouterr())


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("breaks", [False, True])
def test_after_a_critic_alone_everything_learns(tmp_path: Path, adapter: bool, breaks: bool) -> None:
    made = tuned(net(learned=True)) if adapter else net(learned=True)
    could, alone, joint = learning(made), Watch(breaks), Watch()
    first = trainer(tmp_path / "alone", made, alone, critic=CriticConfig(stage="pretrain"))
    if breaks:
        with pytest.raises(RuntimeError, match="broken off"):
            first.train()
    else:
        first.train()
    assert alone.learning == {name for name in could if "value_head" in name}
    before = copies(made)
    trainer(tmp_path / "joint", made, joint, critic=CriticConfig()).train()
    assert joint.learning == could
    assert could <= moved(made, before)


@pytest.mark.parametrize("never", [0, [(0, 0), (0.5, 0)]], ids=str)
def test_later_heads_that_never_count_are_left_and_learn_again_in_the_next_run(tmp_path: Path, never: Any) -> None:
    made, alone, all_of_them = mtp(3), Watch(), Watch()
    before, could = copies(made), learning(made)
    trainer(tmp_path / "alone", made, alone, later_heads=never).train()
    assert alone.learning == moved(made, before) == {name for name in could if "extra_heads" not in name} != could
    before = copies(made)
    trainer(tmp_path / "all", made, all_of_them).train()
    assert all_of_them.learning == moved(made, before) == could


def test_a_head_that_has_learned_is_no_new_one(tmp_path: Path) -> None:
    made = model()
    critic = CriticConfig(stage="pretrain", new_head="mean_reward")
    trainer(tmp_path / "one", made, Watch(), critic=critic).train()
    learned = value_head_of(made).bias.clone()
    trainer(tmp_path / "two", made, Watch(), critic=critic)
    assert torch.equal(value_head_of(made).bias, learned)
    assert learned != 0.5


@pytest.mark.parametrize("adapter", [False, True])
def test_the_next_runs_anchor_is_the_head_that_it_begins_with(tmp_path: Path, adapter: bool) -> None:
    made = tuned(net(learned=True)) if adapter else net(learned=True)
    critic = CriticConfig(ema_decay=1.0, anchor_coef=0.1)
    trainer(tmp_path / "one", made, Watch(), critic=critic).train()
    learned = value_head_of(made).readout.clone()
    old: Any = value_head_of(made).old
    assert not torch.equal(old.readout, learned)
    trainer(tmp_path / "two", made, Watch(), critic=critic).train()
    now: Any = value_head_of(made).old
    assert torch.equal(now.readout, learned)
    assert not torch.equal(value_head_of(made).readout, learned)


def test_a_models_own_part_of_that_name_is_not_ours(tmp_path: Path) -> None:
    made, watch = model(), Watch()
    made.value_head = torch.nn.Linear(4, 1)
    trainer(tmp_path, made, watch).train()
    assert {"value_head.weight", "value_head.bias"} <= watch.learning


def test_later_heads_of_a_model_with_one_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the model has one head"):
        trainer(tmp_path, model(), Watch(), later_heads=0)
