"""A model that drafts for itself answers as it does without drafts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from curricle.errors import ModelError
from curricle.generation.choice import Choice, Row
from curricle.generation.config import GenerationConfig
from curricle.generation.decode import decode, drafts
from curricle.generation.speculative import Drafted, cost_of_drafting, in_all
from curricle.models.attention import PACKED
from curricle.models.mtp.configuration import FAMILIES
from curricle.models.mtp.making import add_heads
from generation.drafting import drafting
from generation.reference import STOP_IDS, TIE, gap_at_difference, one_by_one, rows_of, sharpened, some_prompts
from models.families import VOCABULARY
from support import lora

LIMITS = [20, 3, 25, 9, 1, 17, 25, 12, 6, 25, 14]


def answered(
    model: Any, prompts: list[list[int]], limits: list[int], seed: int = 0, **settings: Any
) -> tuple[list[Row], Drafted | None]:
    rows = rows_of(prompts, limits)
    drafted = decode(model, rows, STOP_IDS, GenerationConfig(**{"speculative": True, **settings}), seed)
    return rows, drafted


def assert_same_but_for_ties(model: Any, prompts: list[list[int]], rows: list[Row], wanted: list[list[int]]) -> None:
    triples = zip(prompts, rows, wanted, strict=True)
    gaps = [gap_at_difference(model, prompt, want, row.answer) for prompt, row, want in triples]
    parted = [gap for gap in gaps if gap is not None]
    assert all(gap <= TIE for gap in parted)
    assert len(parted) <= 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_greedy_answers_are_those_of_generate(kind: str) -> None:
    """Families with windows of four tokens among them: a refused draft must not take a place in the window."""
    model = drafting(kind)
    prompts = some_prompts(len(LIMITS))
    wanted = one_by_one(model, prompts, LIMITS)
    for batch_size in (1, 3, 16):
        rows, drafted = answered(model, prompts, LIMITS, batch_size=batch_size)
        assert_same_but_for_ties(model, prompts, rows, wanted)
        assert drafted is not None
        assert 0 < drafted.accepted[-1] < drafted.accepted[0] < drafted.calls < drafted.tokens


@pytest.mark.parametrize("num", [2, 6])
@pytest.mark.parametrize("attention", [PACKED, "eager"])
def test_any_number_of_heads_and_any_attention(num: int, attention: str) -> None:
    model = drafting(num=num, attention=attention)
    prompts, limits = some_prompts(5, longest=80), [150, 90, 150, 2, 60]  # longer than the cache has room at first
    wanted = one_by_one(model, prompts, limits)
    rows, drafted = answered(model, prompts, limits, batch_size=2)
    assert_same_but_for_ties(model, prompts, rows, wanted)
    assert drafted is not None
    assert drafted.num_drafts == num - 1


def test_heads_that_know_nothing_cost_no_answer() -> None:
    model, prompts = drafting(noise=5.0), some_prompts(6)
    rows, drafted = answered(model, prompts, [12] * 6, batch_size=4)
    assert [row.answer for row in rows] == one_by_one(model, prompts, [12] * 6)
    assert drafted is not None
    assert drafted.tokens < 1.2 * drafted.calls


def test_heads_that_are_right_fill_every_pass() -> None:
    """A model that says one token for ever."""
    model = drafting(noise=0.0)
    with torch.no_grad():
        model.model.norm.weight.zero_()
        model.lm_head.weight[20:] = model.lm_head.weight[:1]
    rows, drafted = answered(model, [[30, 31, 32]], [13])
    assert [row.answer for row in rows] == [[0] * 13]
    assert drafted is not None
    assert drafted.about() == {
        "calls": 3,
        "tokens": 12,  # the first comes with the prompt
        "accepted": [3, 3, 3],
        "tokens_per_call": 4.0,
        "acceptance": [1.0, 1.0, 1.0],
    }


def test_a_pass_reads_the_drafts_and_one_token_and_no_other_pass_is_needed() -> None:
    model, shapes = drafting(), list[tuple[int, ...]]()
    model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    prompts = some_prompts(6)
    _, drafted = answered(model, prompts, [20] * 6, batch_size=3)
    assert drafted is not None
    reading, verifying = [s for s in shapes if s[1] != 4], [s for s in shapes if s[1] == 4]
    assert sum(count for count, _ in reading) == 6
    assert drafted.calls <= sum(count for count, _ in verifying) <= 1.5 * drafted.calls


def test_an_answer_ends_where_it_would_without_drafts() -> None:
    """At an end token or a stop of its own, also amid drafts that stood; what lies behind is dropped."""
    model, prompts = drafting(), some_prompts(8)

    def ended(row: Row) -> bool:
        return len(row.answer) >= 3 and sum(row.answer[-3:]) % 4 == 0

    both = []
    for speculative in (True, False):
        rows = rows_of(prompts, [30] * 8)
        for row in rows[::2]:
            row.ends = ended
        seen: list[Row] = []
        decode(model, rows, list(range(3, 12)), GenerationConfig(batch_size=3, speculative=speculative), 0, seen.append)
        assert sorted(row.index for row in seen) == list(range(8))
        both.append([(row.answer, row.finished) for row in rows])
    assert both[0] == both[1]
    assert len({len(answer) % 4 for answer, _ in both[0]}) > 2  # a pass gives up to 4 tokens
    assert {finished for _, finished in both[0]} == {True, False}


@pytest.mark.parametrize("how", [{}, {"top_p": 0.9, "top_k": 30, "repetition_penalty": 1.2}])
def test_drawn_answers_do_not_depend_on_their_batch(how: dict[str, Any]) -> None:
    model, prompts = drafting(), some_prompts(9)
    how = {"temperature": 1.5, **how}
    alone, drafted = answered(model, prompts, [10] * 9, batch_size=1, **how)
    assert drafted is not None
    assert 0 < drafted.accepted[0] < drafted.calls
    for batch_size in (2, 9):
        rows, _ = answered(model, prompts, [10] * 9, batch_size=batch_size, **how)
        assert [row.answer for row in rows] == [row.answer for row in alone]
    other, _ = answered(model, prompts, [10] * 9, seed=1, **how)
    assert [row.answer for row in other] != [row.answer for row in alone]


def test_drawn_answers_are_distributed_as_without_drafts() -> None:
    """The whole loop, and not only what verifies: three tokens behind one prompt, against their exact shares."""
    model, prompt, num = drafting(), some_prompts(2)[1], 3000
    rows = rows_of([prompt] * num, [3] * num)
    config = GenerationConfig(temperature=4.0, top_k=3, batch_size=500, speculative=True)
    drafted = decode(model, rows, [VOCABULARY - 1], config)
    assert drafted is not None
    assert 0.2 < drafted.accepted[0] / drafted.calls < 0.8
    choice = Choice(config)

    def shares(tokens: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return choice.shares(model(input_ids=torch.tensor([tokens])).logits[:, -1], [tokens])[0]

    found = Counter(tuple(row.answer) for row in rows)
    wanted = {
        (a, b, c): float(shares(prompt)[a] * shares([*prompt, a])[b] * shares([*prompt, a, b])[c])
        for a in _likely(shares(prompt))
        for b in _likely(shares([*prompt, a]))
        for c in _likely(shares([*prompt, a, b]))
    }
    assert set(found) <= set(wanted)
    chi_squared = sum((found[key] - num * share) ** 2 / (num * share) for key, share in wanted.items())
    assert len(wanted) == 27
    assert chi_squared < 54.05  # one seed in a thousand has more, of 26 degrees of freedom


def _likely(shares_v: torch.Tensor) -> list[int]:
    return shares_v.nonzero().squeeze(-1).tolist()


def test_a_repetition_penalty_counts_the_drafts_before() -> None:
    model, prompts = drafting(), some_prompts(6)
    wanted = one_by_one(model, prompts, [12] * 6, repetition_penalty=1.3)
    assert wanted != one_by_one(model, prompts, [12] * 6)
    rows, drafted = answered(model, prompts, [12] * 6, batch_size=4, repetition_penalty=1.3)
    assert [row.answer for row in rows] == wanted
    assert drafted is not None
    assert drafted.accepted[0]


def test_an_adapter_is_part_of_what_verifies() -> None:
    base, prompts = drafting(), some_prompts(5)
    plain = one_by_one(base, prompts, [12] * 5)
    model = lora(base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.eval()
    wanted = one_by_one(model, prompts, [12] * 5)
    assert wanted != plain
    rows, drafted = answered(model, prompts, [12] * 5, batch_size=3)
    assert_same_but_for_ties(model, prompts, rows, wanted)
    assert drafted is not None


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    model, prompts = drafting(), some_prompts(11)
    wanted = one_by_one(model, prompts, LIMITS)

    def small(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[0] > 3 and kwargs["attention_mask"].shape[1] > 28:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(small, with_kwargs=True)
    rows, _ = answered(model, prompts, LIMITS, batch_size=8)
    assert_same_but_for_ties(model, prompts, rows, wanted)


def test_who_drafts() -> None:
    plain, sequential = sharpened("llama"), add_heads(sharpened("llama", num_hidden_layers=3), 3, "sequential")
    auto, asked, never = (GenerationConfig(speculative=value) for value in ("auto", True, False))
    assert drafts(drafting(), auto, 1)
    assert drafts(drafting(), asked, 1)
    assert not drafts(drafting(), never, 1)
    assert not drafts(drafting(), GenerationConfig(num_beams=2), 1)
    for model, why in ((plain, "no heads beside the first"), (sequential, "kind: sequential")):
        assert not drafts(model, auto, 1)
        with pytest.raises(ModelError, match=f"generation.speculative is true, but .*{why}.*; set it to auto or false"):
            drafts(model, asked, 1)
    assert drafts(lora(drafting()), auto, 1)
    stretched = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert not drafts(drafting(rope_parameters=stretched), auto, 1)


def test_auto_drafts_where_few_rows_are_answered_at_once() -> None:
    """Of four heads: two rows and their drafts are eight tokens, which a CPU reads in nearly the time of one."""
    model, auto, asked = drafting(), GenerationConfig(), GenerationConfig(speculative=True)
    assert [drafts(model, auto, at_once) for at_once in (1, 2, 3, 16)] == [True, True, False, False]
    assert drafts(model, asked, 16)
    [prompt, *others] = some_prompts(4)
    settings = {"speculative": "auto", "batch_size": 16}
    assert answered(model, [prompt], [9], **settings)[1] is not None
    assert answered(model, [prompt, *others], [9] * 4, **settings)[1] is None
    config, rows = GenerationConfig(), rows_of([prompt], [9])
    assert decode(model, rows, STOP_IDS, config, at_once=4) is None, "one rank's part of four"


def test_auto_goes_on_without_drafts_that_stand_too_seldom() -> None:
    """And the greedy answers stay what they are."""
    guessing, prompts, limits = drafting(noise=3.0), some_prompts(6), [40] * 6
    assert cost_of_drafting(guessing) > 1
    wanted = one_by_one(guessing, prompts, limits)
    rows, tried = answered(guessing, prompts, limits, speculative="auto", batch_size=2)
    assert_same_but_for_ties(guessing, prompts, rows, wanted)
    _, asked = answered(guessing, prompts, limits, batch_size=2)
    assert tried is not None
    assert asked is not None
    assert 64 <= tried.calls < 64 + 2 < asked.calls
    good = drafting(noise=0.0)
    _, stood = answered(good, prompts, limits, speculative="auto", batch_size=2)
    _, all_of_them = answered(good, prompts, limits, batch_size=2)
    assert stood is not None
    assert all_of_them is not None
    assert stood.calls == all_of_them.calls


def test_drawn_answers_are_drafted_to_their_end() -> None:
    """However drafts fare: another way to go on would draw other tokens."""
    guessing, prompts, limits = drafting(noise=3.0), some_prompts(6), [40] * 6
    settings = {"batch_size": 2, "temperature": 0.2}
    rows, drawn = answered(guessing, prompts, limits, speculative="auto", **settings)
    others, asked = answered(guessing, prompts, limits, speculative=True, **settings)
    assert [row.answer for row in rows] == [row.answer for row in others]
    assert drawn == asked
    assert drawn is not None
    assert drawn.calls > 64
    assert drawn.tokens < cost_of_drafting(guessing) * drawn.calls


def test_counts_of_ranks_and_of_earlier_runs_add_up() -> None:
    one, other = Drafted(2, 10, 25, [9, 6]), Drafted(2, 5, 5, [0, 0])
    assert in_all([None, None]) is None
    whole = in_all([one, None, other])
    assert whole is not None
    assert whole["calls"] == 15
    assert whole["tokens_per_call"] == 2.0
    assert whole["acceptance"] == [0.6, 0.4]
    again = in_all([other], before=whole)
    assert again is not None
    assert again["accepted"] == [9, 6]
    assert again["calls"] == 20
