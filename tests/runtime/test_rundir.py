from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.runtime.rundir import find_run, hold

HOLD = """
import sys
from curricle.runtime.rundir import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_in_use_is_refused_and_free_again_when_the_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by another process .pid {owner.pid}"), hold(tmp_path):
            pass
        owner.kill()
        owner.wait()
        with hold(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_folder_nothing_was_written_to_is_gone_afterwards(tmp_path: Path) -> None:
    with hold(tmp_path / "empty"):
        pass
    with hold(tmp_path / "used"):
        (tmp_path / "used" / "result").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    with hold(tmp_path / "used"), pytest.raises(RunError, match=f"pid {os.getpid()}"), hold(tmp_path / "used"):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    bad = (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "dangling")
    for folder in (Path("/proc/x"), Path("in-a-removed-folder"), *bad):
        with pytest.raises(RunError, match=f"cannot write {folder}: "), hold(folder):
            pass


def test_a_folder_that_goes_away_meanwhile_is_made_again(tmp_path: Path) -> None:
    """Two processes that hold it and let it go as fast as they can: each gets it, or is told who has it."""
    often = """
import sys
from curricle.errors import RunError
from curricle.runtime.rundir import hold
held = 0
for _ in range(300):
    try:
        with hold(sys.argv[1]):
            held += 1
    except RunError as error:
        assert "in use by another process" in str(error), error
print(held)
"""
    command = [sys.executable, "-c", often, str(tmp_path / "run")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert all(int(one.communicate(timeout=60)[0]) > 0 for one in both)
    assert [one.returncode for one in both] == [0, 0]
    assert not list(tmp_path.iterdir())


def test_the_one_run_below_a_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "arm" / "seed-0", tmp_path / "other" / "seed-3"
    for run in (first, second):
        (run / "model").mkdir(parents=True)
    assert find_run(first) == find_run(first.parent) == first
    with pytest.raises(RunError, match=r"holds 2 runs \(arm/seed-0, other/seed-3\); name one of them"):
        find_run(tmp_path)
    (second / "model").rmdir()
    assert find_run(tmp_path) == first
    with pytest.raises(RunError, match="holds no finished run"):
        find_run(second)
