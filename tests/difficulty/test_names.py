"""The source's names for difficulty, on two small models of other depth, width and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curricle import DifficultyScorer, MetaTokenExtractor
from curricle.difficulty.calibration import DIALOGUES
from curricle.errors import DataError, ModelError
from difficulty.nano_pair import WORDS, save_model, save_pair

TURNS = (["the cat sits", "the dog sings"], "and then a bird runs")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    cloud, edge = save_pair(tmp_path_factory.mktemp("pair"))
    return str(cloud), str(edge)


def test_unlike_models_are_fitted_to_a_built_in_text_which_is_said(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    extractor = MetaTokenExtractor(*pair, "Analyze the dialogue.", use_cpu=True)
    cloud, edge = extractor.extract_meta_tokens(*TURNS)
    assert (cloud.shape, edge.shape) == ((5, 48), (3, 32))
    found = extractor.compute_layer_differences(cloud, edge, metric="l2")
    assert f"{len(DIALOGUES)} built-in dialogues" in capsys.readouterr().err
    assert list(found) == [0, 1, 2]
    assert all(0 < one < 2 for one in found.values())  # two vectors of length 1
    assert extractor.compute_layer_differences(cloud, edge, metric="l2") == found
    assert "built-in" not in capsys.readouterr().err
    bytes_found = extractor.compute_layer_differences(cloud, edge, metric="kl_bytes")
    assert all(one > 0 for one in bytes_found.values())
    with pytest.raises(ModelError, match="other vocabularies"):
        extractor.compute_layer_differences(cloud, edge, metric="kl")
    with pytest.raises(DataError, match="did you mean `cosine`"):
        extractor.compute_layer_differences(cloud, edge, metric="cosin")


def test_a_fit_of_ones_own_is_taken(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    extractor = MetaTokenExtractor(*pair, use_cpu=True, space="ridge")
    extractor.fit([[f"{a} {b}", b] for a in WORDS[:5] for b in WORDS[:5]])
    found = extractor.compute_layer_differences(*extractor.extract_meta_tokens(*TURNS))
    assert "built-in" not in capsys.readouterr().err
    assert np.isfinite(list(found.values())).all()
    with pytest.raises(DataError, match="too few"):
        extractor.fit([["a"]])


@pytest.mark.parametrize(
    ("metric", "space"),
    [("l2", None), ("cosine", None), ("l2", "rsa"), ("cosine", "rsa"), ("kl", None), ("kl_bytes", None)],
)
def test_a_model_does_not_differ_from_itself(pair: tuple[str, str], metric: Any, space: Any) -> None:
    extractor = MetaTokenExtractor(pair[1], pair[1], use_cpu=True, space=space)
    found = extractor.compute_layer_differences(*extractor.extract_meta_tokens(*TURNS), metric=metric)
    assert max(found.values()) < 1e-3


def test_tokens_are_the_states_of_the_prompts_last_token(tmp_path: Path) -> None:
    """The slow way: the model's own hidden states of what its chat template writes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = save_model(tmp_path / "edge", "qwen2", 1, WORDS * 4, num_hidden_layers=3, hidden_size=32)
    extractor = MetaTokenExtractor(str(folder), str(folder), "Read.", use_cpu=True)
    ours, _ = extractor.extract_meta_tokens(*TURNS)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "system", "content": "Read."}, {"role": "user", "content": "\n".join([*TURNS[0], TURNS[1]])}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    for layer in (1, 2):  # the last of transformers' has gone through the final norm
        assert torch.allclose(ours[layer - 1], states[layer][0, -1], atol=1e-5)


def test_settings_are_checked(pair: tuple[str, str]) -> None:
    with pytest.raises(ModelError, match="no setting `pol`"):
        MetaTokenExtractor(*pair, use_cpu=True, pol="mean")
    with pytest.raises(ModelError, match="`pool`"):
        MetaTokenExtractor(*pair, use_cpu=True, pool="first")


def test_a_scorer_without_fit_gives_raw_scores() -> None:
    scorer = DifficultyScorer(num_layers=4, top_k=2)
    found = scorer.compute_difficulty_scores({0: 1.0, 1: 4.0, 2: 2.0, 3: 3.0})
    assert found == pytest.approx({"mean": 2.5, "max": 4.0, "topk_mean": 3.5, "weighted_mean": 2.7})


def test_a_fitted_scorer_puts_layers_on_one_scale() -> None:
    many = [{0: 1.0, 1: 100.0}, {0: 3.0, 1: 300.0}]
    scorer = DifficultyScorer(num_layers=2, top_k=1).fit(many)
    assert scorer.compute_difficulty_scores(many[0])["max"] == pytest.approx(-1.0)
    assert scorer.compute_difficulty_scores({0: 2.0, 1: 300.0}) == pytest.approx(
        {"mean": 0.5, "max": 1.0, "topk_mean": 1.0, "weighted_mean": 2 / 3}
    )


def test_another_number_of_layers_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    scorer = DifficultyScorer(num_layers=32)
    assert scorer.compute_difficulty_scores({0: 1.0, 1: 3.0})["mean"] == 2.0
    assert "num_layers is 32, and differences of 2 layers are given" in capsys.readouterr().err
    with pytest.raises(DataError, match="both are 1 or more"):
        DifficultyScorer(num_layers=0)
