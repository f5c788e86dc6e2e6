"""`import curricle` and `--help` load nothing heavy; what that costs in time is measured by benchmarks, not here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "pyarrow", "polars", "numpy",
    "scipy", "matplotlib", "pandas", "rich", "yaml",
)  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """The heavy libraries that a fresh Python has loaded once the code has run."""
    report = "import sys\nprint('loaded:', *(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import curricle",
        "from curricle import CurricleError",
        "from curricle.cli import main; assert main(['--help']) == 0",
        "from curricle.cli import main; assert main(['run', '--help']) == 0",
        "from curricle.cli import main; assert main(['inspect', 'masks', '--help']) == 0",
        "from curricle.cli import main; assert main(['--version']) == 0",
        "from curricle.cli import main; assert main(['no-such-command']) == 2",
    ],
)
def test_starts_light(code: str) -> None:
    assert loaded_by(code) == set()


def test_a_heavy_import_is_seen() -> None:
    assert loaded_by("import numpy") == {"numpy"}


@pytest.mark.parametrize("room", ["errors", "runtime.config", "runtime.files", "data.config", "experiments.recipe"])
def test_recipes_are_read_without_torch(room: str) -> None:
    assert not loaded_by(f"import curricle.{room}") & {"torch", "transformers", "trl", "datasets", "pyarrow"}


def test_a_misspelt_key_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {name_or_pth: x}\ndata: {train: y}\n", encoding="utf-8")
    code = f"from curricle.cli import main; assert main(['run', {str(recipe)!r}]) == 2"
    assert not loaded_by(code) & {"torch", "transformers", "trl", "datasets"}
