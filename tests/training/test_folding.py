"""A folded adapter computes what the adapter computed beside its base, also where embedding and head are one weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from curricle.errors import RunError
from curricle.runtime.quiet import calm_libraries
from curricle.training.export import export
from curricle.training.folding import TOLERANCE, _check
from experts import made
from models.conversion.files import llama, write_folder
from support import model

pytestmark = [
    pytest.mark.usefixtures("libraries"),
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True. and a tied layer:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers. to .True.:UserWarning"),
]
EMBEDDING, HEAD = "embed_tokens", "lm_head"
IDS = torch.arange(5, 45).view(2, 20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each kind a run with its base and a tokenizer; the adapter is still to come."""
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    tokenizer = AutoTokenizer.from_pretrained(write_folder(folder / "source", llama()))
    for kind in ("llama", "qwen2"):
        with calm_libraries():
            model(kind, None, 0, tie_word_embeddings=True).save_pretrained(folder / kind / "base")
        tokenizer.save_pretrained(folder / kind / "model")
    return {kind: folder / kind for kind in ("llama", "qwen2")}


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    with calm_libraries():
        return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS).logits


def adapted(run: Path) -> torch.Tensor:
    from peft import PeftModel

    return logits(PeftModel.from_pretrained(loaded(run / "base"), run / "model").eval())


@pytest.mark.parametrize("tying", [False, True])
@pytest.mark.parametrize("targets", [[EMBEDDING], [HEAD], [EMBEDDING, HEAD, "q_proj"]], ids=str)
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_tied_ends(runs: dict[str, Path], kind: str, targets: list[str], tying: bool, tmp_path: Path) -> None:
    run = runs[kind]
    made.adapter(run / "model", run / "base", target_modules=targets, ensure_weight_tying=tying)
    wanted = adapted(run)
    assert (wanted - logits(loaded(run / "base"))).abs().max() > 0.1
    out = export(run, tmp_path / "out")
    exported = loaded(out)
    torch.testing.assert_close(logits(exported), wanted, atol=1e-5, rtol=1e-5)
    assert exported.config.tie_word_embeddings is tying
    with safe_open(out / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) is not tying  # noqa: SIM118


@pytest.mark.parametrize("how", [{"use_rslora": True}, {"alpha_pattern": {"embed_tokens": 4, "lm_head": 32}}], ids=str)
def test_ends_that_are_scaled_like_and_unlike(runs: dict[str, Path], how: dict[str, Any], tmp_path: Path) -> None:
    run = runs["llama"]
    made.adapter(
        run / "model", run / "base", target_modules=[EMBEDDING, HEAD], ensure_weight_tying=True, **how
    )  # fmt: skip
    exported = loaded(export(run, tmp_path / "out"))
    torch.testing.assert_close(logits(exported), adapted(run), atol=1e-5, rtol=1e-5)
    assert exported.config.tie_word_embeddings is ("use_rslora" in how)


@pytest.mark.parametrize("tying", [False, True])
def test_an_end_that_was_learned_whole(runs: dict[str, Path], tying: bool, tmp_path: Path) -> None:
    run = runs["qwen2"]
    made.adapter(run / "model", run / "base", modules_to_save=[EMBEDDING], ensure_weight_tying=tying)
    torch.testing.assert_close(logits(loaded(export(run, tmp_path / "out"))), adapted(run), atol=1e-5, rtol=1e-5)


def test_two_ends_are_said(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["llama"]
    made.adapter(run / "model", run / "base", target_modules=[EMBEDDING])
    capsys.readouterr()
    export(run, tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("changes them differently: both are written (tie_word_embeddings false)")
    assert len(said) == 2


@pytest.mark.parametrize("off", [2 * TOLERANCE, float("nan")])
def test_other_logits_are_refused(off: float) -> None:
    wanted = torch.tensor([[[-1.0, 0.5]]])
    _check(wanted + TOLERANCE / 2, wanted, Path("run"))
    with pytest.raises(RunError, match="run cannot be merged into its base: logits of the merged model differ by"):
        _check(wanted + off, wanted, Path("run"))
