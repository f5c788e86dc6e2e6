"""What honest code gets from the sandbox; what hostile code gets is in tests/slow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curricle.errors import RecipeError
from curricle.sandbox import Job, Limits, PythonTests, Sandbox, StdinTests, Verdict, layers
from curricle.sandbox.plan import SandboxUnavailable


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    try:
        opened = Sandbox(Limits(seconds=5), workers=2)
    except SandboxUnavailable as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with opened:
        yield opened


def judged(box: Sandbox, code: str, tests: PythonTests | StdinTests) -> Verdict:
    [verdict] = box.run([Job("it", code, tests)])
    return verdict


def outcome(box: Sandbox, code: str, tests: str, entry_point: str | None = "f", given: str = "") -> tuple[str, str]:
    verdict = judged(box, code, PythonTests(tests, entry_point, given))
    return verdict.outcome, verdict.evidence


@pytest.mark.parametrize(
    ("code", "tests", "expected"),
    [
        ("def f(x): return x + 1", "assert f(1) == 2", ("passed", "")),
        ("def f(x): return x + 1", "def check(candidate):\n    assert candidate(1) == 2", ("passed", "")),
        ("def f(x): return x", "def check(c):\n    assert c(1) == 2",
         ("failed", "assert c(1) == 2: the last call gave 1")),
        ("def f(x): return x", "check = 1\nassert f(1) == 2", ("failed", "assert f(1) == 2: the last call gave 1")),
        ("def f(x): return [x]", "assert f(1) == [1] and f((1,)) == [(1,)]", ("passed", "")),
        ("def f(x): return {x}", "assert f(1) == {1}\nassert len(f(2)) == 1", ("passed", "")),
        ("def f(x): return x[9]", "assert f([]) == 2",
         ("failed", "IndexError: list index out of range, at assert f([]) == 2")),
        ("def f(x): raise ValueError('no')", "try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    assert False",
         ("passed", "")),
        ("class E(KeyError): pass\ndef f(x): raise E(1)", "f(1)", ("failed", "E: '1', at f(1)")),
        ("def f(x:", "assert f(1) == 2", ("failed", "SyntaxError: '(' was never closed (<solution>, line 1)")),
        ("x = 1", "assert f(1) == 2", ("failed", "NameError: name 'f' is not defined")),
        ("1 / 0", "assert f(1) == 2", ("failed", "ZeroDivisionError: division by zero")),
        ("def f(x): x.append(1)", "l = [0]\nf(l)\nassert l == [0, 1]", ("passed", "")),
        ("def f(x): yield from range(x)", "assert list(f(3)) == [0, 1, 2]", ("passed", "")),
        ("def f(*a, **k): return a, k", "assert f(1, b=2) == ((1,), {'b': 2})", ("passed", "")),
        ("def f(x, kind): return [i for i in x if type(i) != kind]", "assert f([1, 'a'], str) == [1]", ("passed", "")),
        ("class N:\n    def __init__(s, v): s.v = v\ndef f(n): return n.v + n.w.v",
         "n = N(1)\nn.w = N(2)\nassert f(n) == 3\nassert n.w.v == 2", ("passed", "")),
        ("def f(x): return object()", "assert f(1) == 1",
         ("failed", "NotPlain: returned an object that is no plain value: object, at assert f(1) == 1")),
        ("def f(x): return 10 ** 5000", "assert f(1) == 1",
         ("failed", "assert f(1) == 1: the last call gave a very long number")),
        ("def f(x): raise StopIteration", "assert all(map(lambda x: f(x) == 1, [1, 2]))",
         ("failed", "RuntimeError: the sample raised StopIteration, at assert all(map(lambda x: f(x) == 1, [1, 2]))")),
        ("def f(x): return iter([x])", "i = f(1)\nassert next(i) == 1\nassert next(i, 'end') == 'end'", ("passed", "")),
        ("import os, signal\nsignal.signal(2, signal.SIG_IGN)\ndef f(x): os.kill(0, 2); return x",
         "for _ in range(20):\n    assert f(1) == 1", ("passed", "")),  # the signal reaches nobody else
        ("def f(x): return 1", "assert f(1) =",
         ("refused", "the tests cannot be read: invalid syntax (<tests>, line 1)")),
    ],
)  # fmt: skip
def test_asserts(box: Sandbox, code: str, tests: str, expected: tuple[str, str]) -> None:
    assert outcome(box, code, tests) == expected


def test_a_function_named_like_a_builtin(box: Sandbox) -> None:
    assert outcome(box, "def sum(a, b): return 6", "assert sum(10, 15) == 6", None) == ("passed", "")


def test_what_the_prompt_defines_cannot_be_defined_anew(box: Sandbox) -> None:
    prompt = "import math\ndef double(x):\n    return 2 * x\ndef f(x):\n    '''Half.'''\n"
    code, tests = prompt + "    return 0\ndef double(x): return 4", "assert math.floor(double(f(4))) == 4"
    assert outcome(box, code, tests)[0] == "passed"  # the sample's own helper says so
    assert outcome(box, code, tests, given=prompt)[0] == "failed"
    assert outcome(box, prompt + "    return x / 2", tests, given=prompt)[0] == "passed"


def test_every_sample_meets_the_same_random_inputs(box: Sandbox) -> None:
    tests = "import random\nassert f([random.random() for _ in range(3)]) is None"
    gave = {outcome(box, "def f(x): return x", tests)[1] for _ in range(8)}
    assert len(gave) == 1
    assert "gave [0." in gave.pop()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(int(input()) + 1)", ("passed", "")),
        ("import sys\nfor line in sys.stdin: sys.stdout.write(str(int(line) + 1))", ("passed", "")),
        ("print(int(input()) + 1, ' ')\nprint()\nexit()", ("passed", "")),
        ("if __name__ == '__main__': print(2)", ("failed", "case 2 of 2: line 1: expected '6', got '2'")),
        ("pass", ("failed", "case 1 of 2: line 1: expected '2', got ''")),
        ("print(2); input(); input()", ("failed", "case 1 of 2: EOFError: EOF when reading a line")),
        ("print(int(input()) + 1); exit(3)", ("crashed", "case 1 of 2: exited with status 3")),
        ("open('f', 'w').write('1')\nprint(int(open('f').read()) + int(input()))", ("passed", "")),
        ("import os\nassert not os.listdir('.'), os.listdir('.')\nprint(int(input()) + 1)", ("passed", "")),
        ("from threading import *\nt = Thread(target=lambda: print(int(input()) + 1))\nt.start(); t.join()",
         ("passed", "")),
    ],
)  # fmt: skip
def test_programs(box: Sandbox, code: str, expected: tuple[str, str]) -> None:
    verdict = judged(box, code, StdinTests([("1\n", "2\n"), ("5", "6")]))
    assert (verdict.outcome, verdict.evidence) == expected


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("raise ValueError(SPOIL)", StdinTests([("", "")])),
        ("print(SPOIL)", StdinTests([("", "")])),
        ("def f(x): raise ValueError(SPOIL)", PythonTests("f(1)")),
        ("def f(x): return SPOIL", PythonTests("assert f(1) == 2")),
        ("class E(Exception): pass\nE.__name__ = SPOIL\ndef f(x): raise E", PythonTests("f(1)")),
    ],
)
def test_evidence_spells_out_what_a_terminal_would_obey(
    box: Sandbox, code: str, tests: PythonTests | StdinTests
) -> None:
    spoil = "SPOIL = '\\x1b[2J\\x07\\x9b1m\\u202e'\n"
    verdict = judged(box, spoil + code, tests)
    assert verdict.outcome == "failed"
    assert r"\x1b[2J\x07\x9b1m\u202e" in verdict.evidence
    assert verdict.evidence.isprintable()


@pytest.mark.parametrize("told", ["5", "[" * 4000, "[1]", "{"])
def test_what_a_program_died_of_may_be_nonsense(box: Sandbox, told: str) -> None:
    code = f"""
import os
for fd in range(3, 32):
    try: os.write(fd, b'{told}')
    except OSError: pass
os._exit(1)
"""
    verdict = judged(box, code, StdinTests([("", "")]))
    assert (verdict.outcome, verdict.evidence) == ("crashed", "case 1 of 1: ended in disorder")


def test_large_inputs_and_unicode(box: Sandbox) -> None:
    text = "나" * 300_000
    assert judged(box, "print(len(input()))", StdinTests([(text, "300000")])).passed
    assert judged(box, "print(input()[:3])", StdinTests([(text, "나나나")])).passed


@pytest.mark.parametrize(
    ("code", "why"),
    [("x = '\0'", "NUL"), ("#" * (2 << 20), "characters"), ("x = '\ud800'", "Unicode")],
)
def test_code_that_cannot_run_is_refused(box: Sandbox, code: str, why: str) -> None:
    verdict = judged(box, code, StdinTests([("", "")]))
    assert verdict.outcome == "refused"
    assert why in verdict.evidence


def test_verdicts_come_in_the_order_of_the_jobs(box: Sandbox) -> None:
    jobs = (Job(str(i), f"print({i})", StdinTests([("", str(i - i % 3))])) for i in range(60))
    verdicts = list(box.run(jobs))
    assert [verdict.id for verdict in verdicts] == [str(i) for i in range(60)]
    assert [verdict.passed for verdict in verdicts] == [i % 3 == 0 for i in range(60)]


def test_a_job_leaves_nothing_to_the_next(box: Sandbox) -> None:
    spoil = (
        "import builtins, math, random\nbuiltins.print = None\nmath.pi = 3\nopen('left', 'w').close()\nrandom.seed(5)"
    )
    look = "import math, os, random\nprint(math.pi, os.listdir('.'), random.random())"
    [first, *others] = [judged(box, look, StdinTests([("", "?")])).evidence for _ in range(3)]
    judged(box, spoil, StdinTests([("", "")]))
    assert {judged(box, look, StdinTests([("", "?")])).evidence for _ in range(4)} == {first} == set(others)


def test_layers_of_a_box_are_among_those_of_the_machine(box: Sandbox) -> None:
    assert [layer for layer in layers() if layer.active] == box.layers


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"memory_mib": 16}, {"processes": 0}])
def test_limits_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Limits(**wrong)


# --- workers and examiners that die


def leaves(pid: int) -> list[int]:
    """The processes below one that have none below them: examiners, and what runs."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(
                stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[1]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
    below, found = [pid], []
    for one in below:
        children = [child for child, parent in parents.items() if parent == one]
        below += children
        found += [] if children or one == pid else [one]
    return found


def wait_for(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.01)


ADD = Job("it", "def f(x): return x + 1", PythonTests("assert f(1) == 2", "f"))
SLOW = Job("slow", "import time\ntime.sleep(1)\nprint(1)", StdinTests([("", "1")]))
SLOW_TESTS = Job("slow", "import time\ndef f(x): time.sleep(1); return x", PythonTests("assert f(1) == 1", "f"))


def test_an_examiner_that_died_between_two_jobs_is_replaced(box: Sandbox) -> None:
    with Sandbox(box.limits, workers=1) as one:
        assert [verdict.passed for verdict in one.run([ADD])] == [True]
        [worker] = one._workers
        [examiner] = leaves(worker._process.pid)
        os.kill(examiner, signal.SIGKILL)
        wait_for(lambda: examiner not in leaves(worker._process.pid))
        assert [(verdict.outcome, verdict.evidence) for verdict in one.run([ADD, ADD])] == [("passed", "")] * 2
        assert one._workers == [worker]


def test_a_worker_that_died_between_two_jobs_is_replaced(box: Sandbox) -> None:
    for job in (ADD, SLOW):
        with Sandbox(box.limits, workers=1) as one:
            assert next(one.run([ADD])).passed
            [worker] = one._workers
            os.kill(worker._process.pid, signal.SIGKILL)
            worker._process.wait()
            assert next(one.run([job])).passed


@pytest.mark.parametrize("job", [SLOW, SLOW_TESTS], ids=["a program", "tests"])
@pytest.mark.parametrize(("kills", "outcome"), [(1, "passed"), (2, "crashed")])
def test_a_job_may_lose_its_worker_once(box: Sandbox, job: Job, kills: int, outcome: str) -> None:
    with Sandbox(box.limits, workers=1) as one:
        running = one._pool.submit(one._judge, job)
        processes = 1 if isinstance(job.tests, StdinTests) else 2
        for _ in range(kills):
            [worker] = one._workers
            wait_for(lambda worker=worker: len(leaves(worker._process.pid)) == processes)  # type: ignore[misc]
            time.sleep(0.1)
            os.kill(worker._process.pid, signal.SIGKILL)
            wait_for(lambda worker=worker: one._workers != [worker])  # type: ignore[misc]
        assert running.result().outcome == outcome
        assert next(one.run([ADD])).passed
