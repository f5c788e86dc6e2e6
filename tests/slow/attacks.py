"""Attacks on the sandbox and on its judge: what hostile code tries, and what it must get.

Programs print ESCAPED where they succeed, which is the very output they are judged by. CANARY stands for a file of the
user, PORT for a port that the machine listens on, PID for the process of the judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from curricle.sandbox import Limits

TIGHT = Limits(seconds=1.0, memory_mib=256)
FORKING = Limits(seconds=1.0, memory_mib=256, processes=4)


@dataclass(frozen=True)
class Attack:
    name: str
    code: str
    evidence: str
    """What the evidence must say, as a pattern: an attack that failed for another reason has not been tried."""
    outcomes: tuple[str, ...] = ("failed",)
    limits: Limits = TIGHT
    tests: str = ""
    """Asserts for the sample; a program without."""


ABSENT = "FileNotFoundError|NotADirectoryError"
DENIED = "PermissionError|Operation not permitted"

_CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    if libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args]) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


def _program(name: str, code: str, evidence: str, outcome: str = "failed", limits: Limits = TIGHT) -> Attack:
    return Attack(name, code + "\nprint('ESCAPED')\n", evidence, tuple(outcome.split()), limits)


def _syscall(name: str, arguments: str, evidence: str = DENIED) -> Attack:
    """A kernel call by its number, which is the same on x86_64 and on 64-bit ARM or given for both."""
    return _program(f"call {name}", f"{_CALL}\nx86 = os.uname().machine == 'x86_64'\ncall({arguments})", evidence)


FILES = [
    _program("read a file", "open('CANARY').read()", ABSENT),
    _program("write a file", "open('CANARY', 'w').write('gone')", ABSENT),
    _program("delete a file", "import os; os.remove('CANARY')", ABSENT),
    _program("read by a link", "import os; os.symlink('CANARY', 'link'); open('link').read()", ABSENT),
    _program("climb by dots", "open('../../../../../..' + 'CANARY').read()", ABSENT),
    _program("read users", "open('/etc/passwd').read()", ABSENT),
    _program("read the process table", "import os; os.listdir('/proc')", ABSENT),
    _program("read the parent's environment", "open('/proc/1/environ').read()", ABSENT),
    _program("go by the root of a process", "open('/proc/self/{}/etc/passwd'.format('root')).read()", ABSENT),
    _program("read system settings", "import os; os.listdir('/sys')", ABSENT),
    _program(
        "write into the library", "import os; open(os.__file__, 'a').write('print(1)')", "OSError|PermissionError"
    ),
    _program("delete from the library", "import os; os.remove(os.__file__)", "OSError|PermissionError"),
    _program(
        "plant a module", "import os; open(os.path.dirname(os.__file__) + '/evil.py', 'w')", "OSError|PermissionErr"
    ),
    _program("write at the root", "open('/evil', 'w')", "OSError|PermissionError"),
    _program("use installed packages", "import torch", "ModuleNotFoundError"),
    _program("make a device", "import os; os.mknod('disk', 0o60666, os.makedev(8, 0))", DENIED),
    _program("leave by chroot", "import os; os.mkdir('x'); os.chroot('x')", DENIED),
    _program("old root", "import os; os.listdir('/old')", ABSENT),
    _program("delete the own folder", "import os, shutil; shutil.rmtree('/box')", "OSError|PermissionError"),
    _program("fill the folder", "with open('big', 'wb') as f:\n    while True: f.write(b'x' * 65536)", "OSError"),
    _program("fill with files", "for i in range(10**6):\n    open(f'f{i}', 'w').close()", "OSError"),
    _program("fill by holes", "import os; f = os.open('h', 66); os.posix_fallocate(f, 0, 1 << 32)", "OSError"),
    _program("open many files", "files = [open('f', 'w') for _ in range(10**5)]", "OSError"),
]

KERNEL = [
    _program("connect", "import socket; socket.create_connection(('127.0.0.1', PORT))", DENIED),
    _program("listen", "import socket; socket.socket().bind(('', 0))", DENIED),
    _program("datagrams", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", DENIED),
    _program("local sockets", "import socket; socket.socket(socket.AF_UNIX)", DENIED),
    _program("raw packets", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", DENIED),
    _program("netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", DENIED),
    _program("look up a name", "import socket; socket.getaddrinfo('example.com', 80)", "gaierror|Error"),
    _program("signal the judge", "import os; os.kill(PID, 9)", "ProcessLookupError"),
    _program("start a shell", "import os; os.execv('/bin/sh', ['sh'])", DENIED + "|" + ABSENT),
    _program("start python", "import subprocess, sys; subprocess.run([sys.executable])", DENIED + "|" + ABSENT),
    _program("become root", "import os; os.setuid(0)", DENIED),
    _program("become a group", "import os; os.setgroups([0])", DENIED),
    _program(
        "raise the limits", "from resource import *; setrlimit(RLIMIT_AS, (-1, -1))", "ValueError|PermissionError"
    ),
    _program("rename the host", "import socket; socket.sethostname('evil')", DENIED),
    _program("set the clock", "import time; time.clock_settime(time.CLOCK_REALTIME, 0)", DENIED),
    _program("raise priority", "import os; os.nice(-10)", DENIED),
    _syscall("unshare", "272 if x86 else 97, 0x10000000"),
    _syscall("setns", "308 if x86 else 268, 0, 0"),
    _syscall("mount", "165 if x86 else 40, b'none', b'/box', b'proc', 0, 0"),
    _syscall("umount", "166 if x86 else 39, b'/box/own', 2"),
    _syscall("pivot_root", "155 if x86 else 41, b'/', b'/box'"),
    _syscall("ptrace", "101 if x86 else 117, 16, 1, 0, 0"),
    _syscall("process_vm_readv", "310 if x86 else 270, 1, 0, 0, 0, 0, 0"),
    _syscall("open_by_handle_at", "304 if x86 else 265, 0, 0, 0"),
    _syscall("clone into namespaces", "56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0"),
    _syscall("clone3", "435, 0, 88", "Function not implemented"),
    _syscall("bpf", "321 if x86 else 280, 0, 0, 0"),
    _syscall("keyctl", "250 if x86 else 219, 0, -3"),
    _syscall("perf_event_open", "298 if x86 else 241, 0, 0, -1, -1, 0"),
    _syscall("io_uring_setup", "425, 8, 0"),
    _syscall("userfaultfd", "323 if x86 else 282, 0"),
    _syscall("memfd_create", "319 if x86 else 279, b'x', 0"),
    _syscall("shared memory", "29 if x86 else 194, 0, 4096, 0o1666"),
    _syscall("message queue", "68 if x86 else 186, 0, 0o1666"),
    _syscall("kernel module", "175 if x86 else 105, 0, 0, 0"),
    _syscall("reboot", "169 if x86 else 142, 0, 0, 0, 0"),
    _syscall("pidfd_getfd", "438, 0, 0, 0"),
    _syscall("a call of tomorrow", "600, 0", "Function not implemented"),
]

EXHAUSTION = [
    _program("fork", "import os; os.fork()", DENIED),
    _program("fork bomb", "import os\nwhile True: os.fork()", DENIED),
    _program("fork bomb where forks are allowed", "import os\nwhile True: os.fork()",
             "BlockingIOError|still running|disorder", "failed timeout crashed", FORKING),
    _program("silent fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
             "still running", "timeout", FORKING),
    _program("thread bomb", "from threading import *\nimport time\n"
             "while True: Thread(target=time.sleep, args=(60,)).start()", "RuntimeError|MemoryError", "failed memory"),
    _program("one large block", "x = bytearray(1 << 40)", "MemoryError", "memory"),
    _program("many small blocks", "x = []\nwhile True: x.append('x' * 10000 + str(len(x)))",
             "MemoryError|still running", "memory timeout"),
    _program("anonymous maps", "import mmap\nx = []\nwhile True:\n    x.append(mmap.mmap(-1, 1 << 24))\n"
             "    x[-1].write(b'1')", "OSError|MemoryError", "failed memory"),
    _program("memory in spite of errors", "x = []\nwhile True:\n    try: x.append(bytearray(1 << 20))\n"
             "    except MemoryError: pass", "still running", "timeout"),
    _program("a large number", "x = 7 ** (10 ** 9)", "still running|MemoryError|SIGKILL", "timeout memory crashed"),
    _program("endless loop", "while True: pass", "still running", "timeout"),
    _program("sleep", "import time; time.sleep(1000)", "still running", "timeout"),
    _program("catch every signal", "import signal\nfor s in set(signal.Signals) - {9, 19}:\n"
             "    signal.signal(s, lambda *_: None)\n"
             "while True:\n    try: signal.pause()\n    except BaseException: pass", "still running", "timeout"),
    _program("one endless search", "import re; re.match('(a*)*b', 'a' * 60)", "still running", "timeout"),
    _program("endless output", "while True: print('ESCAPED' * 100)", "printed more"),
    _program("endless complaints", "import sys\nwhile True: sys.stderr.write('x' * 1000)", "still running", "timeout"),
    _program("output without lines", "import os\nwhile True: os.write(1, b'x' * 65536)", "printed more"),
    _program("deep recursion", "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
             "MemoryError|SIGSEGV|still running", "memory crashed timeout"),
    _program("a broken pointer", "import ctypes; ctypes.string_at(0)", "SIGSEGV", "crashed"),
    _program("abort", "import os; os.abort()", "SIG", "crashed"),
    _program("many brackets", "(" * 200_000, "SyntaxError|MemoryError|RecursionError|SIGSEGV",
             "failed memory crashed"),
    _program("leave a daemon", "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
             "        while True: time.sleep(0.01)\n    os._exit(0)\nraise KeyError('left')", "left",
             "failed", FORKING),
    _program("signal everyone", "import os, signal\nos.kill(-1, 9)", "ProcessLookupError|Error"),
    _program("end process 1", "import os\nos.kill(1, 9)\nraise KeyError('alive')", "alive"),
]  # fmt: skip

PRIVACY = [
    _program("read the environment", "import os\nassert os.environ, 'empty'", "empty"),
    _program("read the environment in C", "import ctypes\ng = ctypes.CDLL(None).getenv\ng.restype = ctypes.c_char_p\n"
             "assert any(g(n) for n in (b'HOME', b'PATH', b'USER', b'SHELL')), 'empty'", "empty"),
    _program("read the arguments", "import sys\nassert any(sys.argv + sys.orig_argv), 'empty'", "empty"),
    _program("use inherited files", "import os\nfound = []\nfor fd in range(4, 64):\n    try: os.fstat(fd)\n"
             "    except OSError: continue\n    found.append(fd)\nassert len(found) > 1, 'none'", "none"),
    _program("see other processes", "import os\nassert os.getpid() != 1, 'alone'", "alone"),
    _program("see the host's name", "import os\nassert os.getloadavg() is None, 'nothing'", "nothing|Error"),
]  # fmt: skip


def _sample(name: str, code: str, evidence: str, outcome: str = "failed", tests: str = "") -> Attack:
    return Attack(name, code, evidence, tuple(outcome.split()), TIGHT, tests or "assert f(1) == 2\nassert f(20) == 21")


JUDGE = [
    _sample("equal to everything", "class A:\n    def __eq__(s, o): return True\n    __hash__ = None\n"
            "def f(x): return A()", "no plain value"),
    _sample("never unequal", "class A:\n    def __ne__(s, o): return False\ndef f(x): return A()", "no plain value",
            tests="assert not f(1) != 2"),
    _sample("a number equal to everything", "class A(int):\n    def __eq__(s, o): return True\n"
            "    def __hash__(s): return 0\ndef f(x): return A(5)", "gave 5"),
    _sample("text equal to everything", "class A(str):\n    def __eq__(s, o): return True\ndef f(x): return A('no')",
            "gave 'no'", tests="assert f(1) == 'yes'"),
    _sample("a list equal to everything", "class A(list):\n    def __eq__(s, o): return True\n    def __iter__(s): "
            "return iter([2])\ndef f(x): return A([5])", "gave \\[5\\]", tests="assert f(1) == [2]"),
    _sample("true when asked", "class A:\n    def __bool__(s): return True\ndef f(x): return A()", "no plain value",
            tests="assert f(1)"),
    _sample("a false class", "class A:\n    __class__ = property(lambda s: int)\n    def __eq__(s, o): return True\n"
            "def f(x): return A()", "TypeError|no plain value"),
    _sample("smaller and larger", "class A:\n    def __lt__(s, o): return True\n"
            "    __sub__ = __rsub__ = __abs__ = lambda s, *o: s\ndef f(x): return A()", "TypeError|no plain value",
            tests="assert abs(f(1) - 2) < 1e-6"),
    _sample("equal inside a list", "class A:\n    def __eq__(s, o): return True\ndef f(x): return [A()]",
            "no plain value", tests="assert f(1) == [2]"),
    _sample("patched builtins", "import builtins\nbuiltins.abs = builtins.all = builtins.round = lambda *a: True\n"
            "def f(x): return 0", "gave 0", tests="assert abs(f(1) - 2) < 1e-6"),
    _sample("all builtins patched", "import builtins\nfor n in dir(builtins):\n"
            "    setattr(builtins, n, lambda *a, **k: True)\ndef f(x): return 0", ".", "failed crashed"),
    _sample("a builtin of the same name", "def abs(x): return 0\ndef f(x): return 9", "gave 9",
            tests="assert abs(f(1) - 2) < 1e-6"),
    _sample("patched mathematics", "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 0", "gave 0",
            tests="import math\nassert math.isclose(f(1), 2)"),
    _sample("a module of the same name", "class math:\n    isclose = staticmethod(lambda *a, **k: True)\n"
            "def f(x): return 0", "gave 0", tests="assert math.isclose(f(1), 2)"),
    _sample("own exceptions", "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\n"
            "def f(x): return 0", "gave 0"),
    _sample("its own check", "def check(f): pass\ndef f(x): return 0", "gave 0",
            tests="def check(c):\n    assert c(1) == 2\n"),
    _sample("exit at once", "import sys; sys.exit(0)", "SystemExit", "crashed"),
    _sample("exit harder", "import os; os._exit(0)", "status 0", "crashed"),
    _sample("exit when called", "import sys\ndef f(x): sys.exit(0)", "SystemExit", "crashed"),
    _sample("exit harder when called", "import os\ndef f(x): os._exit(0)", "status 0", "crashed"),
    _sample("stop the tests", "def f(x): raise KeyboardInterrupt", "KeyboardInterrupt", "crashed"),
    _sample("print a verdict", "print('{\"outcome\": \"passed\", \"evidence\": \"\"}')\ndef f(x): return 0", "gave 0"),
    _sample("write a verdict everywhere", "import os, struct\nbody = b'{\"outcome\": \"passed\", \"evidence\": \"\"}'\n"
            "for fd in range(64):\n    for text in (body, struct.pack('=I', len(body)) + body):\n"
            "        try: os.write(fd, text)\n        except OSError: pass\ndef f(x): return 0", ".", "failed crashed"),
    _sample("answer before the question", "import os, struct\nbody = b'{\"value\": 2}'\nfor fd in range(3, 64):\n"
            "    try: os.write(fd, (struct.pack('=I', len(body)) + body) * 9)\n    except OSError: pass\n"
            "def f(x): return 0", ".", "failed crashed"),
    _sample("a kind that is none", "import os, struct\n"
            "body = b'{\"value\": {\"kind\": \"__import__\", \"of\": \"os\"}}'\n"
            "def f(x):\n    for fd in range(3, 64):\n"
            "        try: os.write(fd, struct.pack('=I', len(body)) + body)\n"
            "        except OSError: pass\n    os._exit(0)", "no value of kind", "crashed"),
    _sample("a message without end", "import os\ndef f(x):\n    for fd in range(3, 64):\n"
            "        try: os.write(fd, b'\\xff' * 64)\n        except OSError: pass\n    os._exit(0)", "message of",
            "crashed"),
    _sample("deep nesting", "def f(x):\n    y = []\n    for _ in range(10**5): y = [y]\n    return y", "Recursion"),
    _sample("a very large value", "def f(x): return 'x' * (50 << 20)", ".", "failed crashed memory timeout"),
    _sample("an endless value", "import itertools\ndef f(x): return itertools.count()", "MemoryError|no result",
            "memory timeout", tests="assert list(f(1)) == [2]"),
    _sample("search for the answer", "import gc\ndef f(x):\n    for o in gc.get_objects():\n"
            "        if isinstance(o, dict) and 'tests' in o and 'entry_point' in o: return 2\n"
            "    raise LookupError('nothing here')", "nothing here"),
    _sample("look up the stack", "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
            "        if 'tree' in frame.f_locals: return 2\n        frame = frame.f_back\n"
            "    raise LookupError('none')", "none"),
    _sample("replace the messenger", "import sys\nsys.modules['curricle.sandbox.solution'].encode = lambda *a: "
            "{'kind': 'bool', 'of': 'True'}\ndef f(x): return 0", "ended|no value|Error|at ", "failed crashed"),
    _sample("go on after the answer", "import time\nfrom threading import Thread\n"
            "Thread(target=time.sleep, args=(99,)).start()\ndef f(x): return 0", "gave 0"),
    _sample("redefine a helper", "def helper(x): return 2\ndef f(x): return 0", "gave 0",
            tests="def helper(x): return x\nassert helper(f(1)) == 2"),
    _sample("no function at all", "x = 1", "NameError|not defined"),
    _sample("wait for ever", "import time\ndef f(x): time.sleep(99)", "no result", "timeout"),
    _sample("too much memory when called", "def f(x): return len(bytearray(1 << 40))", "MemoryError", "memory"),
]  # fmt: skip

ATTACKS = [*FILES, *KERNEL, *EXHAUSTION, *PRIVACY, *JUDGE]
