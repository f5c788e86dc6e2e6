from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.runtime.rundir import hold

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
