"""What `inspect` shows is what a run would train on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curricle.cli import main
from curricle.curriculum.order import Order
from curricle.errors import RecipeError
from curricle.experiments import inspect
from curricle.experiments.material import PlannedLayout, gather, rows_of
from curricle.experiments.resolve import resolve
from curricle.training.batches import OrderedBatches

RECIPE: dict[str, Any] = {
    "name": "look",
    "seed": 3,
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 512}},
    "data": {
        "train": "toy:dialogue#40",
        "eval": "toy:dialogue-eval#10",
        "format": "dialogue",
        "max_length": 512,
        "lookahead": 8,
    },
    "training": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 9},
    "arms": {"packed": {}, "single": {"data": {"packing": "none"}}},
}


def consumed_by_a_run(arm: str, steps: int) -> list[list[str]]:
    """Ids row by row, straight from the batches that a trainer iterates."""
    material = gather(resolve(RECIPE).arms[arm].settings)
    batches = OrderedBatches(material.train, Order(), rows_of(material), PlannedLayout(2, 2, 9, 3))
    micros = [batches.next_batch()["example_ids"] for _ in range(2 * steps)]
    rows = [batches.rows_of_step(step) for step in range(1, steps + 1)]
    flat = [row for step in rows for row in step]
    assert [example for row in flat for example in row] == [example for micro in micros for example in micro]
    return [material.train.ids[row] for row in flat]


@pytest.mark.parametrize("arm", ["packed", "single"])
def test_order_is_what_a_run_consumes(arm: str) -> None:
    shown = inspect.order(RECIPE, rows=6, arm=arm)
    assert [row.examples for row in shown.rows] == consumed_by_a_run(arm, steps=2)[:6]
    assert [row.step for row in shown.rows] == [1, 1, 1, 1, 2, 2]


def test_repeats_are_counted() -> None:
    shown = inspect.order(RECIPE, rows=100, arm="single")
    assert [row.times for row in shown.rows] == [[1]] * 40 + [[2]] * 40 + [[3]] * 20
    assert shown.num_repeats == 60
    assert "(time 3)" in str(shown)


def test_packing_adds_up() -> None:
    shown = inspect.packing(RECIPE, rows=4)
    material = gather(resolve(RECIPE).arms["packed"].settings)
    length = dict(zip(material.train.ids, material.train.lengths.tolist(), strict=True))
    for row in shown.rows:
        assert row.num_tokens == sum(length[name] for name in row.examples) <= 512
        assert row.fill == row.num_tokens / 512
    assert shown.one_pass.documents_per_pass == shown.num_examples == 40
    assert f"fill {shown.one_pass.fill:.3f}" in str(shown)


def test_without_packing_a_row_is_one_example() -> None:
    assert {(len(row.examples), row.fill) for row in inspect.packing(RECIPE, rows=5, arm="single").rows} == {(1, 1.0)}


def test_masks_show_the_targets() -> None:
    shown = inspect.masks(RECIPE, rows=2)
    material = gather(resolve(RECIPE).arms["packed"].settings)
    for example, text in zip(range(2), re.findall("【(.*?)】", shown, re.DOTALL), strict=True):
        tokens, supervised = material.train.example(example)
        assert text == material.tokenizer.decode(tokens[supervised])


def test_data_covers_both_sets() -> None:
    report = inspect.data(RECIPE)
    assert report.train.rows == 40
    assert report.eval is not None
    assert report.eval.rows == 10


def test_an_unknown_arm_gets_a_hint() -> None:
    with pytest.raises(RecipeError, match="did you mean `packed`"):
        inspect.order(RECIPE, arm="pakced")


@pytest.mark.parametrize("what", ["masks", "packing", "order", "data"])
def test_the_command_prints_what_the_function_returns(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curricle.experiments.document import write_document

    recipe = tmp_path / "look.yaml"
    recipe.write_text(write_document(RECIPE), encoding="utf-8")
    assert main(["inspect", what, str(recipe), "--arm", "packed"]) == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(getattr(inspect, what)(RECIPE, arm="packed")))
    assert capsys.readouterr().out == f"{plain}\n"
