"""A full disk: one clear line, exit 2, nothing half written that a resume would take; with space again it goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slow.children import command_line, complete, finish, lines, start, steps_told

pytestmark = pytest.mark.slow

RECIPE = """
name: full
model: {name_or_path: "nano:llama", shape: {vocab_size: 300}}
data: {train: "toy:dialogue#20", format: dialogue, max_length: 512}
training: {max_steps: 4, per_device_train_batch_size: 2, save_steps: 2}
"""
RUN = Path("runs/full/base/seed-42")
TRAIN = ("train", "recipe.yaml")
NO_CHECKPOINT = ("--set", "training.save_strategy=no")
PAGE = 4096


def workplace(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = workplace(tmp_path_factory.mktemp("disk") / "whole")
    complete(command_line, folder, *TRAIN, said=folder / "log")
    return folder / RUN


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which only root may make."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system of a chosen size here: {made.stderr.strip()}")
    yield workplace(disk)
    subprocess.run(["umount", disk], check=True)


def leave(disk: Path, num_bytes: int) -> Path:
    """Fill a disk but for so much; removing the file frees it."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, free - num_bytes)
    return filler


def size(folder: Path) -> int:
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in folder.rglob("*") if file.is_file())


def train_refused(folder: Path, said: Path, *more: str) -> str:
    """Train where that cannot work; the one line it ends with."""
    code = finish(start(command_line, folder, *TRAIN, *more, said=said), said)
    told = said.read_text().splitlines()
    assert code == 2, told
    assert [line for line in told if line.startswith("error: ")] == told[-1:], told
    return told[-1]


def assert_as_whole(run: Path, whole: Path) -> None:
    assert steps_told(run) == steps_told(whole)
    assert lines(run / "consumed.jsonl") == lines(whole / "consumed.jsonl")
    assert (run / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_checkpoint_that_finds_no_space(small_disk: Path, tmp_path: Path, whole: Path, share: float) -> None:
    """Full after this share of the second checkpoint: in its weights, in the optimizer, in the last files."""
    one, before = size(whole / "checkpoint-2"), 12 * PAGE
    filler = leave(small_disk, round(before + (1 + share) * one))
    line = train_refused(small_disk, tmp_path / "log")
    assert "checkpoint-4" in line
    run = small_disk / RUN
    assert sorted(path.name for path in run.glob("*checkpoint*")) == ["checkpoint-2"]
    assert not (run / "model").exists()
    filler.unlink()
    complete(command_line, small_disk, *TRAIN, said=tmp_path / "again")
    assert "going on from checkpoint-2" in (tmp_path / "again").read_text()
    assert_as_whole(run, whole)


def test_a_finished_model_that_finds_no_space(small_disk: Path, tmp_path: Path, whole: Path) -> None:
    filler = leave(small_disk, 12 * PAGE + size(whole / "model") // 2)
    line = train_refused(small_disk, tmp_path / "log", *NO_CHECKPOINT)
    assert "no space left while writing" in line
    run = small_disk / RUN
    assert not [path for path in run.iterdir() if "model" in path.name]
    assert not (run / "results.json").exists()
    filler.unlink()
    complete(command_line, small_disk, *TRAIN, *NO_CHECKPOINT, said=tmp_path / "again")
    assert_as_whole(run, whole)


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 4, 5, 6, 7])
def test_no_space_for_the_smallest_files(small_disk: Path, tmp_path: Path, pages: int) -> None:
    leave(small_disk, pages * PAGE)
    assert "no space left while writing" in train_refused(small_disk, tmp_path / "log", *NO_CHECKPOINT)
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.parametrize("pages", [0, 2, 4, 8])
def test_no_space_for_the_cache(small_disk: Path, tmp_path: Path, pages: int) -> None:
    leave(small_disk, pages * PAGE)
    said = tmp_path / "log"
    code = finish(start(with_cache, small_disk / "cache", workplace(tmp_path / "run"), said=said), said)
    told = said.read_text().splitlines()
    assert code == 2, told
    assert "no space left while writing" in told[-1]
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.parametrize("pages", [0, 1, 3])
def test_no_space_for_an_index(small_disk: Path, tmp_path: Path, pages: int) -> None:
    """Nor for the rows that `select` writes, where there is an index: each takes more pages than these."""
    data, out = small_disk / "rows.jsonl", small_disk / "chosen.jsonl"
    data.write_text("".join(f'{{"ok":{str(i % 3 == 0).lower()},"text":"{i:030}"}}\n' for i in range(5000)))
    index = ("index", str(data), "--columns", "ok")
    select = ("select", str(data), "--where", "ok=true", "-o", str(out))
    for arguments in (index, select):
        before = {path.name for path in small_disk.iterdir()}
        filler = leave(small_disk, pages * PAGE)
        log = tmp_path / arguments[0]
        code = finish(start(command_line, small_disk, *arguments, said=log), log)
        told = log.read_text().splitlines()
        assert code == 2, told
        assert "no space left" in told[-1].lower()
        filler.unlink()
        assert {path.name for path in small_disk.iterdir()} == before
        complete(command_line, small_disk, *arguments, said=log)
        assert {path.name for path in small_disk.iterdir()} > before
    assert len(out.read_text().splitlines()) == 1667


def with_cache(cache: Path, folder: Path) -> None:
    os.environ["CURRICLE_CACHE"] = str(cache)
    command_line(folder, *TRAIN)


def test_a_file_that_may_not_grow_as_large_as_the_weights(tmp_path: Path, whole: Path) -> None:
    """The same without root: the operating system refuses files over a limit."""
    folder, said = workplace(tmp_path / "run"), tmp_path / "log"
    limit = (whole / "model/model.safetensors").stat().st_size // 2
    code = finish(start(limited, limit, folder, said=said), said)
    told = said.read_text().splitlines()
    assert code == 2, told
    assert "checkpoint-2: File too large" in told[-1]
    assert not list((folder / RUN).glob("checkpoint-*"))
    complete(command_line, folder, *TRAIN, said=said)
    assert_as_whole(folder / RUN, whole)
    shutil.rmtree(folder)


def limited(num_bytes: int, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
    command_line(folder, *TRAIN)
