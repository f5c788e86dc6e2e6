"""From the cloud's hidden states to a mixture of LoRA experts in each layer of the edge model.

    T_l  [C]   the cloud's hidden state at the meta token of edge layer l
    R_l  [E]   = LayerNorm(f2(SiLU(f1(T_l))))         one number for each expert
    G_l  [E]   = the K largest of R_l, made positive and summing to 1; 0 elsewhere

The experts are shared by all layers. Expert e holds factors A_e, B_e for each of the edge's target layers (gate, up and
down), and layer l adds  scale * sum_e G_l[e] * (x A_e) B_e  to each of them. Where layers of one name differ in width,
each width has experts of its own.

Tensor suffixes: `_p` system prompts, `_l` edge layers, `_e` experts, `_r` rank, `_c` the cloud's width, `_i` and `_o`
the widths in and out of a target layer, `_bt` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..config import LoraGenConfig

Widths = tuple[int, int]
"""In and out of a linear layer."""

SMALLEST = 1e-6
"""What the ratio rule takes in place of a logit that is zero or negative."""


def keep_top_k(logits_e: Tensor, k: int, normalizer: Literal["softmax", "ratio"] = "softmax") -> Tensor:
    """The gates: k of them above zero, summing to 1 over the last dimension."""
    kept_k, place_k = logits_e.topk(k, dim=-1)
    if normalizer == "softmax":
        gates_k = kept_k.softmax(-1)
    else:
        kept_k = kept_k.clamp_min(SMALLEST)
        gates_k = kept_k / kept_k.sum(-1, keepdim=True)
    return torch.zeros_like(logits_e).scatter(-1, place_k, gates_k.to(logits_e.dtype))


def balance_loss(gates: Tensor) -> Tensor:
    """The squared coefficient of variation of the experts' shares: 0 when all carry equally much, and only then.

    A share is an expert's mean gate over prompts and layers. Taken over single gates, the figure could never be 0, as
    most of them are zero by construction, and would push the kept ones together instead of spreading the work.
    """
    shares_e = gates.reshape(-1, gates.shape[-1]).mean(0)
    return shares_e.var(unbiased=False) / shares_e.mean().square()


class LoraGenerator(nn.Module):
    """Meta tokens, router and experts: everything that is trained."""

    def __init__(self, layers: Sequence[Mapping[str, Widths]], cloud_width: int, config: LoraGenConfig) -> None:
        """`layers` says, for each layer of the edge, the widths of its targets by name."""
        super().__init__()
        self.config, self.cloud_width = config, cloud_width
        self.layers = [dict(layer) for layer in layers]
        self.scale = config.alpha / config.rank
        self.meta_lc = nn.Parameter(torch.randn(len(self.layers), cloud_width) * 0.02)
        self.router = nn.Sequential(
            nn.Linear(cloud_width, config.router_hidden),
            nn.SiLU(),
            nn.Linear(config.router_hidden, config.num_experts),
            nn.LayerNorm(config.num_experts),
        )
        widths = {_pool(target, of): of for layer in self.layers for target, of in layer.items()}
        number, rank = config.num_experts, config.rank
        down = {name: _uniform(number, i, rank) for name, (i, _) in widths.items()}
        up = {name: nn.Parameter(torch.zeros(number, rank, o)) for name, (_, o) in widths.items()}
        self.down_eir, self.up_ero = nn.ParameterDict(down), nn.ParameterDict(up)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def gates(self, states_lc: Tensor) -> Tensor:
        """`[..., L, C]` hidden states of the meta tokens to `[..., L, E]` gates."""
        logits_e = self.router(states_lc.to(self.meta_lc.dtype))
        return keep_top_k(logits_e, self.config.top_k, self.config.normalizer)

    def experts(self, layer: int, target: str) -> tuple[Tensor, Tensor]:
        """`[E, I, R]` and `[E, R, O]`, the factors of all experts at one place."""
        name = _pool(target, self.layers[layer][target])
        return self.down_eir[name], self.up_ero[name]

    def branch(self, layer: int, target: str, x_bti: Tensor, gates_bte: Tensor, learns: bool = True) -> Tensor:
        """What is added to the output of one target layer. Each token has gates of its own, so documents of one row may
        belong to different prompts: every expert's narrow product is made once, and weighed token by token. One that
        does not learn has the same values, and hands its gradient to `x_bti` alone."""
        factors = self.experts(layer, target)
        if not learns:
            factors, gates_bte = (factors[0].detach(), factors[1].detach()), gates_bte.detach()
        down_eir, up_ero = (factor.to(x_bti.dtype) for factor in factors)
        number, _, rank = down_eir.shape
        narrow = x_bti @ down_eir.permute(1, 0, 2).flatten(1)
        weighed = narrow.unflatten(-1, (number, rank)) * (gates_bte.to(narrow.dtype) * self.scale)[..., None]
        return weighed.flatten(-2) @ up_ero.flatten(0, 1).to(narrow.dtype)

    def factors(self, layer: int, target: str, gates_e: Tensor) -> tuple[Tensor, Tensor]:
        """`[I, K*R]` and `[K*R, O]` whose product is the whole mixture of one place: the factors of the kept experts
        side by side, gates and scale in the second, so nothing is lost."""
        down_eir, up_ero = self.experts(layer, target)
        kept = gates_e.nonzero().flatten()
        up = up_ero[kept] * (gates_e[kept] * self.scale)[:, None, None]
        return down_eir[kept].permute(1, 0, 2).flatten(1), up.flatten(0, 1)


def _pool(target: str, widths: Widths) -> str:
    """The name of the experts for one kind of target; a parameter's name takes no dot."""
    return f"{target.replace('.', '_')}_{widths[0]}x{widths[1]}"


def _uniform(number: int, width: int, rank: int) -> nn.Parameter:
    """As LoRA begins: random in, zero out, so that the edge starts as it came."""
    bound = 1 / math.sqrt(width)
    return nn.Parameter(torch.empty(number, width, rank).uniform_(-bound, bound))
