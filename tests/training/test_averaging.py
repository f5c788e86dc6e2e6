"""The mean of the last checkpoints: exact, of the right ones, and the same after a stop."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from curricle.data.rows import Rows
from curricle.errors import Interrupted, RunError
from curricle.training.averaging import KeepScheduled, average_into, last_checkpoints, scheduled
from curricle.training.checkpoints import checkpoints
from curricle.training.hf import Trainer
from support import arguments, lora, model, table
from training.test_checkpoints import make


def saved(folder: Path, tensors: dict[str, torch.Tensor], name: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    save_file(tensors, folder / name, {"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_is_exact_and_rounded_once(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(5, 3).mul(10.0 ** (3 * i)).to(dtype) for i in range(3)]
    places = torch.arange(4)
    others = [saved(tmp_path / str(i), {"w": w, "places": places + i}) for i, w in enumerate(weights)]
    last = saved(tmp_path / "last", {"w": weights[-1], "places": places + 2})
    average_into(last, others)
    found = load_file(last / "model.safetensors")
    for place in range(15):
        parts = [Fraction(w.flatten()[place].item()) for w in weights]
        exact = torch.tensor(float(sum(parts) / 3), dtype=torch.float64).to(dtype)
        assert torch.equal(found["w"].flatten()[place], exact)
    assert torch.equal(found["places"], places + 2)  # no number to average
    with safe_open(last / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert [path.name for path in last.iterdir()] == ["model.safetensors"]


def test_tensors_are_found_by_name_whatever_file_they_are_in(tmp_path: Path) -> None:
    one = torch.ones(2)
    split = saved(saved(tmp_path / "split", {"a": one}, "model-1.safetensors"), {"b": one}, "model-2.safetensors")
    whole = saved(tmp_path / "whole", {"a": one * 3, "b": one * 3})
    average_into(split, [split, whole])
    for name in ("model-1", "model-2"):
        assert all(torch.equal(tensor, one * 2) for tensor in load_file(split / f"{name}.safetensors").values())


def test_models_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "first", {"a": torch.ones(2)})
    with pytest.raises(RunError, match="other has no tensor a"):
        average_into(first, [saved(tmp_path / "other", {"b": torch.ones(2)})])
    with pytest.raises(RunError, match=r"a is \(3,\), in the model \(2,\)"):
        average_into(first, [saved(tmp_path / "wide", {"a": torch.ones(3)})])
    (tmp_path / "none").mkdir()
    with pytest.raises(RunError, match=r"holds no \.safetensors file"):
        average_into(tmp_path / "none", [first])


def test_only_checkpoints_that_were_due_count(tmp_path: Path) -> None:
    for step in (10, 20, 30, 33, 40, 46):
        make(tmp_path, step)
    assert [path.name for path in last_checkpoints(tmp_path, 3, 10, 46)] == [f"checkpoint-{k}" for k in (30, 40, 46)]
    assert len(scheduled(tmp_path, 10, 46)) == 5


def test_what_lacks_or_is_not_whole_is_named(tmp_path: Path) -> None:
    for step in (10, 30):
        make(tmp_path, step)
    with pytest.raises(RunError, match="needs the checkpoints of steps 20, 30; found checkpoint-10, checkpoint-30"):
        last_checkpoints(tmp_path, 2, 10, 30)
    with pytest.raises(RunError, match="needs the checkpoints of steps 10, 20, 30"):
        last_checkpoints(tmp_path, 4, 10, 30)
    (make(tmp_path, 20) / "trainer_state.json").unlink()
    with pytest.raises(RunError, match="checkpoint-20 is not whole, unreadable state"):
        last_checkpoints(tmp_path, 2, 10, 30)


def trained(folder: Path, stop_after: int | None, adapter: bool) -> Path:
    """Eleven steps, saved every third; stopped as by a signal, and gone on with."""
    torch.set_num_threads(1)
    settings = {"max_steps": 11, "save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    for stop in (stop_after, None):
        net = lora(model()) if adapter else model()
        trainer: Any = Trainer(net, arguments(folder, **settings), train_dataset=table(), rows=Rows(64, lookahead=8))
        trainer.add_callback(KeepScheduled(3))
        if stop is not None:
            with pytest.raises(Interrupted):
                _stop(trainer, stop)
        else:
            trainer.train(resume_from_checkpoint=True)
            trainer.save_model(str(folder / "model"))
    average_into(folder / "model", last_checkpoints(folder, 3, 3, 11))
    return folder


def _stop(trainer: Any, step: int) -> None:
    end = trainer.end_step

    def asked(control: Any) -> None:
        trainer._step_row["stop"] = trainer.state.global_step == step
        end(control)

    trainer.end_step = asked
    trainer.train(resume_from_checkpoint=True)


@pytest.mark.parametrize("adapter", [False, True])
def test_a_run_that_was_stopped_between_has_the_same_mean(tmp_path: Path, adapter: bool) -> None:
    whole = trained(tmp_path / "whole", None, adapter)
    broken = trained(tmp_path / "broken", 10, adapter)
    assert [path.name for path in checkpoints(broken)] == [f"checkpoint-{step}" for step in (6, 9, 11)]
    name = "adapter_model.safetensors" if adapter else "model.safetensors"
    mean, again, last = (
        load_file(folder / name) for folder in (whole / "model", broken / "model", whole / "checkpoint-11")
    )
    assert mean.keys() == again.keys() == last.keys()
    for tensor in mean:
        assert torch.equal(mean[tensor], again[tensor])
    assert any(not torch.equal(mean[tensor], last[tensor]) for tensor in mean)
