"""What a stage means where a key is left open, and what does not go together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from curricle.training.critic_config import CriticConfig


def test_stages_have_their_own_defaults() -> None:
    pretrain, joint = CriticConfig(stage="pretrain"), CriticConfig()
    assert (pretrain.moves_trunk, joint.moves_trunk) == (False, True)
    assert (pretrain.clip, joint.clip) == (None, 0.2)
    assert (pretrain.keeps_old, joint.keeps_old) == (False, True)
    assert (pretrain.makes_head, joint.makes_head) == ("zero", None)


def test_what_is_written_wins() -> None:
    pretrain = CriticConfig(stage="pretrain", freeze_trunk=False, value_clip=0.1, new_head="mean_reward")
    assert pretrain.moves_trunk
    assert pretrain.clip == 0.1
    assert pretrain.makes_head == "mean_reward"
    joint = CriticConfig(freeze_trunk=True, value_clip=0, anchor_coef=0.5)
    assert not joint.moves_trunk
    assert joint.clip is None
    assert joint.keeps_old  # for the anchor
    assert not CriticConfig(value_clip=0).keeps_old


def test_a_bounded_head_learns_by_cross_entropy_and_a_linear_one_cannot() -> None:
    assert CriticConfig(kind="bounded").distance == "bce"
    assert CriticConfig().distance == "mse"
    assert CriticConfig(kind="bounded", loss="huber").distance == "huber"
    with pytest.raises(ValidationError, match=r"critic\.kind: bounded"):
        CriticConfig(loss="bce")
