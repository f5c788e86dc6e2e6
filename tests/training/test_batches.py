"""Micro batches: what a step takes, what is told about it, the plan, evaluation, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from curricle.curriculum.order import Ids, Mask, Order
from curricle.data.rows import Rows, evaluation_batches
from curricle.data.table import TokenTable
from curricle.errors import DataError, RunError
from curricle.training.batches import OrderedBatches, as_loader, plan_steps


@dataclass
class Layout:
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    world_size: int = 1
    process_index: int = 0
    max_steps: int = 10
    seed: int = 0


def make_table(num: int = 40, seed: int = 0, longest: int = 12) -> TokenTable:
    rng = np.random.default_rng(seed)
    input_ids = [rng.integers(1, 100, rng.integers(2, longest + 1)).tolist() for _ in range(num)]
    return TokenTable.from_lists(input_ids, input_ids, ids=[f"{i:016x}" for i in range(num)])


def take(batches: OrderedBatches, num: int) -> list[dict]:
    taken = []
    for _ in range(num):
        taken.append(batches.next_batch())
        batches.consumed()
    return taken


def examples(batches: list[dict]) -> Counter[int]:
    return Counter(example for batch in batches for example in batch["example_ids"])


ROWS = Rows(max_length=16, lookahead=8)


def test_training_arguments_are_a_layout(tmp_path) -> None:
    from transformers import TrainingArguments

    args = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=2, gradient_accumulation_steps=3, max_steps=4, seed=5, use_cpu=True
    )
    batches = OrderedBatches(make_table(), Order(), ROWS, args)
    same = OrderedBatches(make_table(), Order(), ROWS, Layout(2, 3, max_steps=4, seed=5))
    assert batches.rows_per_step == same.rows_per_step == 6
    assert [b["example_ids"] for b in take(batches, 5)] == [b["example_ids"] for b in take(same, 5)]


def test_the_loader_passes_batches_through_and_leaves_the_global_generator_alone() -> None:
    batches = OrderedBatches(make_table(), Order(), ROWS, Layout())
    reference = OrderedBatches(make_table(), Order(), ROWS, Layout())
    before = torch.get_rng_state()
    loaded = iter(as_loader(batches))
    for _ in range(3):
        got, expected = next(loaded), reference.next_batch()
        assert got.keys() == expected.keys()
        assert got["doc_lens"] == expected["doc_lens"]
        assert torch.equal(got["input_ids"], expected["input_ids"])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_is_asked_with_the_progress_of_the_step() -> None:
    class Recorder(Order):
        def __init__(self) -> None:
            self.asked: list[float] = []

        def admitted(self, progress: float) -> None:
            self.asked.append(progress)

    order = Recorder()
    take(OrderedBatches(make_table(400), order, ROWS, Layout(gradient_accumulation_steps=2, max_steps=4)), 2 * 5)
    assert order.asked == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_examples_admitted_while_a_pass_runs_out_still_join_it() -> None:
    class Grows(Order):
        def admitted(self, progress: float) -> Mask:
            return np.arange(10) < (4 if progress == 0 else 10)

    table = TokenTable.from_lists([[1] * 8] * 10, [[1] * 8] * 10)
    batches = OrderedBatches(table, Grows(), Rows(max_length=16, lookahead=4), Layout())
    counts = examples(take(batches, 1))
    assert batches.state_dict()["stream"]["num_draws"] == 4
    counts += examples(take(batches, 1))
    assert batches.state_dict()["stream"]["num_draws"] == 6
    assert counts + examples(take(batches, 3)) == dict.fromkeys(range(10), 1)


def test_progress_counts_what_was_trained_on() -> None:
    table = make_table(10, longest=8)
    batches = OrderedBatches(table, Order(), Rows(max_length=16, lookahead=4), Layout(gradient_accumulation_steps=2))
    trained: Counter[int] = Counter()
    ahead = batches.next_batch()
    for micro in range(12):
        batch, ahead = ahead, batches.next_batch()  # one is drawn ahead, and not trained on
        batches.consumed()
        trained.update(batch["example_ids"])
        if micro % 2:
            told = batches.progress()
            step = batches.rows_of_step(micro // 2 + 1)
            assert told["epoch"] == pytest.approx(trained.total() / 10)
            assert told["fill"] == pytest.approx(sum(table.lengths[row].sum() for row in step) / (2 * 16))
            assert 0 <= told["draws"] - trained.total() <= 4  # the window
            assert told["repeats"] == sum(times - 1 for times in trained.values())
            assert told["passes"] == (told["draws"] - 1) // 10


def test_source_weights_shape_a_pass() -> None:
    table = make_table(10)
    table.sources[5:] = 1
    rows = Rows(max_length=16, lookahead=1, packing="none", source_weights=(1.0, 3.0))
    batches = OrderedBatches(table, Order(), rows, Layout())
    drawn = examples(take(batches, 20))
    assert drawn == {**dict.fromkeys(range(5), 1), **dict.fromkeys(range(5, 10), 3)}


def test_without_packing_a_row_is_one_padded_example() -> None:
    table = make_table()
    batches = OrderedBatches(table, Order(), Rows(max_length=16, packing="none", pad_id=0), Layout(4))
    seen = []
    for _ in range(10):
        [batch] = take(batches, 1)
        assert batch["input_ids"].shape == (4, table.lengths[batch["example_ids"]].max())
        seen += batch["example_ids"]
        told = batches.progress()
        assert told["fill"] == pytest.approx(batch["attention_mask"].float().mean().item())
    assert sorted(seen) == list(range(40))


def test_an_example_longer_than_a_row_is_named() -> None:
    table = TokenTable.from_lists([[1, 2], list(range(20))], [[1, 2], list(range(20))], ids=["short", "long"])
    for make in (
        lambda: OrderedBatches(table, Order(), ROWS, Layout()),
        lambda: plan_steps(table, ROWS, Layout(), 1.0),
        lambda: evaluation_batches(table, ROWS),
    ):
        with pytest.raises(DataError, match="example `long` has 20 tokens and a row holds 16"):
            make()


def test_resume_under_other_batches_is_refused() -> None:
    state = take_state(Layout(), ROWS, micros=3)
    for layout, rows, told in (
        (Layout(2), ROWS, "rows_per_step was 1 and is 2"),
        (Layout(), Rows(max_length=20, lookahead=8), "max_length was 16 and is 20"),
        (Layout(), Rows(max_length=16, lookahead=9), "lookahead was 8 and is 9"),
    ):
        with pytest.raises(RunError, match=told):
            OrderedBatches(make_table(), Order(), rows, layout).load_state_dict(state)


def test_repeats_go_on_after_a_resume() -> None:
    unbroken = OrderedBatches(make_table(), Order(), ROWS, Layout())
    resumed = OrderedBatches(make_table(), Order(), ROWS, Layout())
    resumed.load_state_dict(take_state(Layout(), ROWS, micros=30))
    take(unbroken, 30)
    for batches in (unbroken, resumed):
        take(batches, 10)
    assert unbroken.progress() == resumed.progress()
    assert unbroken.progress()["repeats"] > 0


def test_resume_inside_a_larger_micro_batch_is_refused() -> None:
    state = take_state(Layout(1, 2), ROWS, micros=1)
    with pytest.raises(RunError, match="1 rows inside a micro batch"):
        OrderedBatches(make_table(), Order(), ROWS, Layout(2, 1)).load_state_dict(state)


def take_state(layout: Layout, rows: Rows, micros: int) -> dict:
    batches = OrderedBatches(make_table(), Order(), rows, layout)
    take(batches, micros)
    return batches.state_dict()


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("rows", [ROWS, Rows(max_length=16, packing="none")], ids=["packed", "padded"])
def test_the_plan_is_what_the_uniform_order_takes(epochs: float, rows: Rows) -> None:
    """After exactly the planned rows every example has been trained on exactly `epochs` times."""
    table = make_table(60)
    plan = plan_steps(table, rows, Layout(), epochs)
    assert plan.documents_per_pass == 60
    assert plan.steps == plan.rows
    assert plan_steps(table, rows, Layout(2, 2), epochs).steps == -(-plan.rows // 4)
    batches = OrderedBatches(table, Order(), rows, Layout())
    assert examples(take(batches, plan.steps)) == dict.fromkeys(range(60), epochs)


def test_part_of_an_epoch_is_that_part_of_its_rows() -> None:
    table = make_table(60)
    one, some = (plan_steps(table, ROWS, Layout(), epochs) for epochs in (1, 0.25))
    assert some.rows == -(-one.rows // 4)
    assert some.steps_per_epoch == one.steps_per_epoch


def test_the_plan_counts_tokens_and_waste() -> None:
    table = make_table(60)
    plan = plan_steps(table, ROWS, Layout(3), 1)
    assert plan.fill == pytest.approx(table.lengths.sum() / (plan.rows * 16))
    assert plan.waste == pytest.approx(1 - plan.fill)
    assert plan.documents_per_row == pytest.approx(60 / plan.rows)
    assert plan.tokens_per_step == pytest.approx(3 * table.lengths.sum() / plan.rows)
    assert plan.supervised_per_step == pytest.approx(3 * table.num_supervised.sum() / plan.rows)
    assert plan_steps(table, ROWS, Layout(3), 5).steps_per_epoch == plan.steps


def test_the_plan_of_padded_batches_counts_the_padding() -> None:
    lengths = [2, 5, 3, 3, 7]
    table = TokenTable.from_lists([[1] * n for n in lengths], [[1] * n for n in lengths])
    rows = Rows(max_length=8, packing="none")
    plan = plan_steps(table, rows, Layout(2), 1)
    batches = OrderedBatches(table, Order(), rows, Layout(2))
    order = [table.lengths[i] for b in take(batches, 3) for i in b["example_ids"]][:5]
    padded = 2 * max(order[:2]) + 2 * max(order[2:4]) + order[4]
    assert plan.fill == pytest.approx(sum(lengths) / padded)


def test_long_plans_are_scaled_from_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table(50)
    exact = plan_steps(table, ROWS, Layout(), 40)
    monkeypatch.setattr("curricle.training.batches.MEASURED_DRAWS", 500)
    scaled = plan_steps(table, ROWS, Layout(), 40)
    assert scaled.documents_per_pass == exact.documents_per_pass
    assert scaled.rows == pytest.approx(exact.rows, rel=0.02)
    assert scaled.steps_per_epoch == pytest.approx(exact.steps_per_epoch, abs=1)


def test_an_order_can_sort() -> None:
    class ShortFirst(Order):
        def arrange(self, ids: Ids, rng: np.random.Generator) -> Ids:
            return ids[np.argsort(table.lengths[ids], kind="stable")]

    table = make_table()
    batches = OrderedBatches(table, ShortFirst(), Rows(max_length=16, packing="none"), Layout())
    drawn = [table.lengths[b["example_ids"][0]] for b in take(batches, 40)]
    assert drawn == sorted(table.lengths)
