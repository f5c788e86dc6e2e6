"""Metrics of answers while a model trains: on the same first rows every time, and only where there is something to
compare with."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.data.config import DataConfig
from curricle.data.prompts import Prompts, make_prompts
from curricle.data.schema import Example, Where
from curricle.errors import RecipeError
from curricle.evaluation.config import Chrf, ForeignScript, Rouge
from curricle.evaluation.measure import measure_texts
from curricle.evaluation.selection import watch_generation
from curricle.generation.answers import answer
from curricle.generation.config import GenerationConfig
from curricle.models.nano import train_tokenizer
from support import model

TOKENIZER = train_tokenizer(["a b c d e f g h i j"], 300)
CONFIG = GenerationConfig(batch_size=4)


def prompts(num: int, references: tuple[str, ...] = ("c d", "e")) -> Prompts:
    rows = [
        Example("plain", f"{i:016d}", Where("dev.jsonl", i + 1), prompt="abcdefghij"[i % 7 :], references=references)
        for i in range(num)
    ]
    return make_prompts(rows, TOKENIZER, DataConfig(train="dev.jsonl"), 8)


def nano(**shape: Any) -> Any:
    return model("llama", vocab_size=len(TOKENIZER), **shape)


def test_each_entry_is_measured_on_its_first_rows() -> None:
    entries = [
        Rouge(metric="rouge", during_training=3),
        ForeignScript(metric="foreign_script", name="hangul", during_training=7),
    ]
    trained = nano().train()
    figures = watch_generation(prompts(12), TOKENIZER, CONFIG, entries)(trained)
    assert trained.training
    answers = answer(trained, TOKENIZER, prompts(12), CONFIG)
    wanted: dict[str, float] = {}
    for entry, num in zip(entries, (3, 7), strict=True):
        texts, references = [a.prediction for a in answers[:num]], [a.references for a in answers[:num]]
        wanted |= measure_texts([entry], texts, references, [a.id for a in answers[:num]]).metrics()
    assert figures == wanted
    assert "rouge.sum" in figures
    assert "hangul.samples" in figures


def test_a_better_model_has_the_better_figure() -> None:
    """References that are the model's own answers give the full mark."""
    made, asked = nano(), prompts(5)
    answers = answer(made, TOKENIZER, asked, CONFIG)
    rows = [prompt.example for prompt in asked]
    own = [
        Example("plain", r.id, r.where, prompt=r.prompt, references=(a.prediction,))
        for r, a in zip(rows, answers, strict=True)
    ]
    right = make_prompts(own, TOKENIZER, DataConfig(train="dev.jsonl"), 8)
    chrf = [Chrf(metric="chrf", during_training=5)]
    assert watch_generation(right, TOKENIZER, CONFIG, chrf)(made)["chrf"] == pytest.approx(100)
    assert watch_generation(asked, TOKENIZER, CONFIG, chrf)(made)["chrf"] < 100


def test_rows_without_references_cannot_choose() -> None:
    with pytest.raises(RecipeError, match=r"the first 4 rows of `data\.eval` have none"):
        watch_generation(prompts(9, ()), TOKENIZER, CONFIG, [Chrf(metric="chrf", during_training=4)])
