"""The recipe section `critic:`: a value head, how it is trained, and what of it may move the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..runtime.config import Section

Kind = Literal["linear", "bounded"]
Loss = Literal["mse", "huber", "bce"]
CLIP = 0.2


class CriticConfig(Section):
    """A value head that learns what comes of each state, from the rows' rewards; docs/critic.md."""

    stage: Literal["pretrain", "joint"] = "joint"
    """`pretrain`: the value loss alone, to give a model a critic. `joint`: beside the loss of the tokens."""
    kind: Kind = "linear"
    """`linear`: a value is any number; `bounded`: it is a probability, between 0 and 1."""
    new_head: Literal["zero", "mean_reward"] | None = None
    """What a head that the model does not have yet says at first: 0 (of a bounded head, 0.5), or the mean reward. By
    default zero in stage pretrain; in stage joint the model must have one."""
    loss: Loss | None = None
    """How far a value is from its target: half the square (mse), huber, or cross-entropy (bce, of a bounded head). By
    default mse for a linear head and bce for a bounded one."""
    huber_delta: Annotated[float, Field(gt=0)] = 0.5
    """huber: how far off the square ends and the straight line begins."""
    coef: Annotated[float, Field(gt=0)] = 0.5
    """joint: what the value loss counts beside the loss of the tokens."""
    freeze_trunk: bool | None = None
    """Whether the value loss moves the head alone and not the model below it. By default yes in stage pretrain, where
    then nothing else is trained, and no in stage joint."""
    value_clip: Annotated[float, Field(ge=0)] | None = None
    """A value is not rewarded for moving further than this from the old head's value; 0 switches it off. By default 0.2
    in stage joint and 0 in stage pretrain."""
    ema_decay: Annotated[float, Field(ge=0, le=1)] = 0.99
    """The old head after each step: this share of itself, the rest of the present one. With 1 it stays what it was when
    the run began: an anchor."""
    anchor_coef: Annotated[float, Field(ge=0)] = 0.0
    """Adds this times half the squared distance to the old head's value."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The discount of what comes later, a token at a time."""
    return_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    """What a value is to come to: with 1 the reward at the end, with 0 the next state's value, between them a mixture
    (TD(lambda)). Documents that were cut end with the value of their last state."""

    @property
    def pretrains(self) -> bool:
        return self.stage == "pretrain"

    @property
    def moves_trunk(self) -> bool:
        return not (self.pretrains if self.freeze_trunk is None else self.freeze_trunk)

    @property
    def clip(self) -> float | None:
        """None where nothing is clipped."""
        default = 0.0 if self.pretrains else CLIP
        return (default if self.value_clip is None else self.value_clip) or None

    @property
    def keeps_old(self) -> bool:
        return self.clip is not None or self.anchor_coef > 0

    @property
    def distance(self) -> Loss:
        return self.loss or ("bce" if self.kind == "bounded" else "mse")

    @property
    def makes_head(self) -> Literal["zero", "mean_reward"] | None:
        """How a head begins where there is none; None where there must be one."""
        return self.new_head or ("zero" if self.pretrains else None)

    @model_validator(mode="after")
    def _fits_together(self) -> CriticConfig:
        if self.distance == "bce" and self.kind == "linear":
            raise ValueError("critic.loss is bce, which needs a probability; set critic.kind: bounded, or take mse")
        return self
