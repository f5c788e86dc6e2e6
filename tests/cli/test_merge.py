"""`curricle merge` on the command line, and that it starts without transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from curricle.cli import main
from experts import made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    base = made.base(folder / "base")
    return {"base": base, "a": made.moved(folder / "a", base, 1), "b": made.moved(folder / "b", base, 2)}


def flags(models: dict[str, Path], out: Path, *more: str) -> list[str]:
    experts = [f"--expert=a={models['a']}@0.5", f"--expert=b={models['b']}@0.25"]
    return ["merge", "--base", str(models["base"]), *experts, "-o", str(out), *more]


def test_flags_and_yaml_say_the_same(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(models, tmp_path / "flags")) == 0
    said = capsys.readouterr()
    assert "merged = base + 0.5 * (a - base) + 0.25 * (b - base); normalize none" in said.out
    assert "holds at most about" in said.err
    config = tmp_path / "config.yml"
    config.write_text(
        f"merge_method: task_arithmetic\nbase_model: {models['base']}\nmodels:\n"
        + "".join(f"  - {{model: {models[n]}, parameters: {{weight: {w}}}}}\n" for n, w in (("a", 0.5), ("b", 0.25)))
    )
    assert main(["merge", str(config), "-o", str(tmp_path / "yaml")]) == 0
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("flags", "yaml"))
    assert all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--normalize", "sum2"], "'sum2' is not one of"),
        (["--method", "ties"], "ties needs a density"),
        (["--expert", "a=elsewhere@1"], "two experts are called `a`"),
        (["--shard-size", "5"], "--shard-size is '5'; write a number and KB, MB or GB"),
        (["config.yml"], "config.yml says what is merged; --base, --expert beside it"),
    ],
)
def test_mistakes_are_one_line(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert main(flags(models, tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_something_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "--base", "b"]) == 2
    assert "-o is missing" in capsys.readouterr().err
    assert main(["merge", "-o", str(tmp_path / "out")]) == 2
    assert "give --base and an --expert NAME=PATH@WEIGHT" in capsys.readouterr().err


def test_no_library_but_torch_and_safetensors(models: dict[str, Path], tmp_path: Path) -> None:
    """A merge of full models in a fresh process: importing transformers alone would take longer than the merge."""
    code = (
        "import sys\nfrom curricle.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "heavy = {'transformers', 'peft', 'datasets', 'pyarrow', 'scipy', 'accelerate', 'rich'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    arguments = flags(models, tmp_path / "out", "--method", "ties", "--density", "0.5", "--normalize", "sum1")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
