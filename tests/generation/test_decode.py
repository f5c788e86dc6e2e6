"""Batches that rows leave and join answer as transformers does one prompt at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from curricle.errors import ModelError
from curricle.generation import exchange
from curricle.generation.cache import can_exchange_rows
from curricle.generation.choice import Row
from curricle.generation.config import GenerationConfig
from curricle.generation.decode import decode
from curricle.models.attention import PACKED
from generation.reference import STOP_IDS, TIE, gap_at_difference, one_by_one, rows_of, sharpened, some_prompts
from support import lora

LIMITS = [20, 3, 25, 9, 1, 17, 25, 12, 6, 25, 14]

EXCHANGED = {
    "llama": PACKED,
    "qwen2": PACKED,
    "gemma2": PACKED,
    "gemma3_text": "sdpa",
    "gpt2": "sdpa",
    "gpt_oss": "eager",
    "deepseek_v3": "sdpa",
    "lfm2": "sdpa",
    "jamba": "sdpa",
}
GENERATED = {"mamba": "eager", "bloom": "eager", "phi3": "sdpa", "llama4_text": "sdpa"}


def answered(model: Any, prompts: list[list[int]], limits: list[int], **settings: Any) -> list[Row]:
    rows = rows_of(prompts, limits)
    decode(model, rows, STOP_IDS, GenerationConfig(**settings))
    return rows


def assert_same_but_for_ties(model: Any, prompts: list[list[int]], rows: list[Row], wanted: list[list[int]]) -> None:
    gaps = [
        gap_at_difference(model, prompt, want, row.answer)
        for prompt, row, want in zip(prompts, rows, wanted, strict=True)
    ]
    parted = [gap for gap in gaps if gap is not None]
    assert all(gap <= TIE for gap in parted)
    assert len(parted) <= 1


@pytest.mark.filterwarnings("ignore")  # what transformers' own code for rare families warns of
@pytest.mark.parametrize("kind", [*EXCHANGED, *GENERATED])
def test_greedy_answers_are_those_of_generate(kind: str) -> None:
    model = sharpened(kind, {**EXCHANGED, **GENERATED}[kind])
    assert can_exchange_rows(model) == (kind in EXCHANGED)
    prompts = some_prompts(len(LIMITS))
    wanted = one_by_one(model, prompts, LIMITS)
    assert len({len(answer) for answer in wanted}) > 4
    for batch_size in (1, 3, 16):
        rows = answered(model, prompts, LIMITS, batch_size=batch_size)
        assert_same_but_for_ties(model, prompts, rows, wanted)


def test_long_answers_outgrow_the_room_of_the_cache() -> None:
    model = sharpened("llama")
    prompts, limits = some_prompts(3, longest=80), [150, 90, 150]
    wanted = one_by_one(model, prompts, limits)
    assert max(map(len, wanted)) > 100
    assert_same_but_for_ties(model, prompts, answered(model, prompts, limits, batch_size=2), wanted)


def test_prompts_are_read_in_passes_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts, widths = sharpened("llama"), some_prompts(9), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    monkeypatch.setattr(exchange, "READ_AT_ONCE", 40)
    rows = answered(model, prompts, [4] * 9, batch_size=8)
    read = [(count, width) for count, width in widths if width > 1]
    assert sum(count for count, _ in read) == 9
    assert all(count * width <= 40 or count == 1 for count, width in read)
    assert [row.answer for row in rows] == one_by_one(model, prompts, [4] * 9)


def test_no_place_in_the_batch_stays_empty_while_prompts_wait() -> None:
    """Answers of 24 and of 2 tokens in turn: with fixed batches of four, 24 steps for every four prompts."""
    model, steps = sharpened("llama"), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: steps.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    prompts, limits = [[20 + i] * 5 for i in range(16)], [24, 2] * 8
    rows = rows_of(prompts, limits)
    decode(model, rows, [96], GenerationConfig(batch_size=4))
    made = sum(len(row.answer) for row in rows)
    assert made > 150
    assert sum(count for count, _ in steps) <= 1.15 * made
    assert len(steps) < 24 * 4


def test_an_answer_ends_by_an_end_token_or_by_its_limit() -> None:
    model, seen = sharpened("llama"), []
    prompts = some_prompts(8)
    rows = rows_of(prompts, [15] * 8)
    decode(model, rows, list(range(3, 20)), GenerationConfig(batch_size=3), finished=seen.append)
    assert sorted(row.index for row in seen) == list(range(8))
    assert {row.finished for row in rows} == {True, False}
    for row in rows:
        assert row.tokens[: row.num_prompt] == prompts[row.index]
        assert not set(row.answer) & set(range(3, 20))
        assert row.finished == (len(row.answer) < 15)


def test_the_mode_and_the_random_state_are_left_alone() -> None:
    model = sharpened("llama").train()
    before = torch.get_rng_state()
    answered(model, some_prompts(4), [5] * 4)
    answered(model, some_prompts(4), [5] * 4, temperature=0.7)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_an_adapter_is_part_of_the_model() -> None:
    base = sharpened("llama")
    prompts = some_prompts(5)
    plain = one_by_one(base, prompts, [12] * 5)
    model = lora(base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.eval()
    wanted = one_by_one(model, prompts, [12] * 5)
    assert wanted != plain
    assert_same_but_for_ties(model, prompts, answered(model, prompts, [12] * 5, batch_size=3), wanted)


@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_drawn_answers_do_not_depend_on_their_batch(kind: str) -> None:
    model, prompts = sharpened(kind), some_prompts(9)
    how: dict[str, Any] = {"temperature": 1.5, "top_p": 0.9, "top_k": 30, "repetition_penalty": 1.2}
    alone = [row.answer for row in answered(model, prompts, [10] * 9, batch_size=1, **how)]
    for batch_size in (2, 9):
        assert [row.answer for row in answered(model, prompts, [10] * 9, batch_size=batch_size, **how)] == alone
    rows = rows_of(prompts, [10] * 9)
    decode(model, rows, STOP_IDS, GenerationConfig(**how), seed=1)
    assert [row.answer for row in rows] != alone


@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_a_repetition_penalty_is_that_of_transformers(kind: str) -> None:
    model, prompts = sharpened(kind), some_prompts(6)
    wanted = one_by_one(model, prompts, [12] * 6, repetition_penalty=1.3)
    assert wanted != one_by_one(model, prompts, [12] * 6)
    rows = answered(model, prompts, [12] * 6, batch_size=4, repetition_penalty=1.3)
    assert [row.answer for row in rows] == wanted


def test_beams_are_those_of_transformers() -> None:
    model, prompts = sharpened("llama"), some_prompts(5)
    wanted = one_by_one(model, prompts, [8] * 5, num_beams=3)
    assert wanted != one_by_one(model, prompts, [8] * 5)
    assert [row.answer for row in answered(model, prompts, [8] * 5, batch_size=2, num_beams=3)] == wanted


@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_out_of_memory_halves_the_batch_and_loses_nothing(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, prompts = sharpened(kind), some_prompts(11)
    wanted = one_by_one(model, prompts, LIMITS)

    def small(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"]
        if ids.shape[0] > 3 and kwargs["attention_mask"].shape[1] > 25:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(small, with_kwargs=True)
    rows = answered(model, prompts, LIMITS, batch_size=8)
    assert "answering 4 prompts at once" in capsys.readouterr().err
    assert_same_but_for_ties(model, prompts, rows, wanted)


def test_out_of_memory_with_one_prompt_is_one_line() -> None:
    model = sharpened("llama")

    def none_at_all(module: Any, args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.model.register_forward_pre_hook(none_at_all)
    with pytest.raises(ModelError, match=r"answering 1 prompts at once, the longest of 7 tokens; set a smaller"):
        answered(model, [[20] * 7, [21] * 4], [5, 5])
