"""The group of processes at the end of one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, sys
import torch.distributed as dist
from curricle.runtime import ranks
atexit.register(lambda: print("stands" if dist.is_initialized() else "ended"))  # runs after those registered later
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
ranks.part_at_exit()
ranks.part_at_exit()
"""


@pytest.mark.parametrize(
    ("end", "said"), [("", "ended"), ("raise RuntimeError", "stands"), ("ranks.stay_at_exit()", "stands")]
)
def test_a_process_leaves_its_group_unless_it_failed(tmp_path: Path, end: str, said: str) -> None:
    command = [sys.executable, "-c", SCRIPT + end, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [said], done.stderr
