"""What METHODS promises of ROUGE in every way to cut a text, Korean first of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricle.evaluation.rouge import rouge, rouge_pair
from curricle.evaluation.score import Score
from evaluation.summaries import ENGLISH, KOREAN, texts

KOREAN_KINDS = ["eojeol", "morpheme", "character", "syllable-bigram"]
KINDS = [*KOREAN_KINDS, "english"]
IMPLEMENTATIONS = ["google", "pltrdy"]
SENTENCE = dict.fromkeys(KOREAN_KINDS, "나는 오늘 밥을 먹었다") | {"english": "I ate rice today"}


def values(scores: list[Score]) -> dict[str, float]:
    return {score.name: score.value for score in scores}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_identical_is_1(kind: str, implementation: str) -> None:
    text = SENTENCE[kind]
    found = values(rouge([text], [[text]], tokenizer=kind, implementation=implementation))
    total = found.pop("sum")
    assert list(found.values()) == pytest.approx([100] * len(found))
    assert total == pytest.approx(300)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_disjoint_is_0(kind: str, implementation: str) -> None:
    other = "cat dog" if kind == "english" else "고양이"
    found = rouge([SENTENCE[kind]], [[other]], tokenizer=kind, implementation=implementation)
    assert set(values(found).values()) == {0.0}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", ["", " ", "\n", " \n\n "])
def test_an_empty_text_is_0(kind: str, implementation: str, empty: str) -> None:
    full = SENTENCE[kind]
    found = rouge(
        [empty, full, empty, full], [[full], [empty], [empty], [full]], tokenizer=kind, implementation=implementation
    )
    for score in found:
        assert score.per_example is not None
        assert score.per_example[:3].tolist() == [0, 0, 0]
        assert score.per_example[3] > 99


@settings(deadline=None)
@given(st.sampled_from(KINDS), texts(KOREAN) | texts(ENGLISH), texts(KOREAN) | texts(ENGLISH))
def test_swapped_texts_swap_precision_and_recall(kind: str, a: str, b: str) -> None:
    """All but Lsum, which reads its subsequences out of the reference's lines; there it holds for texts of one line."""
    there, back = (rouge_pair(*pair, tokenizer=kind) for pair in ((a, b), (b, a)))
    precision, recall = rouge_pair(a, b, kind, "precision"), rouge_pair(b, a, kind, "recall")
    if "\n" in a + b:
        for each in (there, back, precision, recall):
            del each["rougeLsum"]
    assert there == pytest.approx(back)
    assert precision == pytest.approx(recall)


@settings(deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(IMPLEMENTATIONS),
    texts(KOREAN),
    st.lists(texts(KOREAN), min_size=1, max_size=4),
)
def test_the_mean_over_references_is_at_most_the_best(
    kind: str, implementation: str, prediction: str, references: list[str]
) -> None:
    options: dict[str, Any] = {"tokenizer": kind, "implementation": implementation}
    mean, best = (values(rouge([prediction], [references], multi_ref=how, **options)) for how in ("mean", "max"))
    assert all(mean[name] <= best[name] + 1e-9 for name in best)
    assert all(-1e-9 <= mean[name] <= (300 if name == "sum" else 100) + 1e-9 for name in mean)


@settings(deadline=None)
@given(st.sampled_from(IMPLEMENTATIONS), texts(KOREAN), texts(KOREAN))
def test_one_reference_is_the_plain_figure(implementation: str, prediction: str, reference: str) -> None:
    """However it is asked for, and whether the reference is given once or twice."""
    asked = [
        values(rouge([prediction], [references], multi_ref=how, implementation=implementation))
        for references in ([reference], [reference, reference])
        for how in ("mean", "max")
    ]
    if implementation == "google":
        pair = {name: 100 * value for name, value in rouge_pair(prediction, reference).items()}
        asked.append(pair | {"sum": pair["rouge1"] + pair["rouge2"] + pair["rougeL"]})
    for other in asked[1:]:
        assert other == pytest.approx(asked[0])


@pytest.mark.parametrize("kind", KINDS)
def test_white_space_does_not_count(kind: str) -> None:
    text = SENTENCE[kind]
    spaced = "  " + text.replace(" ", " \t\u3000 ") + "\n"
    assert rouge_pair(spaced, text, kind) == pytest.approx(rouge_pair(text, text, kind))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_case_done_by_hand(implementation: str) -> None:
    found = values(rouge(["나는 밥을 샀다"], [["나는 밥을 먹었다"]], tokenizer="eojeol", implementation=implementation))
    assert found["rouge1"] == pytest.approx(200 / 3)
    assert found["rouge2"] == pytest.approx(50)
    assert found["rougeL"] == pytest.approx(200 / 3)
    assert found["sum"] == pytest.approx(550 / 3)


def test_the_trap_of_english_words() -> None:
    """Under [a-z0-9] Korean vanishes, and speakers' tags alone make two unlike summaries alike."""
    a, b = "#Person1#은 밥을 먹었다", "#Person1#이 학교에 갔다"
    assert rouge_pair(a, b, "english")["rouge1"] == 1
    assert rouge_pair(a, b, "morpheme")["rouge1"] < 1
    assert rouge_pair("나는 갔다", "나는 갔다", "english")["rouge1"] == 0


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.tuples(texts(KOREAN), texts(KOREAN)), min_size=1, max_size=5))
def test_a_set_is_the_mean_of_its_pairs(kind: str, pairs: list[tuple[str, str]]) -> None:
    scores = rouge([a for a, _ in pairs], [[b] for _, b in pairs], tokenizer=kind)
    alone = [rouge_pair(a, b, kind) for a, b in pairs]
    for score in scores[:4]:
        assert score.per_example == pytest.approx(np.array([100 * each[score.name] for each in alone]))
        assert score.value == pytest.approx(score.per_example.mean())
