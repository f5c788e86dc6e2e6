"""A reference model reads the training rows once; one with other tokens is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

import curricle
from curricle.errors import ModelError, RecipeError
from curricle.experiments.material import Material, gather
from curricle.experiments.plan import plan_experiment
from curricle.experiments.references import check_reference, reference_losses
from curricle.experiments.resolve import resolve
from curricle.losses import logit_losses

pytestmark = pytest.mark.usefixtures("libraries")

DATA = {"train": "toy:dialogue#12", "format": "dialogue", "max_length": 600}
SHAPE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that a run trained, with the tokenizer of these rows."""
    recipe = {
        "name": "reference",
        "model": {"name_or_path": "nano:llama", "shape": SHAPE},
        "data": DATA,
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "save_strategy": "no"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        curricle.run(recipe)
        return Path.cwd() / "runs" / "reference"


def recipe(model: Path, reference: str | Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "rho",
        "model": {"name_or_path": str(model)},
        "data": DATA,
        "weighting": {"kind": "reference_excess", "reference": str(reference), "ratio": 0.6, **more},
        "training": {
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "logging_steps": 1,
        },
    }


def material(model: Path, reference: str | Path) -> Material:
    return gather(resolve(recipe(model, reference)).base)


def model_of(run: Path) -> Path:
    return next(run.glob("**/model/config.json")).parent


def test_a_pass_over_the_table_and_then_the_cache(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = material(model_of(saved), saved)
    found = reference_losses(made, 0, tmp_path)
    assert found is not None
    assert "once for all runs" in capsys.readouterr().err
    again = reference_losses(made, 1, tmp_path)
    assert again is not None
    np.testing.assert_array_equal(found.loss_t, again.loss_t)
    assert "once for all runs" not in capsys.readouterr().err
    np.testing.assert_array_equal(np.isfinite(found.loss_t), made.train.supervised)

    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_of(saved))
    tokens, learned = (torch.from_numpy(np.array(part)) for part in made.train.example(3))
    with torch.no_grad():
        expected = logit_losses(model(tokens.long()[None]).logits[0, :-1], tokens.long()[1:])
    own = found.loss_t[made.train.offsets[3] + 1 : made.train.offsets[4]][learned[1:].numpy()]
    np.testing.assert_allclose(own, expected[learned[1:]].numpy(), rtol=2e-4, atol=2e-4)


def test_a_reference_with_other_tokens_is_refused_before_training(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = material(model_of(saved), saved).tokenizer
    other.add_tokens(["another"])
    torch.manual_seed(0)
    (tmp_path / "other").mkdir()
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"weighting.reference .*other has another tokenizer, of 301 tokens"):
        curricle.run(recipe(model_of(saved), tmp_path / "other"))


def test_a_reference_that_is_not_there_is_said_by_its_own_key(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"^weighting\.reference is `.*none`, and there is no such folder"):
        check_reference(material(model_of(saved), saved / "none"))


def test_a_plan_sees_that_the_reference_is_not_there(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"^weighting\.reference is `.*none`, and there is no such folder"):
        plan_experiment(resolve(recipe(model_of(saved), saved / "none")))


def test_a_reference_that_holds_no_tokenizer_is_said_by_its_own_key(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"^weighting\.reference is .*empty: .*empty holds no tokenizer"):
        check_reference(material(model_of(saved), tmp_path / "empty"))


def test_a_nano_model_is_no_reference(saved: Path) -> None:
    with pytest.raises(ModelError, match="nano:llama, random numbers"):
        check_reference(material(model_of(saved), "nano:llama"))


def test_a_run_learns_its_share_and_is_charged_for_the_pass(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = curricle.run(recipe(model_of(saved), saved))
    lines = next(tmp_path.glob("runs/rho/**/metrics.jsonl")).read_text().splitlines()
    first = orjson.loads(lines[0])
    assert abs(first["excess_loss"]) < 1e-3, "at first the model is its own reference"
    assert 0.6 <= first["weight_selected"] < 0.62
    assert result.runs[0].results["label_flops"] > 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("td_error", "weighting.kind.*set `critic: {}`"),
        ("correct_only", "weighting.kind.*`data.reward_field`"),
        ("column", "weighting.kind.*`data.weight_field`"),
    ],
)
def test_a_weighting_whose_ground_is_not_named_is_refused_with_the_recipe(kind: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolve({"model": {"name_or_path": "nano:llama"}, "data": DATA, "weighting": {"kind": kind}})
