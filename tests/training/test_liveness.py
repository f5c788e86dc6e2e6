"""What learns nothing is found in the first step; what may yet learn is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from curricle.curriculum.layers import Depth
from curricle.data.rows import Rows
from curricle.errors import TrainingError
from curricle.training.hf import Trainer
from curricle.training.liveness import STEPS_IN_ALL, Liveness
from support import arguments, model, table

ROWS = Rows(max_length=12, packing="none")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def adapted(kind: str, targets: list[str], attn: str = "eager", **shape: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    return get_peft_model(model(kind, attn, num_hidden_layers=2, **shape), lora)


def trained(folder: Path, net: Any, dials: Any = None, kind: Any = Trainer, **changes: Any) -> Any:
    data = table(num=12, low=4, high=10)
    trainer = kind(net, arguments(folder, **changes), train_dataset=data, rows=ROWS, **(dials or {}))
    trainer.train()
    return trainer


@pytest.mark.parametrize("accumulation", [1, 2])
def test_factors_that_the_model_reads_past_stop_the_run(tmp_path: Path, accumulation: int) -> None:
    net = adapted("mamba", ["in_proj", "dt_proj"], intermediate_size=32, state_size=4)
    with pytest.raises(TrainingError, match=r"LoRA factors of dt_proj get no gradient.*layers\.0\.mixer\.dt_proj"):
        trained(tmp_path, net, max_steps=2, gradient_accumulation_steps=accumulation)
    assert not any(p.any() for name, p in net.named_parameters() if "lora_B" in name), "no weight has moved"


def test_factors_alone_that_the_model_reads_past_stop_the_run(tmp_path: Path) -> None:
    net = adapted("mamba", ["dt_proj"], intermediate_size=32, state_size=4)
    with pytest.raises(TrainingError, match="depends on nothing that learns"):
        trained(tmp_path, net, max_steps=1)


def test_both_trainers_look(tmp_path: Path) -> None:
    import trl
    from transformers import PreTrainedTokenizerFast

    from curricle.models.nano import train_tokenizer
    from curricle.training.sft import SFTTrainer

    tokenizer: PreTrainedTokenizerFast = train_tokenizer(["some words to cut"], 260)
    net = adapted("llama", ["q_proj", "v_proj"])
    for layer in net.base_model.model.model.layers:
        _read_past(layer.self_attn.q_proj)
    args = arguments(tmp_path, trl.SFTConfig, max_steps=1, activation_checkpointing=False, bf16=False)
    trainer = SFTTrainer(net, args, train_dataset=table(num=12, high=10), rows=ROWS, processing_class=tokenizer)
    with pytest.raises(TrainingError, match="LoRA factors of q_proj"):
        trainer.train()


def _read_past(layer: Any) -> None:
    """As a kernel does that is handed the matrix of a layer, not its outcome."""
    layer.forward = layer.base_layer.forward


def test_a_single_dead_layer_is_named_and_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = adapted("llama", ["q_proj", "v_proj"])
    _read_past(net.base_model.model.model.layers[1].self_attn.q_proj)
    trainer = trained(tmp_path, net, max_steps=2)
    said = capsys.readouterr().err
    assert said.count("no gradient in the first step") == 1
    assert "layers.1.self_attn.q_proj.lora_B" in said
    assert (trainer.state.global_step, trainer.liveness.done) == (2, True)


class FirstClosed(Depth):
    """Layer 0 learns nothing."""

    def closed(self, progress: float, num_layers: int) -> set[int]:
        return {0}


@pytest.mark.parametrize("dials", [{"depth": FirstClosed()}, {}])
@pytest.mark.parametrize("learning_rate", [0.0, 1e-2])
def test_closed_layers_and_no_learning_rate_are_no_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dials: Any, learning_rate: float
) -> None:
    for number, net in enumerate([adapted("llama", ["q_proj", "v_proj"]), model(attn="eager")]):
        trainer = trained(tmp_path / str(number), net, dials, max_steps=3, learning_rate=learning_rate)
        assert trainer.state.global_step == 3
    assert "no gradient" not in capsys.readouterr().err


def test_after_the_first_step_nothing_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curricle.training import liveness

    looks = []
    honest = liveness._alive
    monkeypatch.setattr(liveness, "_alive", lambda parameters: looks.append(len(parameters)) or honest(parameters))
    trained(tmp_path, adapted("llama", ["q_proj"]), max_steps=3)
    assert looks == [2]


class Late(nn.Module):
    """`inner` waits for `outer` to leave zero; `never` waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.never = (nn.Parameter(torch.full((1,), value)) for value in (1.0, 0.0, 1.0))

    def step(self, scale: float = 1.0, learning_rate: float = 0.1) -> None:
        self.zero_grad()
        (scale * (self.inner * self.outer - 1 + 0 * self.never) ** 2).sum().backward()
        with torch.no_grad():
            self.outer -= learning_rate * (self.outer.grad if self.outer.grad is not None else 0)


def test_what_waits_for_another_tensor_has_time(capsys: pytest.CaptureFixture[str]) -> None:
    net, liveness = Late(), Liveness()
    for _ in range(5):
        net.step()
        liveness.look(net, [], moves=True)
    said = capsys.readouterr().err
    assert said == "no gradient in the first 3 steps: never; they learn nothing so far\n"


def test_a_warm_up_from_zero_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    net, liveness = Late(), Liveness(passed_over=["never"])
    for learning_rate in (0.0, 0.0, 0.1, 0.1):
        net.step(learning_rate=learning_rate)
        liveness.look(net, [], moves=learning_rate > 0)
    assert liveness.done
    assert capsys.readouterr().err == ""


def test_steps_without_any_gradient_are_said_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    net, liveness = Late(), Liveness()
    for _ in range(STEPS_IN_ALL + 2):
        net.step(scale=0.0)
        liveness.look(net, [], moves=True)
    assert capsys.readouterr().err == "nothing that is to learn has got a gradient in the first 10 steps\n"
    assert liveness.done
