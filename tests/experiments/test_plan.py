"""What `--plan` foretells, against what a run then draws and what a model holds."""

from __future__ import annotations

from typing import Any

import pytest

from curricle.curriculum.order import Order
from curricle.experiments import plan
from curricle.experiments.material import gather, layout_of, rows_of
from curricle.experiments.resolve import resolve
from curricle.training.batches import OrderedBatches

RECIPE: dict[str, Any] = {
    "name": "foretold",
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
    },
    "data": {
        "train": [{"path": "toy:dialogue#20"}, {"path": "toy:dialogue-eval#10", "weight": 0.5}],
        "format": "dialogue",
        "max_length": 512,
        "packing": "none",
    },
    "training": {"per_device_train_batch_size": 5, "eval_strategy": "no"},
}


def recipe(**changes: Any) -> dict[str, Any]:
    return {**RECIPE, **{key: {**RECIPE.get(key, {}), **value} for key, value in changes.items()}}


@pytest.mark.parametrize("weight", [0.5, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_repeats_are_those_of_the_run(weight: float, epochs: int) -> None:
    sources = [RECIPE["data"]["train"][0], {"path": "toy:dialogue-eval#10", "weight": weight}]
    training = {"num_train_epochs": epochs, "per_device_train_batch_size": 1}
    experiment = resolve(recipe(data={"train": sources}, training=training))
    [planned] = plan.plan_experiment(experiment).arms
    material = gather(experiment.arms["base"].settings)
    batches = OrderedBatches(material.train, Order(), rows_of(material), layout_of(material, experiment.seeds[0]))
    for _ in range(planned.row["steps"]):
        batches.next_batch()
        batches.consumed()
    assert planned.row["repeats"] == batches.progress()["repeats"]
    assert planned.row["epochs"] == pytest.approx(batches.progress()["epoch"]) == epochs


def memory(**changes: Any) -> Any:
    [planned] = plan.plan_experiment(resolve(recipe(**changes))).arms
    return planned.memory


def test_activations_are_counted_in_the_precision_that_is_trained_in(monkeypatch: pytest.MonkeyPatch) -> None:
    full = memory(training={"bf16": False})
    assert memory(training={"bf16": True}).activations * 2 == full.activations
    assert memory(training={"fp16": True}).activations * 2 == full.activations
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    assert plan._memory(gather(resolve(RECIPE).arms["base"].settings), 1.0).activations * 2 == full.activations


def test_shards_are_counted_where_fsdp_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory()
    monkeypatch.setattr(plan, "world_size", lambda: 4)
    shared = memory(distributed={"enabled": True, "fsdp": {}})
    assert shared.parameters * 4 == pytest.approx(whole.parameters, abs=4)
    assert shared.optimizer * 4 == pytest.approx(whole.optimizer, abs=4)
    assert shared.activations == whole.activations
    assert memory(distributed={"enabled": True}) == whole


def test_a_models_shape_tells_its_linear_layers_and_an_adapters_factors() -> None:
    settings = resolve(recipe(model={"adapter": {"lora_r": 2}})).arms["base"].settings
    shape = plan.model_shape(gather(settings))
    whole = plan.model_shape(gather(resolve(RECIPE).arms["base"].settings))
    assert (shape.num_parameters, shape.num_linear) == (whole.num_parameters, whole.num_linear)
    assert (whole.num_added, whole.num_trainable) == (0, whole.num_parameters)
    assert shape.num_added == shape.num_trainable > 0
    norms_and_embeddings = whole.num_parameters - whole.num_linear
    assert norms_and_embeddings >= whole.vocab * whole.hidden
