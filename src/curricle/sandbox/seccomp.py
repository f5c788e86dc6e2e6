"""A filter of system calls: what no solution needs and many a break-out does answers "not permitted".

A list of what is denied, not of what is allowed: the interpreter's needs change with every C library. Calls newer than
this list do not exist for the code inside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from . import linux

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NEWEST = 463
_LEAF = 4
_NR, _ARCH, _ARG0_LOW = 0, 4, 16
_CLONE_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}

# name: (number on x86_64, number on aarch64); None where the architecture has no such call
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_FORKS = {"fork": (57, None), "vfork": (58, None)}
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "process_madvise": (440, 440),
    # programs: nothing in there is meant to be started
    "execve": (59, 221), "execveat": (322, 281),
    # network and what outlives a process
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "mknod": (133, None), "mknodat": (259, 33),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # the kernel's wider surface
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "personality": (135, 92), "modify_ldt": (154, None), "lookup_dcookie": (212, 18),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "iopl": (172, None), "ioperm": (173, None), "uselib": (134, None),
    "nfsservctl": (180, 42), "sysfs": (139, None), "_sysctl": (156, None), "ustat": (136, None),
    # the machine
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "vhangup": (153, 58), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
}  # fmt: skip
_REACH_OUT: dict[str, tuple[int | None, int | None]] = {
    # where no namespaces keep the machine out of sight: signals, groups, and what Landlock lets through
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "pidfd_send_signal": (424, 424),
    "setsid": (112, 157), "setpgid": (109, 154), "setpriority": (141, 140), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "prlimit64": (302, 261), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None), "fchown": (93, 55),
    "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utime": (132, None),
    "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
}  # fmt: skip


def known_machine() -> bool:
    return os.uname().machine in _ARCHITECTURES


def build_filter(may_fork: bool, alone: bool) -> bytes:
    """The program. `alone`: namespaces keep the machine out of sight; else what reaches out is denied as well."""
    column = _COLUMN[os.uname().machine]
    denied = {**_DENIED, **({} if may_fork else _FORKS), **({} if alone else _REACH_OUT)}
    numbers = sorted(number for row in denied.values() if (number := row[column]) is not None)
    refuse = _ERRNO | errno.EPERM
    program = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _ARCHITECTURES[os.uname().machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NR),
        *_unless(_AT_LEAST, _NEWEST, _ERRNO | errno.ENOSYS),  # x86_64's second set of numbers lies above too
        *_unless(
            _EQUAL, _CLONE3[column], _ERRNO | errno.ENOSYS
        ),  # its flags lie in memory; the C library then uses clone
    ]
    clone = [_step(_LOAD, _ARG0_LOW), *_unless(_ANY_BIT, _NEW_NAMESPACES, refuse)]
    if not may_fork:
        clone += [_step(_ANY_BIT, _CLONE_THREAD, 1, 0), _step(_RETURN, refuse)]
    clone.append(_step(_RETURN, _ALLOW))
    program += [_step(_EQUAL, _CLONE[column], 0, len(clone)), *clone]
    return b"".join([*program, *_refuse_all(numbers, refuse)])


def _refuse_all(numbers: list[int], refuse: int) -> list[bytes]:
    """A search tree. For every process the kernel tries the filter on each of its calls once, and at every call again,
    so that going through the whole list would cost more than all other means together."""
    if len(numbers) <= _LEAF:
        return [step for number in numbers for step in _unless(_EQUAL, number, refuse)] + [_step(_RETURN, _ALLOW)]
    half = len(numbers) // 2
    low, high = _refuse_all(numbers[:half], refuse), _refuse_all(numbers[half:], refuse)
    return [_step(_AT_LEAST, numbers[half], len(low), 0), *low, *high]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


class Filter:
    """The program in the form that the kernel takes."""

    def __init__(self, may_fork: bool, alone: bool) -> None:
        program = build_filter(may_fork, alone)
        self._code = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._code))

    def apply(self) -> None:
        """From here on, for this process and all it starts, for good; needs no_new_privs."""
        linux.prctl(linux.PR_SET_SECCOMP, 2, ctypes.byref(self._program))


def _step(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)


def _unless(test: int, value: int, answer: int) -> list[bytes]:
    """`answer` where the loaded word meets the test; otherwise the next step."""
    return [_step(test, value, 0, 1), _step(_RETURN, answer)]
