"""Controls deal out the same weights, by draws that no layout of batches or ranks can change."""

from __future__ import annotations

import pytest
import torch

from curricle.runtime.seeds import derive_seed
from curricle.weighting import WeightingConfig, build_weighting
from curricle.weighting.controls import RandomMatched, RandomTokens, Shuffled
from curricle.weighting.draws import token_numbers
from curricle.weighting.own_probability import OwnProbability
from curricle.weighting.td_error import TDError
from flat_tables import flat, part

LENGTHS = [5, 1, 9, 3]


def test_shuffled_weights_stay_in_their_document() -> None:
    tokens = flat(LENGTHS)
    plain, _ = OwnProbability()(tokens)
    shuffled, _ = Shuffled(OwnProbability(), seed=1)(tokens)
    assert plain is not None
    assert shuffled is not None
    assert not torch.equal(plain, shuffled)
    for document in range(len(LENGTHS)):
        own = tokens.doc_n == document
        assert torch.equal(plain[own].sort().values, shuffled[own].sort().values)


def test_matched_weights_come_from_all_tokens() -> None:
    tokens = flat([2000, 1000])
    plain, _ = OwnProbability()(tokens)
    drawn, _ = RandomMatched(OwnProbability(), seed=1)(tokens)
    assert plain is not None
    assert drawn is not None
    assert set(drawn.tolist()) <= set(plain.tolist())
    assert drawn.mean().item() == pytest.approx(plain.mean().item(), abs=0.02)
    assert drawn.std().item() == pytest.approx(plain.std().item(), abs=0.02)
    assert abs(torch.corrcoef(torch.stack([plain, drawn]))[0, 1].item()) < 0.05


@pytest.mark.parametrize("control", [Shuffled(TDError(), seed=5), Shuffled(OwnProbability(), seed=5)])
def test_a_document_draws_the_same_in_any_batch(control: Shuffled) -> None:
    tokens = flat(LENGTHS)
    control.step = 3
    together, _ = control(tokens)
    alone, _ = control(part(tokens, tokens.doc_n == 2))
    assert together is not None
    assert alone is not None
    assert torch.equal(together[tokens.doc_n == 2], alone)


def test_draws_differ_by_seed_step_example_and_place() -> None:
    tokens = flat([400, 400])
    first = token_numbers(tokens, 0, 0, "a")
    assert (first >= 0).all()
    assert len(set(first.tolist())) == 800
    for seed, step, name in ((1, 0, "a"), (0, 1, "a"), (0, 0, "b")):
        assert not (token_numbers(tokens, seed, step, name) == first).any()
    assert torch.equal(token_numbers(tokens, 0, 0, "a"), first)


def test_draws_are_even() -> None:
    tokens = flat([20_000])
    for step in range(3):
        unit = token_numbers(tokens, 7, step, "a").double() / 2**63
        assert unit.mean().item() == pytest.approx(0.5, abs=0.01)
        assert torch.histc(unit, 10, 0, 1).min() > 1800
        assert abs(torch.corrcoef(torch.stack([unit[1:], unit[:-1]]))[0, 1].item()) < 0.03


def test_draws_are_those_of_whole_numbers_in_python() -> None:
    """The same on every machine: a resumed run goes by them."""
    rest = (1 << 64) - 1

    def mix(x: int) -> int:  # SplitMix64, as published
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & rest
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & rest
        return x ^ (x >> 31)

    tokens = flat([2, 3])
    begin = derive_seed(42, "weighting", "a", 7)
    pairs = zip(tokens.example_n.tolist(), tokens.position_n.tolist(), strict=True)  # type: ignore[union-attr]
    expected = [
        mix((mix((begin + example * 0x9E3779B97F4A7C15) & rest) + place * 0x2545F4914F6CDD1D) & rest) >> 1
        for example, place in pairs
    ]
    assert token_numbers(tokens, 42, 7, "a").tolist() == expected


def test_a_lot_falls_anew_each_step() -> None:
    weighting, chosen = RandomTokens(ratio=0.5, seed=2), []
    for step in (0, 1, 0):
        weighting.step = step
        weights, _ = weighting(flat([40]))
        assert weights is not None
        chosen.append((weights > 0).tolist())
    assert chosen[0] != chosen[1]
    assert chosen[0] == chosen[2]


def test_a_control_is_known_when_its_weighting_is() -> None:
    assert build_weighting(WeightingConfig(kind="td_error", control="shuffled")).known_beforehand
    assert not build_weighting(WeightingConfig(kind="own_probability", control="random_matched")).known_beforehand
    assert "example_n" in build_weighting(WeightingConfig(kind="own_probability", control="shuffled")).needs
