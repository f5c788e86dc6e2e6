"""The trainer on our rows: the loss, the step, the books, and what stops it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

from curricle.curriculum.layers import Depth
from curricle.curriculum.order import Order
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import Interrupted, ModelError, RecipeError, RunError, TrainingError
from curricle.runtime.files import read_json
from curricle.runtime.logs import JsonLog
from curricle.training.fit import fit_batch
from curricle.training.hf import Trainer
from curricle.weighting.base import Weighting
from support import VOCAB, arguments, lora, model, table

ROWS = Rows(max_length=64, lookahead=8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer(
    folder: Path, net: Any = None, rows: Rows = ROWS, data: Any = None, dials: Any = None, **changes: Any
) -> Any:
    data = table(domains=True) if data is None else data
    args = arguments(folder, **changes)
    return Trainer(net or model(), args, train_dataset=data, rows=rows, **(dials or {}))


def weights(net: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(r["step"], r["loss"], r["grad_norm"]) for r in JsonLog(folder / "metrics.jsonl").rows()]


def test_a_step_is_one_adam_step_on_the_mean_loss_of_its_supervised_tokens(tmp_path: Path) -> None:
    """Against a bare loop over single documents: same examples, same optimizer, no packing, no tap."""
    data, net, reference = table(), model(), model(attn="eager")
    trainer(tmp_path, net, data=data, max_grad_norm=0.0, weight_decay=0.0, lr_scheduler_type="constant").train()
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.0)
    for step in JsonLog(tmp_path / "consumed.jsonl").rows():
        examples = [i for row in step["rows"] for i in row]
        total, count = torch.zeros(()), 0
        for i in examples:
            tokens, supervised = (torch.from_numpy(np.array(part)).long() for part in data.example(i))
            logits = reference(tokens[None]).logits[0, :-1]
            keep = supervised[1:].bool()
            total = total + cross_entropy(logits[keep], tokens[1:][keep], reduction="sum")
            count += int(keep.sum())
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    # Adam divides by the gradient's own size, so rounding in a tiny gradient moves a weight by up to a step.
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, atol=2e-3, rtol=0)


@pytest.mark.parametrize("packing", ["ordered", "none"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("adapter", [False, True])
def test_a_resumed_run_is_the_unbroken_run(tmp_path: Path, packing: str, accumulation: int, adapter: bool) -> None:
    rows = Rows(max_length=64, packing=packing, lookahead=8)  # type: ignore[arg-type]

    def net() -> Any:
        base = model(attention_dropout=0.1)
        return lora(base, dropout=0.1) if adapter else base

    settings = {"gradient_accumulation_steps": accumulation, "max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    whole = trainer(tmp_path / "whole", net(), rows, **settings)
    whole.train()
    first = trainer(tmp_path / "broken", net(), rows, **settings)
    first.add_callback(StopAt(3))
    first.train()
    second = trainer(tmp_path / "broken", net(), rows, **settings)
    second.train(resume_from_checkpoint=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")
    assert same(weights(whole.model), weights(second.model))
    consumed = [JsonLog(tmp_path / name / "consumed.jsonl").rows() for name in ("whole", "broken")]
    assert consumed[0] == consumed[1]


class StopAt(TrainerCallback):
    """Ends a run early, as a crash after that step would; what was saved before is all that is left."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


def test_accumulation_and_batch_size_are_the_same_run(tmp_path: Path) -> None:
    one = trainer(tmp_path / "a", per_device_train_batch_size=4, gradient_accumulation_steps=1)
    two = trainer(tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=4)
    one.train()
    two.train()
    rows = [JsonLog(tmp_path / name / "consumed.jsonl").rows() for name in "ab"]
    assert rows[0] == rows[1]
    for (_, loss, norm), (_, other_loss, other_norm) in zip(
        losses(tmp_path / "a"), losses(tmp_path / "b"), strict=True
    ):
        assert loss == pytest.approx(other_loss, abs=2e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def test_a_run_without_max_steps_is_as_long_as_its_epochs_packed(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=-1, num_train_epochs=2)
    run.train()
    log = JsonLog(tmp_path / "metrics.jsonl").rows()
    assert run.state.global_step == run.args.max_steps == len(log)
    assert log[-1]["epoch"] == pytest.approx(2.0, abs=0.15)
    assert log[-1]["learning_rate"] < log[0]["learning_rate"]


def test_the_books_add_up(tmp_path: Path) -> None:
    data = table(domains=True)
    trainer(tmp_path, data=data).train()
    for step, consumed in zip(
        JsonLog(tmp_path / "metrics.jsonl").rows(), JsonLog(tmp_path / "consumed.jsonl").rows(), strict=True
    ):
        examples = [i for row in consumed["rows"] for i in row]
        assert step["step_tokens"] == data.lengths[examples].sum()
        assert step["step_supervised_tokens"] == data.num_supervised[examples].sum()
        assert min(step["domain_loss"].values()) <= step["loss"] <= max(step["domain_loss"].values())


def test_evaluation_counts_tokens_not_batches(tmp_path: Path) -> None:
    run, held_out = trainer(tmp_path), table(23, seed=9)
    results = []
    for size in (1, 4):
        run.args.per_device_eval_batch_size = size
        results.append(run.evaluate(held_out))
    run.rows = Rows(max_length=64, packing="none")
    results.append(run.evaluate(held_out))
    assert all(r["eval_tokens"] == held_out.num_supervised.sum() for r in results)
    assert max(r["eval_loss"] for r in results) - min(r["eval_loss"] for r in results) < 1e-6


def test_evaluations_are_kept_and_cut_back_on_resume(tmp_path: Path) -> None:
    settings = {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4}
    held_out, logs = table(12, seed=3, domains=True), []
    for name, stop in (("whole", None), ("broken", 5)):
        args = arguments(tmp_path / name, **settings)
        run = Trainer(model(), args, train_dataset=table(), eval_dataset=held_out, rows=ROWS)
        if stop:
            run.add_callback(StopAt(stop))
        run.train()
        if stop:
            again = Trainer(model(), args, train_dataset=table(), eval_dataset=held_out, rows=ROWS)
            again.train(resume_from_checkpoint=True)
        logs.append(JsonLog(tmp_path / name / "heldout.jsonl").rows())
    assert logs[0] == logs[1]
    assert [row["step"] for row in logs[0]] == [2, 4, 6]
    assert logs[0][0]["domain_loss"].keys() == {"a", "b"}
    assert logs[0][0]["tokens"] == held_out.num_supervised.sum()


def test_a_loss_that_is_no_number_stops_before_a_weight_moves(tmp_path: Path) -> None:
    run = trainer(tmp_path, save_strategy="steps", save_steps=1)
    run.add_callback(Poison(run, after=2))
    with pytest.raises(TrainingError, match=r"step 3: the loss is nan.*Examples: \w.*checkpoint-2"):
        run.train()
    assert [r["step"] for r in JsonLog(tmp_path / "metrics.jsonl").rows()] == [1, 2]


class Poison(TrainerCallback):
    """Makes one weight NaN after a step, as a bad kernel or a flipped bit would."""

    def __init__(self, run: Any, after: int) -> None:
        self.run, self.after = run, after

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.after:
            with torch.no_grad():
                self.run.model.model.norm.weight[0] = float("nan")


def test_a_request_to_stop_saves_and_says_so(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    run = trainer(tmp_path / "asked", save_strategy="steps", save_steps=100)
    run.add_callback(Raise(signal.SIGTERM, at=2))
    with pytest.raises(Interrupted, match="SIGTERM after step 2 of 4"):
        run.train()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    again = trainer(tmp_path / "asked", save_strategy="steps", save_steps=100)
    again.train(resume_from_checkpoint=True)
    assert same(weights(whole.model), weights(again.model))


class Raise(TrainerCallback):
    def __init__(self, number: int, at: int) -> None:
        self.number, self.at = number, at

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.at - 1:
            signal.raise_signal(self.number)


class TopHalf(Depth):
    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        return frozenset(range(num_layers // 2)) if progress < 0.5 else frozenset()


def test_a_closed_layer_does_not_move(tmp_path: Path) -> None:
    run = trainer(tmp_path, dials={"depth": TopHalf()}, max_steps=2, weight_decay=0.1)
    before, moved = weights(run.model), {}

    class Look(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = weights(run.model)
            moved[state.global_step] = {n for n in now if not torch.equal(now[n], before[n])}

    run.add_callback(Look())
    run.train()
    assert not any("layers.0." in name for name in moved[1])
    assert any("layers.1." in name for name in moved[1])
    assert any("layers.0." in name for name in moved[2])


class Double(Weighting):
    known_beforehand = True

    def __call__(self, tokens: Any) -> tuple[torch.Tensor, dict[str, float]]:
        return torch.full((len(tokens),), 2.0), {"weight_mean": 2.0}


def test_weights_scale_the_gradient_and_not_the_reported_loss(tmp_path: Path) -> None:
    trainer(tmp_path / "one", max_steps=1).train()
    trainer(tmp_path / "two", max_steps=1, dials={"weighting": Double()}).train()
    (_, loss, norm), (_, other, double) = losses(tmp_path / "one")[0], losses(tmp_path / "two")[0]
    assert other == loss
    assert JsonLog(tmp_path / "two" / "metrics.jsonl").rows()[0]["weight_mean"] == 2.0
    assert double == pytest.approx(2 * norm, rel=1e-6)


class Watching(Order):
    """Remembers what it was told; admits the short half first."""

    observes = True

    def __init__(self, short: np.ndarray) -> None:
        self.short, self.told = short, []

    def admitted(self, progress: float) -> np.ndarray | None:
        return self.short if progress < 0.5 else None

    def observe(self, step: int, ids: Any, losses: Any) -> None:
        self.told.append([int(step), [int(i) for i in ids], [float(x) for x in losses]])

    def state_dict(self) -> dict[str, Any]:
        return {"told": self.told}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told = [list(entry) for entry in state["told"]]


def test_an_order_admits_observes_and_resumes(tmp_path: Path) -> None:
    data = table()
    short = data.lengths < np.median(data.lengths)
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    whole = Watching(short)
    trainer(tmp_path / "whole", data=data, dials={"order": whole}, **settings).train()
    first = trainer(tmp_path / "broken", data=data, dials={"order": Watching(short)}, **settings)
    first.add_callback(StopAt(4))
    first.train()
    second = Watching(short)
    run = trainer(tmp_path / "broken", data=data, dials={"order": second}, **settings)
    run.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-4"))
    assert second.told == whole.told
    assert [entry[0] for entry in whole.told] == [1, 2, 3, 4, 5, 6]
    assert all(short[i] for i in whole.told[0][1])
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")


def test_resuming_on_other_data_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, save_strategy="steps", save_steps=2).train()
    with pytest.raises(RunError, match="other rows"):
        trainer(tmp_path, data=table(seed=3), save_strategy="steps", save_steps=2).train(resume_from_checkpoint=True)


def test_resuming_with_another_batch_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, save_strategy="steps", save_steps=2).train()
    with pytest.raises(RunError, match="rows_per_step"):
        trainer(tmp_path, per_device_train_batch_size=3, save_steps=2).train(resume_from_checkpoint=True)


def test_a_model_that_lets_packed_documents_see_each_other_is_refused(tmp_path: Path) -> None:
    def bloom() -> Any:
        config = AutoConfig.for_model("bloom", vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=2)
        return AutoModelForCausalLM.from_config(config)

    with pytest.raises(ModelError, match="cannot isolate packed documents"):
        trainer(tmp_path, bloom())
    assert trainer(tmp_path, bloom(), rows=Rows(max_length=64, packing="none")).rows.packing == "none"


def test_a_setting_that_changes_the_loss_does_not_go_with_a_dial(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="label_smoothing_factor"):
        trainer(tmp_path, label_smoothing_factor=0.1)


def test_a_router_s_loss_does_not_go_with_a_dial(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="output_router_logits"):
        trainer(tmp_path, model("mixtral", num_local_experts=2, output_router_logits=True))


def test_the_checkpoint_says_what_it_belongs_to(tmp_path: Path) -> None:
    trainer(tmp_path, save_strategy="steps", save_steps=2).train()
    state = read_json(tmp_path / "checkpoint-2" / "curricle_state.json")
    assert state["step"] == 2
    assert state["world_size"] == 1


def test_a_step_with_nothing_to_learn_moves_nothing_and_goes_on(tmp_path: Path) -> None:
    labels = [[-100] * 6 if i % 2 else [-100, *range(5, 10)] for i in range(8)]
    data = TokenTable.from_lists([list(range(4, 10))] * 8, labels)
    rows = Rows(max_length=8, packing="none")
    run = trainer(tmp_path, rows=rows, data=data, per_device_train_batch_size=1, max_steps=8, weight_decay=0.0)
    run.train()
    log = JsonLog(tmp_path / "metrics.jsonl").rows()
    silent = [row for row in log if row["step_supervised_tokens"] == 0]
    assert len(log) == 8
    assert silent
    assert all(row["grad_norm"] == 0 for row in silent)


def test_epochs_of_a_script_are_counted_in_steps(tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=3, eval_strategy="epoch", save_strategy="epoch")
    run = Trainer(model(), args, train_dataset=table(), eval_dataset=table(8, seed=2), rows=ROWS)
    run.train()
    assert len(JsonLog(tmp_path / "heldout.jsonl").rows()) == 3
    assert len(list(tmp_path.glob("checkpoint-*"))) == 3


@pytest.mark.parametrize("unused", [{"data_collator": list}, {"compute_metrics": dict}])
def test_what_would_do_nothing_is_refused(tmp_path: Path, unused: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"{next(iter(unused))} does nothing"):
        Trainer(model(), arguments(tmp_path), train_dataset=table(), **unused)


def test_a_table_is_given_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="by name"):
        Trainer(model(), arguments(tmp_path), None, table())


class Progress(Depth):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def closed(self, progress: float, num_layers: int) -> frozenset[int]:
        self.seen.append(progress)
        return frozenset()


def test_depth_sees_the_run_s_progress_on_the_host_s_rows_too(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": [[5, 6, 7, 8]] * 8, "labels": [[5, 6, 7, 8]] * 8})
    depth = Progress()
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=2)
    Trainer(model(attn="sdpa"), args, train_dataset=rows, depth=depth).train()
    assert depth.seen == [step / 8 for step in range(8)]


def test_the_fit_is_tried_as_training_computes(tmp_path: Path) -> None:
    """In the run's precision and with its checkpointing: a probe of something else says nothing."""
    seen: list[tuple[bool, bool]] = []
    net = model()
    layer = net.model.layers[0]
    layer.register_forward_hook(
        lambda *_: seen.append((torch.is_autocast_enabled("cpu"), layer.gradient_checkpointing))
    )
    run = trainer(tmp_path, net, bf16=True, activation_checkpointing=True, max_steps=1)
    seen.clear()
    fit_batch(run)
    assert seen
    assert set(seen) == {(True, True)}
