"""Depth in training: what is closed does not move by a bit, what is gated has no share, and the log tells which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from curricle.curriculum.layer_specific import AnyLayer, LayerPace, LayerSpecific, layer_ranks
from curricle.curriculum.layers import Depth, StagedLayers
from curricle.data.rows import Rows
from curricle.errors import ModelError, RecipeError
from curricle.runtime.logs import JsonLog
from curricle.training.depth import LayerDial, layer_stack
from curricle.training.hf import Trainer
from support import arguments, lora, model, table

ROWS = Rows(max_length=64, lookahead=8)
LAYERS = 3
ONE_AT_A_TIME = StagedLayers([[0], [1], [-1]])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def net(adapter: bool = True, dropout: float = 0.0, **shape: Any) -> Any:
    made = model(num_hidden_layers=LAYERS, **shape)
    return lora(made, dropout) if adapter else made


def trainer(folder: Path, made: Any, depth: Depth, rows: Rows = ROWS, order: Any = None, **changes: Any) -> Any:
    settings = {"max_steps": 6, "weight_decay": 0.1, "lr_scheduler_type": "constant", **changes}
    return Trainer(made, arguments(folder, **settings), train_dataset=table(), rows=rows, depth=depth, order=order)


def lines(folder: Path) -> list[dict[str, Any]]:
    return JsonLog(folder / "metrics.jsonl").rows()


class Watch(TrainerCallback):
    """After every step, for each layer: whether a trained tensor moved, and whether the optimizer's state of it did."""

    def __init__(self, made: Any) -> None:
        self.blocks = layer_stack(made)
        self.before = self._look(None)
        self.moved: list[list[bool]] = []
        self.touched: list[list[bool]] = []

    def _look(self, optimizer: Any) -> list[tuple[list[Any], list[Any]]]:
        seen = []
        for block in self.blocks:
            trained = [p for p in block.parameters() if p.requires_grad]
            state = [optimizer.state.get(p, {}) if optimizer else {} for p in trained]
            values = [{k: torch.as_tensor(v).clone() for k, v in one.items() if v is not None} for one in state]
            seen.append(([p.detach().clone() for p in trained], values))
        return seen

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        now = self._look(getattr(optimizer, "optimizer", optimizer))
        pairs = list(zip(self.before, now, strict=True))
        self.moved.append([_differ(a[0], b[0]) for a, b in pairs])
        self.touched.append([_states_differ(a[1], b[1]) for a, b in pairs])
        self.before = now


def _differ(a: list[Any], b: list[Any]) -> bool:
    return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _states_differ(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> bool:
    return any(x.keys() != y.keys() or _differ(list(x.values()), list(y.values())) for x, y in zip(a, b, strict=True))


OPTIMIZERS = [
    ("adamw_torch", None),
    ("adamw_torch_fused", None),
    ("sgd", "momentum=0.9"),
    ("adafactor", None),
]


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize(("optim", "options"), OPTIMIZERS)
def test_nothing_of_a_closed_layer_moves(tmp_path: Path, adapter: bool, optim: str, options: str | None) -> None:
    """Not its tensors under weight decay, not the moments it has from when it was open; and it learns when opened."""
    made = net(adapter)
    names = [name for name, p in made.named_parameters() if p.requires_grad]
    run = trainer(tmp_path, made, ONE_AT_A_TIME, optim=optim, optim_args=options, gradient_accumulation_steps=2)
    watch = Watch(run.model)
    run.add_callback(watch)
    run.train()
    expected = [[layer == step // 2 for layer in range(LAYERS)] for step in range(6)]
    assert watch.moved == expected
    assert watch.touched == expected
    assert [name for name, p in run.model.named_parameters() if p.requires_grad] == names
    assert [row["open_layers"] for row in lines(tmp_path)] == [[0], [0], [1], [1], [2], [2]]
    for row in lines(tmp_path):
        assert [norm > 0 for norm in row["layer_grad_norm"]] == [layer in row["open_layers"] for layer in range(LAYERS)]


@pytest.mark.parametrize("foreach", ["True", "False"])
def test_clipping_knows_nothing_of_a_closed_layer(tmp_path: Path, foreach: str) -> None:
    run = trainer(tmp_path, net(), ONE_AT_A_TIME, max_grad_norm=1e-3, optim_args=f"foreach={foreach}")
    run.args.optim = "adamw_torch"
    run.train()
    for row in lines(tmp_path):
        assert row["grad_norm"] == pytest.approx(float(np.linalg.norm(row["layer_grad_norm"])), rel=1e-5)


def test_embeddings_and_head_learn_whatever_is_closed(tmp_path: Path) -> None:
    made = net(adapter=False, tie_word_embeddings=False)
    ends = [made.model.embed_tokens.weight, made.model.norm.weight, made.lm_head.weight]
    before = [p.detach().clone() for p in ends]
    trainer(tmp_path, made, StagedLayers("bottom_up", 3), max_steps=1).train()
    assert all(not torch.equal(a, b) for a, b in zip(before, ends, strict=True))


def test_the_plain_depth_and_an_all_open_one_train_alike(tmp_path: Path) -> None:
    """Stages that open everything, gates that admit everything: no bit differs from no depth at all."""
    ranks = np.zeros((40, LAYERS), dtype=np.int32)
    weights = []
    for number, depth in enumerate([Depth(), StagedLayers("top_down", 1), LayerSpecific(ranks, LayerPace())]):
        run = trainer(tmp_path / str(number), net(dropout=0.1), depth, max_steps=3)
        run.train()
        weights.append([p.detach() for p in run.model.parameters()])
    for other in weights[1:]:
        assert all(torch.equal(a, b) for a, b in zip(weights[0], other, strict=True))


def random_ranks() -> Any:
    return layer_ranks(np.random.default_rng(0).normal(size=(40, LAYERS)).astype(np.float32))


@pytest.mark.parametrize("kind", ["staged", "specific"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_resumed_amid_a_stage_is_the_unbroken_run(tmp_path: Path, kind: str, accumulation: int) -> None:
    pace = LayerPace(delay=0.3)

    def run(folder: str) -> Any:
        depth: Depth = StagedLayers("bottom_up", 3)
        depth = depth if kind == "staged" else LayerSpecific(random_ranks(), pace, depth)
        order = AnyLayer(random_ranks(), pace) if kind == "specific" else None
        changes: Any = {"gradient_accumulation_steps": accumulation, "save_strategy": "steps", "save_steps": 3}
        return trainer(tmp_path / folder, net(dropout=0.1), depth, order=order, **changes)

    whole = run("whole")
    whole.train()
    first = run("broken")
    first.add_callback(StopAt(4))
    first.train()
    second = run("broken")
    second.train(resume_from_checkpoint=True)
    for (name, a), (_, b) in zip(whole.model.named_parameters(), second.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    told = ("step", "loss", "grad_norm", "open_layers", "layer_grad_norm", "layer_moved", "layer_admitted")
    rows = [[{key: row.get(key) for key in told} for row in lines(tmp_path / name)] for name in ("whole", "broken")]
    assert rows[0] == rows[1]


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("packing", ["ordered", "none"])
def test_a_layer_that_admits_nothing_does_not_move(tmp_path: Path, packing: Any) -> None:
    """Every document is too hard for the middle layer until the last stage."""
    ranks = random_ranks() // 2
    ranks[:, 1] = 39
    run = trainer(tmp_path, net(), LayerSpecific(ranks, LayerPace((0.5, 1.0))), Rows(64, packing, lookahead=8))
    watch = Watch(run.model)
    run.add_callback(watch)
    run.train()
    assert watch.moved == watch.touched == [[True, False, True]] * 3 + [[True] * 3] * 3
    assert [row["layer_admitted"] for row in lines(tmp_path)] == [[1.0, 0.0, 1.0]] * 3 + [[1.0] * 3] * 3


def test_a_gated_example_changes_no_bit_of_the_layer_it_does_not_teach(tmp_path: Path) -> None:
    """Two runs of one step that differ in the tokens of documents which layer 0 does not admit."""
    ranks = random_ranks()
    specific = LayerSpecific(ranks, LayerPace((0.5, 1.0)))
    shut = np.flatnonzero(ranks[:, 0] >= 20)
    moved = []
    for name in ("as it is", "changed"):
        data, made = table(), net()
        if name == "changed":
            for example in shut:
                begin, end = data.offsets[example : example + 2]
                data.tokens[begin + 1 : end] = (data.tokens[begin + 1 : end] + 7) % 90 + 4
        args = arguments(tmp_path / name, max_steps=1, max_grad_norm=0.0, per_device_train_batch_size=4)
        run = Trainer(made, args, train_dataset=data, rows=ROWS, depth=specific)
        run.train()
        moved.append([[p.detach() for p in block.parameters()] for block in layer_stack(run.model)])
    assert not _differ(moved[0][0], moved[1][0])
    assert _differ(moved[0][1], moved[1][1])
    consumed = [i for row in JsonLog(tmp_path / "changed" / "consumed.jsonl").rows()[0]["rows"] for i in row]
    assert set(consumed) & set(shut)


def test_movement_is_the_norm_of_the_update(tmp_path: Path) -> None:
    run = trainer(tmp_path, net(), Depth(), max_steps=3, logging_steps=2)
    run.train()
    expected = [0.0] * LAYERS
    blocks: Any = layer_stack(run.model)
    for layer, block in enumerate(blocks):
        for part in block.modules():
            if hasattr(part, "get_delta_weight"):
                expected[layer] += part.get_delta_weight("default").double().square().sum().item()
    rows = lines(tmp_path)
    assert rows[-1]["layer_moved"] == pytest.approx([square**0.5 for square in expected], rel=1e-5)
    assert ["layer_moved" in row for row in rows] == ["layer_grad_norm" in row for row in rows] == [True] * 3
    assert "open_layers" not in rows[0]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt2", "mamba", "gpt_neox", "opt", "falcon", "bloom"])
def test_the_stack_of_layers_is_found_in_every_family(kind: str) -> None:
    made = model(kind, attn="eager", num_hidden_layers=LAYERS)
    config = made.config
    assert len(layer_stack(made)) == config.num_hidden_layers
    inside = sum(p.numel() for block in layer_stack(made) for p in block.parameters())
    assert 0 < inside < sum(p.numel() for p in made.parameters())


def test_the_stack_is_found_under_an_adapter() -> None:
    made = model(num_hidden_layers=LAYERS)
    assert [id(block) for block in layer_stack(made)] == [id(block) for block in layer_stack(lora(made))]


def test_gates_need_an_adapter_and_our_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    specific = LayerSpecific(random_ranks(), LayerPace())
    with pytest.raises(ModelError, match="full training"):
        trainer(tmp_path, net(adapter=False), specific)
    rows = Dataset.from_dict({"input_ids": [[5, 6, 7, 8]] * 8, "labels": [[5, 6, 7, 8]] * 8})
    with pytest.raises(RecipeError, match="give rows"):
        Trainer(net(attn="sdpa"), arguments(tmp_path), train_dataset=rows, depth=specific)


def test_a_layer_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="opens layer 3, but the model has 3"):
        trainer(tmp_path, net(), StagedLayers([[0], [3]])).train()


def test_checkpointing_and_autocast_train_behind_gates(tmp_path: Path) -> None:
    ranks = random_ranks()
    ranks[:, 0] = 39
    changes: Any = {"activation_checkpointing": True, "bf16": True, "max_steps": 4, "gradient_accumulation_steps": 2}
    run = trainer(tmp_path, net(dropout=0.1), LayerSpecific(ranks, LayerPace((0.5, 1.0))), **changes)
    watch = Watch(run.model)
    run.add_callback(watch)
    run.train()
    assert watch.moved == [[False, True, True]] * 2 + [[True] * 3] * 2


def test_a_loss_scaler_passes_over_a_closed_layer() -> None:
    """Also when its gradient has overflown: closed before unscaling, it makes no step be skipped."""
    made = net()
    dial, tokens = LayerDial(made, StagedLayers([[0], [1, 2]])), torch.arange(5, 25)[None]
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = [[p.detach().clone() for p in block.parameters()] for block in dial.blocks]
    scaler.scale(made(input_ids=tokens, labels=tokens).loss).backward()
    unscaled = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in own(dial.blocks[0])])).item() / 1024
    for parameter in own(dial.blocks[2]):
        parameter.grad.fill_(float("inf"))
    dial.close(0.0, torch.device("cpu"))
    assert dial.grad_norms(scaler.get_scale())["layer_grad_norm"] == pytest.approx([unscaled, 0.0, 0.0])
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    after = [[p.detach() for p in block.parameters()] for block in dial.blocks]
    assert [_differ(a, b) for a, b in zip(before, after, strict=True)] == [True, False, False]


def own(block: Any) -> list[Any]:
    return [p for p in block.parameters() if p.requires_grad]
