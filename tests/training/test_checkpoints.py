"""A checkpoint counts when it is whole."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from curricle.errors import RunError
from curricle.runtime.files import write_json
from curricle.training import checkpoints


def make(folder: Path, step: int, ranks: int = 1) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    names = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{r}.pth" for r in range(ranks)]
    for name in names:
        torch.save({"cpu": torch.random.get_rng_state()}, path / name)
    checkpoints.save_state(path, {"step": step, "world_size": ranks})
    write_json(path / "trainer_state.json", {"global_step": step})
    return path


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    make(tmp_path, 9)
    newest = make(tmp_path, 10)
    assert checkpoints.newest_whole(tmp_path) == newest


@pytest.mark.parametrize("missing", ["trainer_state.json", checkpoints.STATE_FILE, "rng_state.pth"])
def test_one_that_lacks_a_file_is_removed_and_the_older_taken(tmp_path: Path, missing: str) -> None:
    older, broken = make(tmp_path, 2), make(tmp_path, 4)
    (broken / missing).unlink()
    assert checkpoints.newest_whole(tmp_path) == older
    assert not broken.exists()


@pytest.mark.parametrize("cut", ["trainer_state.json", checkpoints.STATE_FILE, "rng_state.pth"])
def test_one_with_a_file_cut_short_is_removed(tmp_path: Path, cut: str) -> None:
    older, broken = make(tmp_path, 2), make(tmp_path, 4)
    content = (broken / cut).read_bytes()
    (broken / cut).write_bytes(content[: len(content) // 2])
    assert checkpoints.newest_whole(tmp_path) == older


def test_every_rank_must_have_saved(tmp_path: Path) -> None:
    folder = make(tmp_path, 3, ranks=2)
    (folder / "rng_state_1.pth").unlink()
    assert "rng_state_1.pth" in str(checkpoints.fault(folder))


def test_a_folder_renamed_to_another_step_is_not_whole(tmp_path: Path) -> None:
    make(tmp_path, 3).rename(tmp_path / "checkpoint-5")
    assert checkpoints.newest_whole(tmp_path) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left while writing .*checkpoint-3"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "is the disk full"),
    ],
)
def test_a_write_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path, error: Exception, told: str) -> None:
    folder = make(tmp_path, 3)
    (folder / "trainer_state.json").unlink()
    with pytest.raises(RunError, match=told), checkpoints.whole_or_removed(folder):
        raise error
    assert not folder.exists()


def test_an_old_checkpoint_that_cannot_be_removed_does_not_cost_the_new_one(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    with pytest.raises(RunError, match="Permission denied"), checkpoints.whole_or_removed(folder):
        raise PermissionError(errno.EACCES, "Permission denied", "checkpoint-2")
    assert checkpoints.newest_whole(tmp_path) == folder


def test_a_mistake_of_ours_while_saving_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), checkpoints.whole_or_removed(make(tmp_path, 3)):
        1 / 0  # noqa: B018


def test_no_run_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest_whole(tmp_path / "nowhere") is None


def test_a_checkpoint_of_another_tool_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not saved by Curricle"):
        checkpoints.load_state(tmp_path)
