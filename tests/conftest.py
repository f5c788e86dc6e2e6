"""Offline, one thread, the same numbers on every machine."""

from __future__ import annotations

import gc
import os

# Before torch is loaded. One thread: the models are tiny, and threads that wait for each other only cost time.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    WANDB_MODE="offline",
    OMP_NUM_THREADS="1",
)

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache."""
    os.environ["CURRICLE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def libraries() -> None:
    """All heavy libraries imported, and out of the garbage collector's way: accelerate collects garbage at every start
    of a training, which among their million objects takes longer than a small run itself."""
    import curricle.experiments.one
    import curricle.training.export
    import curricle.training.hf
    import curricle.training.sft  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout, when somebody put it there; tests that want it skip without it."""
    for folder in Path(__file__).resolve().parents:
        if (folder.parent / "shared" / "data").is_dir():
            return folder.parent / "shared" / "data"
    pytest.skip("no shared/data beside the checkout")
