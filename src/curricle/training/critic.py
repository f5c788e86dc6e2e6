"""A critic in training: its values in the table of tokens, its loss beside theirs, and its books.

    forward   trunk --+-- output head -- loss of each token -------- weights ---+
                      |                                                 |       v
                      +-- value head  -- before_n, after_n -------------+      sum  -> one scalar
                                |                                               ^
                                +-- loss of each state ------- coef ------------+

In stage `pretrain` the loss of the states is all there is. Both losses are sums over the same tokens, divided by the
same global count, so accumulation and ranks change neither.

Suffixes: bt batch x time, n supervised tokens, h hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ..data.rows import Rows
from ..data.table import TokenTable
from ..errors import DataError, ModelError, RecipeError, TrainingError
from ..losses.flat import FlatTokens, Metrics, keep_mask
from ..losses.values import num_clipped, value_losses
from ..models.attention import for_model
from ..models.head import Supervised
from ..models.head_plan import base_model
from ..models.likelihood import state_values_of
from ..models.value_head import NAME, ValueHead, ValueTap, add_value_head, has_value_head, read_states, value_head_of
from ..runtime.progress import say
from ..weighting.base import Weighting
from ..weighting.td_error import advantages, td_errors
from .critic_config import CriticConfig
from .critic_metrics import MOMENTS, Moments, judge_values
from .frozen import num_learning

PRIVATE = "critic/"
"""Entries of a step's row that become others before it is written."""


class Critic:
    """Holds the value head of a trainer's model to its rewards. Build it before the model is wrapped."""

    def __init__(self, model: nn.Module, config: CriticConfig, table: TokenTable) -> None:
        check_rewards(table)
        self.config = config
        self.head = _head_of(model, config, table)
        if config.keeps_old:
            self.head.keep_old()
        else:
            self.head.forget_old()
        self.tap = ValueTap(model, config.moves_trunk)
        self.left = left_by_values(model, self.tap) if config.pretrains else set()
        """What this run leaves as it is."""
        self.moments, self._epoch = Moments(), 0
        self._before: dict[str, Any] | None = None

    # ---- one micro batch --------------------------------------------------------------------------------------------

    def losses(self, measure: Callable[[Weighting], Supervised], labels_bt: Tensor, weighting: Weighting) -> Supervised:
        """What `measure` gives with this weighting, the critic's loss added. It must run the model once."""
        seeing = _Seeing(self, weighting, labels_bt)
        with self.tap.working():
            result = measure(seeing)
        assert seeing.tokens is not None
        return self._join(result, seeing.tokens, seeing.places_n)

    def _join(self, result: Supervised, tokens: FlatTokens, places_n: Tensor) -> Supervised:
        config, score_bt, old_bt = self.config, self.tap.score_bt, self.tap.old_score_bt
        assert score_bt is not None
        assert tokens.before_n is not None
        score_n, value_n = score_bt.flatten()[places_n], tokens.before_n
        old_n = None if old_bt is None else self.head.value(old_bt.flatten()[places_n])
        bounded = config.kind == "bounded"
        loss_n = value_losses(
            score_n,
            state_targets(tokens, config.gamma, config.return_lambda),
            config.distance,
            bounded=bounded,
            old_n=old_n,
            clip=config.clip,
            delta=config.huber_delta,
        )
        metrics = result.metrics | _told(tokens, loss_n)
        if old_n is not None:
            if config.clip:
                metrics["value_clipped"] = num_clipped(value_n, old_n, config.clip), len(loss_n)
            if config.anchor_coef:
                loss_n = loss_n + config.anchor_coef * value_losses(score_n, old_n, bounded=bounded)
        loss_sum = loss_n.sum() if config.pretrains else result.loss_sum + config.coef * loss_n.sum()
        return replace(result, loss_sum=loss_sum, metrics=metrics)

    # ---- one step ---------------------------------------------------------------------------------------------------

    def end_step(self, row: dict[str, Any], epoch: float) -> None:
        """After the optimizer: the old head follows, and the row tells how much the critic has explained in this epoch
        so far."""
        if self.head.old is not None:
            self.head.move_old(self.config.ema_decay)
        self.head.is_new = False  # a later trainer of this model goes on with what has been learned
        num = row["step_supervised_tokens"]
        self.moments += Moments(num, *(row.pop(PRIVATE + name, 0.0) * num for name in MOMENTS))
        row["explained_variance"] = self.moments.explained_variance
        if int(epoch) > self._epoch:
            self.moments, self._epoch = Moments(), int(epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"moments": asdict(self.moments), "epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.moments, self._epoch = Moments(**state["moments"]), state["epoch"]

    # ---- measured ---------------------------------------------------------------------------------------------------

    def begin(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """Remember the states of a few tokens, as they are before the first step: what drift is measured from."""
        inputs = dict(batch)
        self._before = {"keep_bt": keep_mask(inputs.pop("labels")), "inputs": inputs}
        self._before["state_nh"] = self._states(model)

    def measured(self, model: nn.Module, table: TokenTable, rows: Rows, batch_size: int) -> dict[str, float]:
        """How good the critic is on held-out rows, and how far the trunk has moved under it."""
        told = {}
        if table.rewards is not None:
            told = judge_values(state_values_of(model, table, rows, self.tap, batch_size=batch_size), table)
        if self._before is not None:
            alike_n = cosine_similarity(self._states(model), self._before["state_nh"], dim=-1)
            told["trunk_drift"] = max(0.0, 1 - alike_n.mean().item())
        return told

    @torch.no_grad()
    def _states(self, model: nn.Module) -> Tensor:
        assert self._before is not None
        device, training = next(model.parameters()).device, model.training
        given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self._before["inputs"].items()}
        model.eval()
        try:
            with for_model(given) as inputs:
                state_bth = read_states(model, inputs, self.tap).state_bth
        finally:
            model.train(training)
        assert state_bth is not None
        return state_bth[self._before["keep_bt"].to(device)].double().cpu()


class _Seeing(Weighting):
    """A weighting that sees the critic's values in the table; in stage pretrain nobody needs its weights."""

    name = "critic"

    def __init__(self, critic: Critic, weighting: Weighting, labels_bt: Tensor) -> None:
        self.critic, self.weighting = critic, weighting
        self.needs = weighting.needs | {"reward_n"}
        # Of no use beforehand: then no gradient of the token loss is made, which nobody asks for.
        self.known_beforehand = weighting.known_beforehand and not critic.config.pretrains
        self.places_n = keep_mask(labels_bt).flatten().nonzero().squeeze(1)
        self.tokens: FlatTokens | None = None

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor | None, Metrics]:
        if tokens.reward_n is None:
            raise TrainingError("a critic needs the reward of each row; name its column in data.reward_field")
        value_t = self.critic.tap.value_bt.detach().flatten()
        # The state that a token is chosen in lies at its left, in the same row.
        tokens = replace(tokens, before_n=value_t[self.places_n], after_n=value_t[self.places_n + 1])
        self.tokens = tokens
        return (None, {}) if self.critic.config.pretrains else self.weighting(tokens)


def state_targets(tokens: FlatTokens, gamma: float, lambda_: float) -> Tensor:
    """What the value of the state before each token is to come to. Without discount and with lambda 1 the reward
    itself, but for documents that were cut: these end with the value of their last state."""
    assert tokens.before_n is not None
    assert tokens.reward_n is not None
    target_n = tokens.before_n + advantages(td_errors(tokens, gamma), tokens.doc_n, gamma * lambda_)
    if gamma == lambda_ == 1:
        reward_n = tokens.reward_n.to(target_n)
        target_n = reward_n if tokens.truncated_n is None else torch.where(tokens.truncated_n, target_n, reward_n)
    return target_n.detach()


def _told(tokens: FlatTokens, loss_n: Tensor) -> Metrics:
    """Of one micro batch: sums over its states, left on their device."""
    assert tokens.before_n is not None
    assert tokens.reward_n is not None
    exact = torch.float32 if loss_n.device.type == "mps" else torch.float64  # Apple's devices lack float64
    value_n, reward_n = tokens.before_n.to(exact), tokens.reward_n.to(exact)
    error_n = reward_n - value_n
    sums = (reward_n.sum(), reward_n.square().sum(), error_n.sum(), error_n.square().sum())
    private = {PRIVATE + name: (total, len(value_n)) for name, total in zip(MOMENTS, sums, strict=True)}
    return {
        "value_loss": (loss_n.detach().to(exact).sum(), len(loss_n)),
        "value_mean": (value_n.sum(), len(value_n)),
        **private,
    }


# --- before training


def check_rewards(table: TokenTable, name: str = "data.train") -> None:
    """A critic learns from rewards of 0 and 1, both of which there are, on every row."""
    if table.rewards is None:
        raise RecipeError(
            f"critic needs to know which rows of {name} are good, and they have no reward; name the column that says "
            "so in data.reward_field, such as is_correct"
        )
    reward_d = np.asarray(table.rewards)
    unknown_d = np.flatnonzero(np.isnan(reward_d))
    if len(unknown_d):
        raise DataError(
            f"critic: {len(unknown_d):,} of {len(reward_d):,} rows of {name} have no reward, the first of them "
            f"{table.ids[int(unknown_d[0])]}; give each row one, or leave those out"
        )
    other_d = np.flatnonzero((reward_d != 0) & (reward_d != 1))
    if len(other_d):
        first = int(other_d[0])
        raise DataError(
            f"critic: the reward of {table.ids[first]} in {name} is {reward_d[first]:g}; it must be 0 or 1, or false "
            "or true"
        )
    if (reward_d == reward_d[0]).all():
        raise DataError(
            f"critic: all {len(reward_d):,} rows of {name} have the reward {reward_d[0]:g}, so there is nothing to "
            "tell apart; mix good and bad rows, half of each for stage pretrain"
        )


def _head_of(model: nn.Module, config: CriticConfig, table: TokenTable) -> ValueHead:
    """The model's head, or a new one where the stage may begin with one."""
    if not has_value_head(model):
        if config.makes_head is None:
            raise no_head("the model")
        add_value_head(model, config.kind)
    adapted = hasattr(model, "get_base_model")
    if adapted and isinstance(getattr(model.get_base_model(), NAME), ValueHead):  # type: ignore[operator]
        raise ModelError(f"the adapter would leave the value head as it is; give it modules_to_save: [{NAME}]")
    head = value_head_of(model)
    if head.kind != config.kind:
        raise ModelError(f"critic.kind is {config.kind}, but the model has a {head.kind} value head; set it to that")
    if head.is_new and config.makes_head == "mean_reward":
        assert table.rewards is not None
        head.set_value(float(np.mean(table.rewards)))
    return head


def no_head(whose: str) -> ModelError:
    """Stage joint goes on with a critic that has learned something."""
    return ModelError(
        f"critic.stage is joint, but {whose} has no value head; train one with critic.stage: pretrain and set "
        "model.name_or_path to the model/ folder of that run, or set critic.new_head: mean_reward for a new one"
    )


def left_by_values(model: nn.Module, tap: ValueTap) -> set[str]:
    """What the value loss alone does not reach: to be frozen, so that no weight decay moves it either."""
    reached = _reached(model, tap) if tap.moves_trunk else set(map(id, tap.head.parameters()))
    left = {name for name, parameter in model.named_parameters() if id(parameter) not in reached}
    say(f"critic: the value loss alone, {num_learning(model, left):,} weights learn")
    return left


def unread_head(model: nn.Module) -> set[str]:
    """The value head that a model brings to a run without a critic. Nothing teaches it there, so it is to be frozen:
    ranks would wait for its gradients. Under an adapter, the adapter's copy is among these."""
    head = getattr(base_model(model), NAME) if has_value_head(model) else nn.Module()
    if not any(isinstance(part, ValueHead) for part in head.modules()):
        return set()
    say("the model has a value head, which stays as it is: without `critic:` nothing teaches it")
    own = set(map(id, head.parameters()))
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


def _reached(model: nn.Module, tap: ValueTap) -> set[int]:
    """Which parameters the values of four tokens depend on."""
    modes = [(module, module.training) for module in model.modules()]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = next(model.parameters()).device
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    try:
        model.eval()
        with torch.enable_grad(), torch.random.fork_rng(devices=list(devices)):
            score_bt = read_states(model, {"input_ids": torch.arange(1, 5, device=device)[None]}, tap).score_bt
            assert score_bt is not None
            gradients = torch.autograd.grad(score_bt.sum(), learning, allow_unused=True)
    finally:
        for module, training in modes:
            module.training = training
    return {id(parameter) for parameter, gradient in zip(learning, gradients, strict=True) if gradient is not None}
