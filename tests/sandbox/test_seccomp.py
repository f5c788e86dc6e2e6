"""The filter's search tree gives every call the answer that the lists say."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from curricle.sandbox import seccomp

pytestmark = pytest.mark.skipif(not seccomp.known_machine(), reason="no list of calls for this machine")

ALLOW, KILL, REFUSE, UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
THREAD = 0x00010000 | 0x00000F00


def answer(program: bytes, number: int, architecture: int, flags: int) -> int:
    """What the kernel would do with the program: it loads words of the call's description, compares and jumps."""
    words = {0: number, 4: architecture, 16: flags}
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    loaded = at = 0
    while True:
        code, when_true, when_false, value = steps[at]
        match code:
            case 0x20:
                loaded = words[value]
            case 0x06:
                return int(value)
            case 0x15:
                at += when_true if loaded == value else when_false
            case 0x35:
                at += when_true if loaded >= value else when_false
            case 0x45:
                at += when_true if loaded & value else when_false
            case _:
                raise AssertionError(f"step {at} is no step: {code:#x}")
        at += 1


@pytest.mark.parametrize("may_fork", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_each_call_gets_the_answer_of_the_lists(may_fork: bool, alone: bool) -> None:
    machine = os.uname().machine
    column, own = seccomp._COLUMN[machine], seccomp._ARCHITECTURES[machine]
    lists = [seccomp._DENIED, *([] if may_fork else [seccomp._FORKS]), *([] if alone else [seccomp._REACH_OUT])]
    denied = {row[column] for rows in lists for row in rows.values()}
    clone, clone3 = seccomp._CLONE[column], seccomp._CLONE3[column]
    program = seccomp.build_filter(may_fork, alone)
    for number in range(600):
        expected = (
            UNKNOWN if number in (clone3, *range(seccomp._NEWEST, 600)) else REFUSE if number in denied else ALLOW
        )
        if number != clone:
            assert answer(program, number, own, 0) == expected, number
    assert answer(program, 0x40000000 | 1, own, 0) == UNKNOWN
    assert answer(program, 0, 0x40000003, 0) == KILL
    assert answer(program, clone, own, THREAD) == ALLOW
    assert answer(program, clone, own, 17) == (ALLOW if may_fork else REFUSE)
    assert answer(program, clone, own, 0x10000000 | THREAD) == REFUSE
