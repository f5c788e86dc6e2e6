"""What is exported loads with plain transformers and says what the run's own model says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.errors import ModelError, RunError
from curricle.models.mtp.making import add_heads
from curricle.runtime.rundir import find_run
from curricle.training.export import export

pytestmark = pytest.mark.usefixtures("libraries")
RECIPE: dict[str, Any] = {
    "name": "r",
    "seed": 3,
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "hidden_size": 32}},
    "data": {"train": "toy:dialogue#12", "format": "dialogue", "max_length": 384},
    "training": {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-2},
    "arms": {"whole": {}, "lora": {"model": {"adapter": {"lora_r": 4}}}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment with a whole and a LoRA run, moved from where it was made."""
    made, moved = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("moved")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        curricle.train(RECIPE)
    shutil.move(made / "runs" / "r", moved)
    return moved / "r"


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=torch.arange(5, 60)[None]).logits


@pytest.mark.parametrize("arm", ["whole", "lora"])
def test_the_same_logits(runs: Path, arm: str, tmp_path: Path) -> None:
    run = runs / arm / "seed-3"
    if arm == "lora":
        from peft import PeftModel

        own = PeftModel.from_pretrained(loaded(run / "base"), run / "model").eval()
        untrained = logits(loaded(run / "base"))
    else:
        own, untrained = loaded(run / "model"), None
    assert export(run, tmp_path / "out") == tmp_path / "out"
    exported = loaded(tmp_path / "out")
    torch.testing.assert_close(logits(exported), logits(own), atol=1e-5, rtol=1e-5)
    assert untrained is None or (logits(exported) - untrained).abs().max() > 1e-3
    assert exported.config._attn_implementation == "sdpa"
    assert exported.config.pad_token_id is not None


@pytest.mark.parametrize("arm", ["whole", "lora"])
def test_what_goes_with_the_weights(runs: Path, arm: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = export(runs / arm, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    tokenizer = AutoTokenizer.from_pretrained(out)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert asked == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.eos_token == "<|im_end|>"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert f"Arm `{arm}`, seed-3" in card
    assert "| train_loss | " in card


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", None])
@pytest.mark.parametrize("arm", ["whole", "lora"])
def test_dtype(runs: Path, arm: str, dtype: Any, tmp_path: Path) -> None:
    out = export(runs / arm, tmp_path / "out", dtype=dtype)
    wanted = getattr(torch, dtype or "float32")
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {wanted}
    assert loaded(out).config.dtype == wanted


def test_a_folder_with_something_in_it_is_kept_unless_forced(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty; give another folder, or --force"):
        export(runs / "whole", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    export(runs / "whole", tmp_path, force=True)
    assert (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "mine.txt").exists()
    with pytest.raises(RunError, match="is a file"):
        export(runs / "whole", tmp_path / "README.md", force=True)


def test_which_run(runs: Path, tmp_path: Path) -> None:
    assert find_run(runs / "whole" / "seed-3") == find_run(runs / "whole") == runs / "whole" / "seed-3"
    with pytest.raises(RunError, match=r"holds 2 runs \(lora/seed-3, whole/seed-3\); name one of them"):
        find_run(runs)
    with pytest.raises(RunError, match="holds no finished run"):
        find_run(tmp_path)


def test_an_adapter_whose_base_is_gone(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "lora" / "seed-3", run)
    shutil.rmtree(run / "base")
    with pytest.raises(ModelError, match="there is no such folder"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_heads_says_how_it_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoTokenizer

    from curricle.models.conversion import Target, convert
    from models.conversion.files import llama, write_folder

    source = write_folder(tmp_path / "source", llama())
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "run" / "model")
    add_heads(llama(), 2).save_pretrained(tmp_path / "run" / "model")
    out = export(tmp_path / "run", tmp_path / "out")
    said = capsys.readouterr().err
    assert "loadable with AutoModelForCausalLM after `import curricle.models.mtp.model`, as it has 2 heads" in said
    assert f"`curricle model convert {out} -o DIR --heads 1` makes the plain model" in said
    convert(out, tmp_path / "plain", Target(num_future_tokens=1))
    assert loaded(tmp_path / "plain").config.model_type == "llama"


def test_a_plain_model_needs_no_import(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(runs / "whole", tmp_path / "out")
    assert capsys.readouterr().err.strip().endswith("MiB, loadable with AutoModelForCausalLM")
