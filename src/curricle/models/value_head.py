"""A critic's head: a number for every state of the trunk, V(s), and the hook that reads it in the model's forward.

The state at t has read the tokens up to and with t. For a target at t, `before` is V one place to the left:

    t              0     1     2     3     4     5
    input_ids     <s>   How    ?   <s>   Fine   .        two documents in one row
    value_bt       v0    v1   v2    v3    v4   v5
    target                     ?          Fine   .
    before_n                  v1          v3    v4       V of the state that the target is chosen in
    after_n                   v2          v4    v5       V of the state that it leads to

The head is a part of the model: saved, sharded and moved with it. Plain transformers loads such a folder without it.

Suffixes: bt batch x time, h hidden, n supervised tokens.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ModelError
from .head_plan import accepts, base_model
from .mtp.trunk import state_of, trunk_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "value_head"
Kind = Literal["linear", "bounded"]
READOUTS: dict[Kind, str] = {"linear": "value_weight", "bounded": "logit_weight"}
"""What a head's weight is called. A saved head says by it of which kind it is."""


class Reading(nn.Module):
    """RMSNorm of its own, and one number off it: 0 before anything is learned. In float32, whatever the model is in.

    Not an `nn.Linear`, so that nobody puts factors beside it, or quantizes it.
    """

    def __init__(self, hidden: int, kind: Kind) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.norm = nn.RMSNorm(hidden, 1e-6)
        self.register_parameter(READOUTS[kind], nn.Parameter(torch.zeros(hidden)))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, state_bth: Tensor) -> Tensor:
        with torch.autocast(state_bth.device.type, enabled=False):
            state_bth = state_bth.float()
            normed_bth = F.rms_norm(state_bth, self.norm.normalized_shape, self.norm.weight.float(), self.norm.eps)
            return normed_bth @ self.readout.float() + self.bias.float()

    @property
    def readout(self) -> nn.Parameter:
        return getattr(self, READOUTS[self.kind])


class ValueHead(Reading):
    """`linear`: V is any number. `bounded`: V is between 0 and 1, and what the head gives is its logit.

    `old` is an earlier or slower copy of the head, where one is kept: it never takes a gradient.
    """

    old: Reading | None
    is_new = True
    """Until it has been trained, or a saved head is loaded into it."""

    def __init__(self, hidden: int, kind: Kind = "linear") -> None:
        super().__init__(hidden, kind)
        self.old = None

    def forward(self, state_bth: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        """(score_bt, the old head's score_bt)."""
        if self.old is None:
            return super().forward(state_bth), None
        with torch.no_grad():
            old_bt = self.old(state_bth)
        return super().forward(state_bth), old_bt

    def value(self, score: Tensor) -> Tensor:
        return score.sigmoid() if self.kind == "bounded" else score

    def keep_old(self) -> None:
        """Begin to keep an old copy, as the head is now; one of an earlier run is gone."""
        self.old = Reading(self.readout.shape[0], self.kind).to(self.bias.device)
        own = self.state_dict()
        self.old.load_state_dict({name: own[name] for name in self.old.state_dict()})
        self.old.requires_grad_(False)

    def forget_old(self) -> None:
        self.old = None

    @torch.no_grad()
    def move_old(self, decay: float) -> None:
        """old <- decay * old + (1 - decay) * now; of a sharded head each rank moves its share."""
        assert self.old is not None
        for old, now in zip(self.old.parameters(), self._now(), strict=True):
            old.lerp_(now.to(old.dtype), 1 - decay)  # the model may be cast while its old head is in float32

    def set_value(self, value: float) -> None:
        """Let a new head give this value everywhere."""
        score = torch.tensor(value).logit().item() if self.kind == "bounded" else value
        with torch.no_grad():
            self.bias.fill_(score)

    def _now(self) -> Sequence[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("old.")]


def add_value_head(model: nn.Module, kind: Kind = "linear") -> ValueHead:
    """Give a model a new head, before an adapter is put on it and before it is wrapped."""
    base: Any = base_model(model)
    if hasattr(model, "get_base_model"):
        raise ModelError(f"a value head goes on the model first, and then the adapter with modules_to_save: [{NAME}]")
    if has_value_head(model):
        raise ModelError("this model has a value head already")
    head = ValueHead(base.config.get_text_config().hidden_size, kind).to(next(base.parameters()).device)
    base.add_module(NAME, head)
    # Its own unit of FSDP2: its gradients are reduced also where nothing else of the root is trained.
    base._no_split_modules = {*(base._no_split_modules or ()), ValueHead.__name__}
    return head


def has_value_head(model: nn.Module) -> bool:
    return hasattr(base_model(model), NAME)


def value_head_of(model: nn.Module) -> ValueHead:
    """The head that is trained: under an adapter, the adapter's own copy."""
    if not has_value_head(model):
        raise ModelError("this model has no value head; models.value_head.add_value_head gives it one")
    head: Any = getattr(base_model(model), NAME)
    return head if isinstance(head, ValueHead) else head.modules_to_save[head.active_adapters[0]]


# --- saved heads


def saved_kind(folder: str | Path) -> Kind | None:
    """Of which kind the head is that a saved model, or a saved adapter, has; None where it has none."""
    names = {name.rpartition(f"{NAME}.")[2] for name in _saved(Path(folder))}
    return next((kind for kind, readout in READOUTS.items() if readout in names), None)


def load_value_head(model: nn.Module, folder: str | Path) -> ValueHead | None:
    """Give a model the head that was saved in its folder, where one was. An old copy stays behind: it belongs to the
    run that kept it."""
    from safetensors import safe_open

    kind = saved_kind(folder)
    if kind is None:
        return None
    head, state = add_value_head(model, kind), {}
    for name, file in _saved(Path(folder)).items():
        with safe_open(file, "pt") as tensors:
            state[name.rpartition(f"{NAME}.")[2]] = tensors.get_tensor(name)
    head.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("old.")})
    head.is_new = False
    return head


def match_head(model: nn.Module, adapter: str | Path) -> None:
    """Give a model the place for the head that a saved adapter brings, before the adapter is put on it."""
    kind = saved_kind(adapter)
    if kind is not None and not has_value_head(model):
        add_value_head(model, kind)


def _saved(folder: Path) -> dict[str, Path]:
    """The tensors of a head in a folder of safetensors, each with its file."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = {folder / file for file in json.loads(index.read_bytes())["weight_map"].values()}
    else:
        files = {path for path in (folder / "model.safetensors", folder / "adapter_model.safetensors") if path.exists()}
    for file in sorted(files):
        with safe_open(file, "pt") as tensors:
            found |= {name: file for name in tensors.keys() if f".{NAME}." in f".{name}"}  # noqa: SIM118
    return found


@contextmanager
def expected_by_us() -> Iterator[None]:
    """Inside, transformers' report of tensors it has no place for is left out where only a value head is meant."""

    def says_more(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        rows = [line.strip() for line in text.splitlines() if line.count("|") >= 2][1:]
        return "LOAD REPORT" not in text or not rows or not all(row.startswith(f"{NAME}.") for row in rows)

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(says_more)
    try:
        yield
    finally:
        logger.removeFilter(says_more)


# --- reading values


class ValueTap:
    """A hook on the trunk's output; idle outside `working`. Build it before the model is wrapped.

    `moves_trunk`: whether what is learned from the values may move the trunk; otherwise only the head.
    """

    def __init__(self, model: nn.Module, moves_trunk: bool = True) -> None:
        self.base, self.moves_trunk = base_model(model), moves_trunk
        self.head = value_head_of(model)
        self.score_bt: Tensor | None = None
        self.old_score_bt: Tensor | None = None
        self.state_bth: Tensor | None = None
        """Detached."""
        self._on = False
        self._handle = trunk_of(model).register_forward_hook(self._after)

    def remove(self) -> None:
        self._handle.remove()

    @contextmanager
    def working(self) -> Iterator[ValueTap]:
        """Read the values of one forward."""
        self.score_bt = self.old_score_bt = self.state_bth = None
        self._on = True
        try:
            yield self
        finally:
            self._on = False

    @property
    def value_bt(self) -> Tensor:
        """V of every state of the last forward, with its gradient."""
        assert self.score_bt is not None
        return self.head.value(self.score_bt)

    @torch.compiler.disable
    def _after(self, trunk: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._on:
            state_bth = state_of(output)
            self.state_bth = state_bth.detach()
            read = state_bth if self.moves_trunk else self.state_bth
            self.score_bt, self.old_score_bt = getattr(self.base, NAME)(read)


def read_states(model: nn.Module, inputs: dict[str, Any], tap: ValueTap) -> ValueTap:
    """One forward for its values alone: no token goes through the output head where the model can leave it out."""
    nothing_bt = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    offered = {"logits_to_keep": nothing_bt, "use_cache": False}
    with tap.working():
        model(**inputs, **{name: value for name, value in offered.items() if accepts(tap.base, name)})
    return tap
