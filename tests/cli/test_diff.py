"""`curricle diff` from the command line: figures on standard output, mistakes in one line and exit code 2."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from curricle.cli import main
from experts.made import adapter, base


@pytest.fixture
def experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    adapter(Path("code"), base(Path("base")))
    adapter(Path("web"), Path("base"), seed=4)


@pytest.mark.usefixtures("experts")
def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "base", "code=code", "web=web", "-o", "diffs", "--normalize", "l2", "--npy", "--dense"]) == 0
    said = capsys.readouterr().out
    assert "code: rank 4, 4 tensors with " in said
    assert "normalized to 1" in said
    assert said.splitlines()[-4].split() == ["cosine", "code", "web"]
    assert said.splitlines()[-1] == "written to diffs"
    assert Path("diffs/web/diff_web.npy").is_file()


@pytest.mark.usefixtures("experts")
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("base code -o out", "an expert is written NAME=PATH"),
        ("base code=nowhere -o out", "nowhere is neither a folder nor a model"),
        ("code web=web -o out", "it is an adapter, which stands beside a model"),
        ("base code=code -o base", "base holds base, which is read"),
        ("base code=code -o code --force", "code holds code, which is read"),
        ("base code=code -o out --npy --max-npy 1e-9", "and 1e-09 are allowed"),
        ("base code=code -o base/config.json", "config.json is a file"),
    ],
)
def test_mistakes_are_one_line(line: str, problem: str, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["diff", *line.split()]) == 2
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert problem in said[0]
    assert not Path("out").exists()


@pytest.mark.usefixtures("experts")
@pytest.mark.parametrize(("more", "most"), [([], 4096), (["--npy"], 16384), (["--dense"], 16384)])
def test_a_disk_that_takes_no_more(more: list[str], most: int, capfd: pytest.CaptureFixture[str]) -> None:
    """No file may grow past `most`: the factors do, or only their dense forms."""
    capfd.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        assert main(["diff", "base", "code=code", "-o", "out", *more]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capfd.readouterr().err == "error: cannot write out: File too large; nothing was replaced.\n"
    assert not list(Path().glob("*out*"))
    assert main(["diff", "base", "code=code", "-o", "out"]) == 0
