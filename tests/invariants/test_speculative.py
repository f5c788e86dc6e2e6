"""METHODS 6.3, by exact enumeration: the code that verifies is run once for every outcome that its random numbers can
have, each weighed by the share of [0, 1) that leads to it. Nothing is sampled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from curricle.generation.choice import Choice
from curricle.generation.config import GenerationConfig
from curricle.generation.verify import accepted, behind, drawn, matching

VOCABULARY = 6


def distributions(*shape: int, seed: int = 0, zeros: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(*shape, VOCABULARY, dtype=torch.float64, generator=generator)
    if zeros:
        logits[torch.rand(logits.shape, generator=generator) < 0.3] = -torch.inf
        logits[..., seed % VOCABULARY] = 0.0
    return logits.softmax(-1)


def pieces(borders: list[float]) -> list[tuple[float, float]]:
    """[0, 1) cut at these borders: the middle of each piece, and its width."""
    ends = sorted({0.0, 1.0, *(border for border in borders if 0 < border < 1)})
    return [((a + b) / 2, b - a) for a, b in pairwise(ends)]


def outcomes(p_tv: Tensor, q_gv: Tensor, drafts: tuple[int, ...]) -> Iterator[tuple[list[int], float]]:
    """What a pass may go on with when these are the drafts, and how likely each is."""
    drafts_bg, p_btv, q_bgv = torch.tensor([drafts]), p_tv[None], q_gv[None]
    ratios = [float(p_tv[place, x] / q_gv[place, x]) for place, x in enumerate(drafts)]
    for chosen in product(*(pieces([ratio]) for ratio in ratios)):
        draws_bg = torch.tensor([[middle for middle, _ in chosen]], dtype=torch.float64)
        stood_b = accepted(p_btv, q_bgv, drafts_bg, draws_bg)
        shares_bv = behind(p_btv, q_bgv, stood_b)
        weight = torch.tensor([width for _, width in chosen], dtype=torch.float64).prod().item()
        for middle, width in pieces(shares_bv[0].cumsum(-1).tolist()):
            own = int(drawn(shares_bv, torch.tensor([middle], dtype=torch.float64)))
            yield [*drafts[: int(stood_b)], own], weight * width


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_token_is_distributed_as_p(seed: int, zeros: bool) -> None:
    p_tv, q_gv = distributions(2, seed=seed, zeros=zeros), distributions(1, seed=seed + 10, zeros=zeros)
    found, stood = torch.zeros(VOCABULARY, dtype=torch.float64), 0.0
    for draft in range(VOCABULARY):
        share = float(q_gv[0, draft])
        if not share:
            continue  # it is never drafted
        for run, weight in outcomes(p_tv, q_gv, (draft,)):
            assert 1 <= len(run) <= 2
            found[run[0]] += share * weight
            stood += share * weight * (len(run) == 2)
    beta = float(torch.minimum(p_tv[0], q_gv[0]).sum())
    assert (found - p_tv[0]).abs().max() < 1e-12
    assert abs(stood - beta) < 1e-12
    assert abs(beta - (1 - 0.5 * float((p_tv[0] - q_gv[0]).abs().sum()))) < 1e-12


def test_what_is_left_is_what_p_has_above_q() -> None:
    p_tv, q_gv = distributions(2, seed=3), distributions(1, seed=4)
    above_v = (p_tv[0] - q_gv[0]).clamp(min=0)
    beta = torch.minimum(p_tv[0], q_gv[0]).sum()
    assert abs(float(above_v.sum() - (1 - beta))) < 1e-12
    found_bv = behind(p_tv[None], q_gv[None], torch.tensor([0]))
    assert (found_bv[0] * (1 - beta) - above_v).abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_continuation_is_distributed_as_p(seed: int) -> None:
    """Two drafts made without knowledge of each other, as heads make them; what p says depends on all before. Three
    tokens, taken from passes until there are three, are as likely as p makes them."""
    first_v, second_vv = distributions(seed=seed), distributions(VOCABULARY, seed=seed + 20)
    third_vvv = distributions(VOCABULARY, VOCABULARY, seed=seed + 40)
    q_gv = distributions(2, seed=seed + 60)
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for drafts in product(range(VOCABULARY), repeat=2):
        p_tv = torch.stack([first_v, second_vv[drafts[0]], third_vvv[drafts]])
        share = float(q_gv[0, drafts[0]] * q_gv[1, drafts[1]])
        for run, weight in outcomes(p_tv, q_gv, drafts):
            found[tuple(run)] += share * weight
    whole = torch.zeros(VOCABULARY, VOCABULARY, VOCABULARY, dtype=torch.float64)
    for run, weight in found.items():  # what a pass does not give, later ones draw from p
        if len(run) == 3:
            whole[run] += weight
        elif len(run) == 2:
            whole[run] += weight * third_vvv[run]
        else:
            whole[run] += weight * second_vv[run][:, None] * third_vvv[run]
    wanted = first_v[:, None, None] * second_vv[:, :, None] * third_vvv
    assert (whole - wanted).abs().max() < 1e-12


def test_drafts_drawn_from_p_itself_all_stand() -> None:
    p_tv = distributions(4, seed=1)
    draws = torch.tensor([[0.0] * 3, [0.5] * 3, [1 - 2**-53] * 3], dtype=torch.float64)
    for drafts in product(range(VOCABULARY), repeat=3):
        stood_b = accepted(p_tv.expand(3, -1, -1), p_tv[:3].expand(3, -1, -1), torch.tensor([drafts] * 3), draws)
        assert stood_b.tolist() == [3, 3, 3]
    assert torch.equal(behind(p_tv[None], p_tv[None, :3], torch.tensor([3]))[0], p_tv[3])


@pytest.mark.parametrize(
    ("acceptance", "wanted"),
    [(0.8, [1.8, 2.44, 2.952, 3.3616]), (0.9, [1.9, 2.71, 3.439, 4.0951])],
)
def test_tokens_a_call(acceptance: float, wanted: list[float]) -> None:
    """(1 - a^(g + 1)) / (1 - a), with p and q of two tokens that have the share `a` in common."""
    p_v = torch.tensor([1.0, 0.0], dtype=torch.float64)
    q_v = torch.tensor([acceptance, 1 - acceptance], dtype=torch.float64)
    for num_drafts, tokens in enumerate(wanted, start=1):
        p_tv, q_gv, found = p_v.expand(num_drafts + 1, -1), q_v.expand(num_drafts, -1), 0.0
        for drafts in product(range(2), repeat=num_drafts):
            share = float(q_v[list(drafts)].prod())
            found += share * sum(weight * len(run) for run, weight in outcomes(p_tv, q_gv, drafts))
        assert abs(found - tokens) < 1e-12
        assert abs(found - (1 - acceptance ** (num_drafts + 1)) / (1 - acceptance)) < 1e-12


@pytest.mark.parametrize("settings", [{"temperature": 0.7}, {"temperature": 1.3, "top_p": 0.6}, {"top_k": 2}])
def test_temperature_and_cuts_shape_p_and_q_alike(settings: dict[str, float]) -> None:
    """The same function makes both. What it makes is a distribution that only tokens among the likeliest have a part
    in, and verifying with it gives that distribution, not the uncut one."""
    choice = Choice(GenerationConfig(**{"temperature": 1.0, **settings}))
    uncut = distributions(3, seed=8)
    p_tv, q_gv = (choice.shares(shares.log(), []).double() for shares in (uncut[:2], uncut[2:]))
    found = torch.zeros(VOCABULARY, dtype=torch.float64)
    for draft in range(VOCABULARY):
        if q_gv[0, draft]:
            for run, weight in outcomes(p_tv, q_gv, (draft,)):
                found[run[0]] += float(q_gv[0, draft]) * weight
    assert (found - p_tv[0]).abs().max() < 1e-7  # shares are made in float32
    assert (found - uncut[0]).abs().max() > 1e-2


def test_greedy_drafts_stand_up_to_the_first_other() -> None:
    chosen = torch.tensor([[4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7]])
    drafts = torch.tensor([[4, 5, 6], [4, 5, 0], [4, 0, 6], [0, 5, 6]])
    assert matching(chosen, drafts).tolist() == [3, 2, 1, 0]
