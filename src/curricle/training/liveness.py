"""Whether what is to learn gets a gradient at all, found out in the first step.

A LoRA factor beside a matrix that the model reads without calling the layer gets none: such a run goes to its end and
has learned nothing there. Two kinds of tensors are looked at, before clipping:

    lora_B      in the first step in which one of them has a gradient: it needs nothing else to leave zero first. When
                no layer of a kind (`dt_proj`) has one, the run stops; single ones are named in a line.
    the rest    may wait for another tensor to leave zero (a critic's norm for its readout), so it has time until two
                steps have moved something, and is named in a line.

lora_A is left out: its gradient follows from lora_B. Layers that the depth dial has closed are not judged, nor is a
step in which nothing has a gradient. Once all are known to live, mostly in the first step, nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..runtime.progress import say
from ..runtime.ranks import all_sum

MOVES = 2
"""Steps with a learning rate, after which whatever can have a gradient has one."""
STEPS_IN_ALL = 10
"""After as many steps nothing is looked at any more, whatever was found."""
SHOWN = 4


class Liveness:
    """One run's look at its gradients. `passed_over` are parts of names that are not looked at."""

    def __init__(self, passed_over: Sequence[str] = ()) -> None:
        self._passed_over = ("lora_A.", *passed_over)
        self._waiting: set[str] | None = None
        self._steps = self._moving_steps = 0
        self._anything = False

    @property
    def done(self) -> bool:
        return self._waiting is not None and not self._waiting

    def look(self, model: nn.Module, closed: Iterable[nn.Module], moves: bool) -> None:
        """Once a step, before clipping; `moves` says whether the optimizer's learning rate is above 0."""
        if self.done:
            return
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        waiting = self._waiting if self._waiting is not None else self._to_look_at(learning)
        idle = {id(p) for block in closed for p in block.parameters()}
        names = [name for name in sorted(waiting) if name in learning and id(learning[name]) not in idle]
        alive = {name for name, lives in zip(names, _alive([learning[name] for name in names]), strict=True) if lives}
        factors = [name for name in names if _is_factor(name)]
        if factors and (alive.intersection(factors) or (alive and self._moving_steps >= MOVES)):
            self._judge_kinds(factors, alive)
            waiting = {name for name in waiting if not _is_factor(name)}  # they are judged once
        self._waiting, self._steps = waiting - alive, self._steps + 1
        self._anything |= bool(alive)
        if (self._anything and self._moving_steps >= MOVES) or self._steps >= STEPS_IN_ALL:
            self._judge_the_rest(set(names))
        self._moving_steps += moves

    def _to_look_at(self, learning: Collection[str]) -> set[str]:
        return {name for name in learning if not any(part in name for part in self._passed_over)}

    def _judge_kinds(self, factors: Sequence[str], alive: Collection[str]) -> None:
        dead = [name for name in factors if name not in alive]
        whole = {_kind(name) for name in dead} - {_kind(name) for name in factors if name in alive}
        if whole:
            kinds, of = ", ".join(sorted(whole)), [name for name in dead if _kind(name) in whole]
            raise TrainingError(
                f"the LoRA factors of {kinds} get no gradient, so they would learn nothing ({_shown(of)}): the model "
                "reads these weights without calling the layer, or its outcome does not depend on it; take them out "
                "of model.adapter.lora_target_modules"
            )
        if dead:
            say(f"no gradient in the first step, while others of their kind have one: {_shown(dead)}")

    def _judge_the_rest(self, looked_at: set[str]) -> None:
        waiting, self._waiting = self._waiting or set(), set()
        if not self._anything:
            say(f"nothing that is to learn has got a gradient in the first {self._steps} steps")
        elif self._moving_steps >= MOVES and (dead := sorted(waiting & looked_at)):
            say(f"no gradient in the first {self._steps} steps: {_shown(dead)}; they learn nothing so far")


def _is_factor(name: str) -> bool:
    return ".lora_B." in name


def _kind(name: str) -> str:
    """`dt_proj` of `model.layers.0.mixer.dt_proj.lora_B.default.weight`."""
    return name.partition(".lora_B.")[0].rpartition(".")[2]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name.removeprefix("base_model.model.") for name in names[:SHOWN]) + more


@torch.no_grad()
def _alive(parameters: Sequence[nn.Parameter]) -> list[bool]:
    """Whether any number of each gradient is not zero, on any rank; one transfer from the device for all."""
    if not parameters:
        return []
    device = parameters[0].device
    flags = [
        torch.zeros((), dtype=torch.int32) if p.grad is None else _own_part(p.grad).any().int() for p in parameters
    ]
    return [bool(flag) for flag in all_sum(torch.stack([flag.to(device) for flag in flags])).tolist()]


def _own_part(gradient: Tensor) -> Tensor:
    """This rank's shard of what FSDP2 has split; any other tensor as it is."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient
