"""`curricle model` from the command line: results on standard output, mistakes in one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from curricle.cli import main
from models.conversion.files import llama, write_llama2c, write_tokenizer_bin


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tokenizer_bin(tmp_path / "tok320.bin")
    return write_llama2c(tmp_path / "model.bin", llama())


def test_convert_inspect_slice_verify(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["model", "convert"]
    assert main([*convert, "model.bin", "--tokenizer", "tok320.bin", "-o", "plain", "--origin", "made here"]) == 0
    assert main([*convert, "plain", "-o", "mtp", "--heads", "2", "--kind", "sequential", "--dtype", "bfloat16"]) == 0
    assert main([*convert, "plain", "-o", "parallel", "--heads", "2"]) == 0
    assert main(["model", "slice", "parallel", "-o", "micro", "--layers", "0,-1", "--dtype", "float16"]) == 0
    written = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in written if "parameters" in line] == ["plain", "mtp", "parallel", "micro"]
    assert main(["model", "inspect", "mtp"]) == 0
    assert "2 sequential heads on a trunk of 3" in capsys.readouterr().out
    assert main(["model", "verify", "micro"]) == 0
    assert main(["model", "verify", "parallel", "--against", "plain"]) == 0
    assert "as of plain, but for 0" in capsys.readouterr().out


def test_tensors_that_do_not_fit_are_one_line(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "convert", "model.bin", "-o", "plain"]) == 0
    weights = load_file("plain/model.safetensors")
    weights["model.norm.bias"] = weights.pop("model.norm.weight")
    save_file(weights, "plain/model.safetensors", {"format": "pt"})
    Path("plain/metadata.json").unlink()
    capfd.readouterr()
    assert main(["model", "verify", "plain"]) == 2
    expected = "error: plain: `model.norm.weight` is missing; `model.norm.bias` belongs to no such model"
    assert capfd.readouterr().err.splitlines() == [expected]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("convert model.bin -o out --heads 4", "leave no trunk"),
        ("convert model.bin -o out --kind sequential", "but not how many; add --heads N"),
        ("convert nowhere -o out", "there is no nowhere"),
        ("convert model.bin -o out --tokenizer nowhere", "there is no tokenizer nowhere"),
        ("slice plain -o out --layers 0,x", "--layers takes whole numbers"),
        ("slice plain -o out --layers 7", "the model has layers 0 to 0"),
        ("inspect tok320.bin", "is no llama2.c model"),
        ("verify model.bin", "convert it first"),
    ],
)
def test_mistakes_are_one_line(source: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str) -> None:
    write_llama2c(source, llama(num_hidden_layers=1))
    assert main(["model", "convert", "model.bin", "-o", "plain"]) == 0
    assert main(["model", *line.split()]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not Path("out").exists()
