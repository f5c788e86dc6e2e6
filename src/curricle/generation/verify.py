"""Which drafted tokens stand: the answers of a model that verifies drafts are those it gives without them.

A pass over the last token `a` and the drafts `b c d` of the tokens behind it says what the model itself finds likely
after each of them. Drafts stand up to the first that is refused, and the model's own token comes behind them:

    read        a    b    c    d
    p behind    p0   p1   p2   p3
    draft       b    c    d             judged by p0, p1, p2
    greedy      b    c    x             b and c stand, d does not: 2 accepted, and x, the model's own, is the third

Where tokens are drawn, a draft x that was drawn from q stands with probability min(1, p(x) / q(x)); in place of one
that does not, a token is drawn from what p has above q. What comes out is distributed as p, whatever q is (Leviathan et
al., 2023, arXiv 2211.17192; Chen et al., 2023, arXiv 2302.01318). Both p and q are shares after temperature and top_p.

Suffixes: b row, g draft, t token read (one more than the drafts), v vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def matching(chosen_bt: Tensor, drafts_bg: Tensor) -> Tensor:
    """How many drafts of each row stand where the model always takes the token `chosen`."""
    return (chosen_bt[:, :-1] == drafts_bg).cumprod(-1).sum(-1)


def accepted(p_btv: Tensor, q_bgv: Tensor, drafts_bg: Tensor, draws_bg: Tensor) -> Tensor:
    """How many drafts of each row stand where tokens are drawn. `draws` are uniform, in [0, 1)."""
    at_bg1 = drafts_bg[..., None]
    p_bg, q_bg = p_btv[:, :-1].gather(-1, at_bg1).squeeze(-1), q_bgv.gather(-1, at_bg1).squeeze(-1)
    return (draws_bg * q_bg < p_bg).cumprod(-1).sum(-1)


def behind(p_btv: Tensor, q_bgv: Tensor, accepted_b: Tensor) -> Tensor:
    """The shares by which the token behind the accepted drafts is drawn: where a draft was refused, what p has above q;
    where none was, p."""
    rows_b, num_drafts = torch.arange(len(p_btv), device=p_btv.device), q_bgv.shape[1]
    p_bv = p_btv[rows_b, accepted_b]
    q_bv = q_bgv[rows_b, accepted_b.clamp(max=num_drafts - 1)].masked_fill((accepted_b == num_drafts)[:, None], 0.0)
    above_bv = (p_bv - q_bv).clamp(min=0)
    total_b1 = above_bv.sum(-1, keepdim=True)
    return torch.where(total_b1 > 0, above_bv / total_b1, p_bv)  # 0 only by rounding: then p and q are one


def drawn(shares_bv: Tensor, draws_b: Tensor) -> Tensor:
    """The token of each row at this place, in [0, 1), of its shares laid side by side."""
    ends_bv = shares_bv.cumsum(-1)
    place_b1 = torch.searchsorted(ends_bv, draws_b[:, None] * ends_bv[:, -1:], right=True)
    last_b1 = shares_bv.shape[-1] - 1 - (shares_bv.flip(-1) > 0).int().argmax(-1, keepdim=True)
    return torch.minimum(place_b1, last_b1).squeeze(-1)  # rounding may point past the last that has a share
