"""The sandbox as users with less privilege get it: each case in a user namespace made to be like their machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, os
from curricle.sandbox import Job, Limits, PythonTests, Sandbox, StdinTests
reach = "import os, socket\\nfound = []\\n" + "".join(
    f"try:\\n    {attempt}\\n    found.append({number})\\nexcept OSError: pass\\n"
    for number, attempt in enumerate([
        "open('/etc/passwd')", "os.listdir('/')", "socket.socket()", "os.kill(os.getppid(), 9)", "os.fork()",
        "open(os.path.join('/tmp', 'planted'), 'w')", f"os.kill({os.getpid()}, 9)",
        f"os.chmod({__import__('sys').executable!r}, 0)",
    ])
) + "print(found)"
with Sandbox(Limits(seconds=2), workers=1) as box:
    jobs = [
        Job("tests", "def f(x): return x + 1", PythonTests("assert f(1) == 2", "f")),
        Job("program", "open('f', 'w').write('1')\\nprint(open('f').read())", StdinTests([("", "1")])),
        Job("loop", "while True: pass", StdinTests([("", "1")])),
        Job("attack", reach, StdinTests([("", "?")])),
        Job("after", "import os\\nprint(os.listdir('.'))", StdinTests([("", "[]")])),
    ]
    verdicts = {v.id: [v.outcome, v.evidence] for v in box.run(jobs)}
    print(json.dumps({"layers": [layer.name for layer in box.layers], "verdicts": verdicts}))
"""
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


def run(*wrapper: str) -> dict[str, Any]:
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` of util-linux here")
    if subprocess.run(["unshare", "-Ur", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [*wrapper, sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("wrapper", "layers", "seen"),
    [
        (
            ["unshare", "--user", "--map-user=1000", "--map-group=1000"],
            "namespaces landlock seccomp rlimits",
            "[1, 3, 5]",
        ),
        (["unshare", "-Ur"], "namespaces landlock seccomp rlimits", "[1, 3, 5]"),
        (["unshare", "-Ur", "sh", "-c", NO_NAMESPACES, "sh"], "landlock seccomp rlimits", "[]"),
    ],
    ids=["a user without privilege", "root of a container", "without namespaces"],
)
def test_isolation_with_less(wrapper: list[str], layers: str, seen: str) -> None:
    found = run(*wrapper)
    assert [name for name in found["layers"] if name != "cgroups"] == layers.split()
    verdicts = found["verdicts"]
    assert [verdicts[name][0] for name in ("tests", "program", "after")] == ["passed"] * 3
    assert verdicts["loop"][0] == "timeout"
    assert verdicts["attack"][1] == f"case 1 of 1: line 1: expected '?', got '{seen}'"
