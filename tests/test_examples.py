"""The scripts in examples/ run, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plain_loop_learns_and_admits_more_and_more(capsys: pytest.CaptureFixture[str]) -> None:
    losses = script("plain_loop").main()
    assert losses[-1] < losses[0] / 1.5
    shares = [int(line.split(":")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] == 256


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("name", ["transformers_trainer", "trl_sft"])
def test_the_trainers_run(name: str, tmp_path: Path) -> None:
    assert script(name).main(str(tmp_path), max_steps=6).global_step == 6
