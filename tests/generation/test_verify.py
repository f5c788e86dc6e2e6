"""The small functions at their edges; that what they do is right is tests/invariants/test_speculative.py."""

from __future__ import annotations

import torch

from curricle.generation.verify import accepted, behind, drawn


def test_no_draw_gives_a_token_without_a_share() -> None:
    shares = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    wanted = {0.0: 1, 0.2499: 1, 0.25: 3, 0.9999: 3, 1 - 2**-53: 3}
    for dtype in (torch.float32, torch.float64):
        for draw, token in wanted.items():
            assert int(drawn(shares.to(dtype), torch.tensor([draw], dtype=dtype))) == token


def test_a_draft_without_a_share_of_p_never_stands() -> None:
    p = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
    q = torch.tensor([[[0.5, 0.5]]])
    for draw in (0.0, 0.9):
        assert accepted(p, q, torch.tensor([[0]]), torch.tensor([[draw]])).tolist() == [0]


def test_rows_are_judged_each_for_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(5, 4, 9, generator=generator).softmax(-1), torch.rand(5, 3, 9, generator=generator).softmax(-1)
    drafts, draws = torch.randint(0, 9, (5, 3), generator=generator), torch.rand(5, 3, generator=generator)
    together = accepted(p, q, drafts, draws)
    assert len(set(together.tolist())) > 1
    left = behind(p, q, together)
    assert torch.allclose(left.sum(-1), torch.ones(5))
    for row in range(5):
        one = slice(row, row + 1)
        assert accepted(p[one], q[one], drafts[one], draws[one]).tolist() == together[one].tolist()
        assert torch.equal(behind(p[one], q[one], together[one]), left[one])


def test_where_rounding_leaves_nothing_p_is_drawn_from() -> None:
    p = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    assert torch.equal(behind(p, p[:, :1], torch.tensor([0])), p[:, 0])
