"""`curricle export`, from a run to a folder, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import curricle
from curricle.cli import main

pytestmark = pytest.mark.usefixtures("libraries")
RECIPE = {
    "name": "r",
    "model": {"name_or_path": "nano:qwen2", "shape": {"vocab_size": 300}, "adapter": {"lora_r": 2}},
    "data": {"train": "toy:dialogue#8", "format": "dialogue", "max_length": 384},
    "training": {"max_steps": 1, "per_device_train_batch_size": 2},
}


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.chdir(tmp_path)
    curricle.run(RECIPE)
    capsys.readouterr()
    assert main(["export", "runs/r", "-o", "out", "--dtype", "bfloat16"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "out\n"
    [line] = shown.err.splitlines()
    assert line.startswith("out: 0.")
    assert "loadable with AutoModelForCausalLM" in line
    model, tokenizer = AutoModelForCausalLM.from_pretrained("out"), AutoTokenizer.from_pretrained("out")
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_tensors="pt", return_dict=True)
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] > prompt["input_ids"].shape[1]

    assert main(["export", "runs/r/base/seed-42", "-o", "out"]) == 2
    assert "error: out is not empty" in capsys.readouterr().err
    assert main(["export", "runs/r/base", "-o", "out", "--force"]) == 0
    assert str(AutoModelForCausalLM.from_pretrained("out").dtype) == "torch.float32"
    assert main(["export", "runs/r", "-o", "out2", "--dtype", "int8"]) == 2
    assert "'int8'" in capsys.readouterr().err
    assert not Path("out2").exists()
