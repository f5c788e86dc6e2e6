"""Every attack is refused or contained, and the machine is as before."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curricle.sandbox import Job, Limits, PythonTests, Sandbox, StdinTests, layers
from slow.attacks import ATTACKS, Attack

pytestmark = pytest.mark.slow

SECRET = "the user's own words"
KERNEL_LAYERS = {"namespaces", "landlock", "seccomp", "rlimits"}


@pytest.fixture(scope="module", autouse=True)
def _isolated() -> None:
    missing = KERNEL_LAYERS - {layer.name for layer in layers() if layer.active}
    if missing:
        message = f"the sandbox lacks {', '.join(sorted(missing))} on this machine"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("user") / "canary"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o666)
    return path


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of the machine, which no attack may reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture(scope="module")
def boxes() -> Iterator[dict[Limits, Sandbox]]:
    opened = {limits: Sandbox(limits, workers=1) for limits in dict.fromkeys(attack.limits for attack in ATTACKS)}
    for box in opened.values():  # so that every process it keeps is there
        assert next(box.run([Job("first", "def f(x): return x", PythonTests("assert f(1) == 1", "f"))])).passed
    yield opened
    for box in opened.values():
        box.close()


@pytest.fixture(scope="module", autouse=True)
def _machine_as_before(canary: Path, boxes: dict[Limits, Sandbox]) -> Iterator[None]:
    """No file, process or port that was not there, once all is done."""
    before = _machine(canary)
    yield
    for _ in range(100):
        if _machine(canary) == before:
            return
        time.sleep(0.05)
    assert _machine(canary) == before


def _machine(canary: Path) -> dict[str, object]:
    home = Path.home()
    return {
        "canary": canary.read_text(encoding="utf-8"),
        "beside it": sorted(os.listdir(canary.parent)),
        "home": sorted(os.listdir(home)) if home.is_dir() else [],
        "library": sorted(os.listdir(Path(os.__file__).parent)),
        "our processes": len(_descendants(os.getpid())),
        "host": socket.gethostname(),
    }


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="ascii").split()):
            try:
                found += [child, *_descendants(child)]
            except OSError:  # it has just ended
                continue
    return found


def test_there_are_enough() -> None:
    assert len(ATTACKS) >= 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_attack(attack: Attack, boxes: dict[Limits, Sandbox], canary: Path, port: int) -> None:
    code = attack.code.replace("CANARY", str(canary)).replace("PORT", str(port)).replace("PID", str(os.getpid()))
    tests = PythonTests(attack.tests, "f") if attack.tests else StdinTests([("", "ESCAPED")])
    honest = Job("honest", "print(input())", StdinTests([("42", "42")]))
    verdict, after = boxes[attack.limits].run([Job(attack.name, code, tests), honest])
    assert verdict.outcome in attack.outcomes, verdict
    assert re.search(attack.evidence, verdict.evidence), verdict
    assert verdict.seconds < 5
    assert after.passed, after
    assert canary.read_text(encoding="utf-8") == SECRET
