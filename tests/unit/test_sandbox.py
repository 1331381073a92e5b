"""The sandbox: each known way to escape is a test, for every backend that works on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from code_problems import (
    ADD,
    CHECK_ADD,
    GOOD_ADD,
    GOOD_SUM,
    SUM,
    broker_pid,
    descendants,
    grade,
    grade_with_output,
    is_running,
    problem,
    wait_until,
)

from vt_ray.verify.limits import BACKENDS, Limits, SandboxConfig
from vt_ray.verify.sandbox import backends
from vt_ray.verify.sandbox.backends import NoSandbox
from vt_ray.verify.sandbox.inside import broker
from vt_ray.verify.sandbox.interpreter import NoInterpreter, find_interpreter
from vt_ray.verify.verifier import Verifier


def limits(backend: str = "auto", **changes) -> Limits:
    config = SandboxConfig(backend=backend, **changes)
    return Limits(test_timeout_s=1.0, completion_timeout_s=6.0, memory_mb=256, sandbox=config)


# The first in the quick round, the others with the slow tests.
@pytest.fixture(scope="module", params=[BACKENDS[0], *(pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS[1:])])
def verifier(request):
    with Verifier(limits(request.param)) as one:
        try:
            assert one.backend == request.param
        except NoSandbox as error:
            pytest.skip(f"this machine cannot: {error}")
        yield one


@pytest.fixture(scope="module")
def walled():
    """The backend that "auto" chooses on this machine."""
    with Verifier(limits()) as one:
        yield one


def printed(verifier, program: str) -> str:
    """The standard output of a program that gets no input."""
    tests = {"type": "stdio", "cases": [{"input": "", "output": "?"}]}
    return grade_with_output(verifier, tests, program).stdout_tail.strip()


# --- what a program can do ---


@pytest.mark.parametrize(
    "program",
    [
        GOOD_SUM,
        "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, sys.stdin.buffer.read().split())))",
        "import os\na, b = open(0).read().split()\nprint(int(a) + int(b), flush=True)\nos._exit(0)",
        "import threading\nthreading.stack_size(1 << 26)\ndef f():\n    print(sum(map(int, input().split())))\n"
        "t = threading.Thread(target=f)\nt.start()\nt.join()",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(8) as pool:\n"
        "    print(sum(pool.map(int, input().split())))",
        "import asyncio\nasync def f(): print(sum(map(int, input().split())))\nasyncio.run(f())",
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nassert f(50_000) == 50_000\n" + GOOD_SUM,
        "import decimal, fractions, datetime, statistics, hashlib, zlib, sqlite3, secrets, uuid, csv, pickle\n"
        + GOOD_SUM,
        "import multiprocessing, subprocess, tempfile, logging, unittest, numbers, enum, dataclasses\n" + GOOD_SUM,
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\nsignal.alarm(1)\n" + GOOD_SUM,
        "import random, time\nrandom.random(), time.sleep(0.01), time.perf_counter()\n" + GOOD_SUM,
    ],
    ids=[
        "plain",
        "buffers",
        "exit0",
        "stack",
        "pool",
        "asyncio",
        "recursion",
        "libraries",
        "more_libraries",
        "signal",
        "random",
    ],
)
def test_ordinary_programs_work(verifier, program):
    result = grade_with_output(verifier, SUM, program)
    assert result.verdict.status == "correct", result


def test_scratch_files_and_standard_streams_by_path(walled):
    program = "import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')\nopen('a', 'w').write('x')\n"
    program += "a, b = open('/dev/stdin').read().split()\nopen('/dev/stdout', 'w').write(str(int(a) + int(b)))"
    if walled.backend != "namespaces":
        pytest.skip("only with a /proc and a mount of its own")
    assert grade(walled, SUM, program).status == "correct"


def test_all_test_forms(verifier):
    for tests, program in ((SUM, GOOD_SUM), (ADD, GOOD_ADD), (CHECK_ADD, GOOD_ADD)):
        assert grade(verifier, tests, program).status == "correct"


def test_random_numbers_differ_from_program_to_program(verifier):
    program = "import random\nprint(random.random())"
    assert printed(verifier, program) != printed(verifier, program)


# --- what it cannot: the traps ---

TRY = """
import ctypes, os, resource, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def tried(attempt):
    try:
        print("THROUGH" if attempt() in (None, True) or 1 else "")
    except (OSError, ValueError, MemoryError) as error:
        print("held", type(error).__name__)
def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""

ATTEMPTS = {
    "fork": "os.fork()",
    "vfork and exec": "__import__('subprocess').run(['/bin/true'])",
    "exec": "os.execv('/usr/bin/id', ['id'])",
    "exec of the interpreter": "os.execv(sys.executable, ['python'])",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "clone without thread": "call(libc.syscall, ctypes.c_long(56), 17, 0, 0, 0, 0)",
    "clone3": "call(libc.syscall, ctypes.c_long(435), 0, 0)",
    "tcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "udp": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "datagram pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "memfd": "os.memfd_create('x')",
    "shm": "call(libc.shmget, 0, 4096, 0o1600)",
    "message queue": "call(libc.msgget, 0, 0o1600)",
    "semaphores": "call(libc.semget, 0, 1, 0o1600)",
    "posix queue": "call(libc.syscall, ctypes.c_long(240), b'x', 0o102, 0o600, None)",
    "userfaultfd": "call(libc.syscall, ctypes.c_long(323), 0)",
    "io_uring": "call(libc.syscall, ctypes.c_long(425), 8, ctypes.create_string_buffer(200))",
    "bpf": "call(libc.syscall, ctypes.c_long(321), 0, 0, 0)",
    "perf": "call(libc.syscall, ctypes.c_long(298), 0, 0, 0, 0, 0)",
    "keyring": "call(libc.syscall, ctypes.c_long(250), 0, -3, 0, 0, 0)",
    "add_key": "call(libc.syscall, ctypes.c_long(248), b'user', b'a', b'b', 1, -3)",
    "ptrace": "call(libc.ptrace, 0, 0, 0, 0)",
    "process_vm_readv": "call(libc.process_vm_readv, os.getpid(), 0, 0, 0, 0, 0)",
    "pidfd": "os.pidfd_open(os.getpid())",
    "unshare user": "call(libc.unshare, 0x10000000)",
    "unshare mounts": "call(libc.unshare, 0x20000)",
    "setns": "call(libc.setns, 0, 0)",
    "mount": "call(libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)",
    "bind mount": "call(libc.mount, b'/', b'/tmp', None, 4096, None)",
    "umount": "call(libc.umount2, b'/proc', 2)",
    "new mount api": "call(libc.syscall, ctypes.c_long(428), -100, b'/', 1)",
    "pivot_root": "call(libc.syscall, ctypes.c_long(155), b'.', b'.')",
    "chroot": "os.chroot('/')",
    "mknod": "os.mknod('dev', 0o60600, os.makedev(8, 0))",
    "setuid": "os.setuid(0)",
    "sethostname": "socket.sethostname('x')",
    "clock": "__import__('time').clock_settime(0, 0)",
    "nice": "os.nice(-5)",
    "realtime": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))",
    "affinity": "os.sched_setaffinity(0, [0])",
    "memory limit": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "process limit": "resource.setrlimit(resource.RLIMIT_NPROC, (-1, -1))",
    "file limit": "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
    "limit of another": "resource.prlimit(2, resource.RLIMIT_AS)",
    "kill group": "os.kill(0, 0)",
    "kill all": "os.kill(-1, 0)",
    "kill another": "os.kill(2, 0)",
    "kill parent's group": "os.kill(os.getppid(), 0) if os.getppid() != os.getpid() else os.kill(2, 0)",
    "signals by owner": "__import__('fcntl').fcntl(0, 8, 1)",
    "terminal input": "__import__('fcntl').ioctl(0, 0x5412, b'#')",
    "dumpable": "call(libc.prctl, 4, 1, 0, 0, 0)",
    "parent death signal": "call(libc.prctl, 1, 0, 0, 0, 0)",
    "larger pipe": "__import__('fcntl').fcntl(os.pipe()[0], 1031, 1 << 20)",
    "password file": "open('/etc/passwd').read()",
    "shadow": "open('/etc/shadow').read()",
    "home of root": "os.listdir('/root')",
    "homes": "os.listdir('/home')",
    "sys": "os.listdir('/sys')",
    "run": "os.listdir('/run')",
    "devices": "open('/dev/mem', 'rb')",
    "terminal": "os.open('/dev/tty', os.O_RDWR)",
    "core pattern": "open('/proc/sys/kernel/core_pattern', 'w')",
    "environment of pid 1": "open('/proc/1/environ', 'rb').read()",
    "memory of pid 1": "open('/proc/1/mem', 'rb').read(1)",
    "root of pid 1": "os.listdir('/proc/1/root/home')",
    "kernel messages": "open('/dev/kmsg')",
    "write library": "open(os.__file__, 'a')",
    "write library folder": "open(os.path.dirname(os.__file__) + '/x', 'w')",
    "write root": "open('/x', 'w')",
    "write dev": "open('/dev/x', 'w')",
    "shared memory folder": "open('/dev/shm/x', 'w')",
    "mode of a library": "os.chmod(os.__file__, 0o777)",
    "times of a library": "os.utime(os.__file__)",
    "large file": "open('x', 'wb').write(bytes(64 << 20))",
    "all memory": "bytearray(1 << 30)",
}
X86_ONLY = {"posix queue", "clone without thread", "userfaultfd", "bpf", "perf", "keyring", "add_key", "pivot_root"}


def test_nothing_gets_through(verifier):
    attempts = {name: text for name, text in ATTEMPTS.items() if os.uname().machine == "x86_64" or name not in X86_ONLY}
    outcomes = {name: printed(verifier, TRY + f"tried(lambda: {text})") for name, text in attempts.items()}
    assert {name: text for name, text in outcomes.items() if not text.startswith("held")} == {}


def test_foreign_system_calls_kill(verifier):
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is an ABI of x86_64")
    for number in ("0x40000000 | 39", "0x40000000 | 1"):
        verdict = grade(verifier, SUM, f"import ctypes\nctypes.CDLL(None).syscall({number})")
        assert (verdict.status, verdict.reason) == ("wrong", "killed_sandbox")


def test_only_three_descriptors_in_every_test_form(verifier):
    probe = (
        "import os\nfor fd in range(3, 256):\n    try: os.fstat(fd); print('ESCAPED', fd)\n    except OSError: pass\n"
    )
    for tests, program in ((SUM, GOOD_SUM), (ADD, GOOD_ADD), (CHECK_ADD, GOOD_ADD)):
        assert "ESCAPED" not in grade_with_output(verifier, tests, probe + program).stdout_tail


def test_no_environment(verifier):
    program = (
        "import os\nprint(sorted(os.environ))\ntry: print(open('/proc/self/environ').read())\nexcept OSError: pass"
    )
    assert printed(verifier, program) == "['HOME', 'TMPDIR']"


def test_no_other_process_is_seen(verifier):
    program = "import os\ntry: print([p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()])\n"
    assert printed(verifier, program + "except OSError: print([])") == "[]"


def test_programs_are_not_root_and_have_no_rights(walled):
    text = printed(walled, "import os\nprint(os.getuid() != 0)\nprint(open('/proc/self/status').read())")
    if walled.backend != "namespaces":
        pytest.skip("no /proc to read it from")
    assert text.startswith("True")
    assert "CapEff:\t0000000000000000" in text and "CapBnd:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text


def test_inodes_are_few(verifier):
    program = (
        "n = 0\ntry:\n    while True:\n        open(f'f{n}', 'w').close()\n        n += 1\nexcept OSError: print(n)"
    )
    assert int(printed(verifier, program)) < 3_000


def test_scratch_space_is_small(verifier):
    program = (
        "n = 0\ntry:\n    while True:\n        open(f'f{n}', 'wb').write(bytes(1 << 20))\n        n += 1\n"
        "except OSError: print(n)"
    )
    assert int(printed(verifier, program)) <= 32


def test_threads_are_few_and_memory_is_bounded_in_total(verifier):
    program = (
        "import threading, time\nn = 0\ntry:\n    while n < 5000:\n"
        "        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n        n += 1\n"
        "except (RuntimeError, MemoryError): pass\nprint(n, flush=True)\nimport os\nos._exit(0)"
    )
    assert int(printed(verifier, program)) < 100


def test_a_fork_waits_while_another_program_holds_all_threads_of_the_user(monkeypatch):
    answers = [BlockingIOError, BlockingIOError, None]

    def fork():
        if (answer := answers.pop(0)) is not None:
            raise answer
        return 7

    monkeypatch.setattr(os, "fork", fork)
    assert broker._fork_patiently() == 7
    monkeypatch.setattr(broker, "_FORK_S", 0.0)
    answers += [BlockingIOError]
    with pytest.raises(BlockingIOError):
        broker._fork_patiently()


def test_a_program_of_many_threads_that_work_is_ended_by_the_clock(verifier):
    program = (
        "import hashlib, threading\nblock = bytes(1 << 24)\ndef work():\n    while True: hashlib.sha256(block)\n"
        "for _ in range(8): threading.Thread(target=work).start()"
    )
    assert grade(verifier, SUM, program).reason == "timeout"


def test_two_programs_in_sequence_share_nothing(verifier):
    leave = (
        "import sys, builtins, os, random\nbuiltins.planted = sys.planted = 1\nsys.modules['json'] = None\n"
        "try: open('planted', 'w').write('x')\nexcept OSError: pass\nos.environ['PLANTED'] = '1'\n"
        "import math\nmath.planted = 1\nint_max = 1\n"
    )
    look = (
        "import sys, builtins, os, math, json\n"
        "print(hasattr(builtins, 'planted'), hasattr(sys, 'planted'), hasattr(math, 'planted'), "
        "os.path.exists('planted'), 'PLANTED' in os.environ)"
    )
    printed(verifier, leave)
    assert printed(verifier, look) == "False False False False False"


def test_a_program_that_stops_the_clock_of_its_own_signals_is_ended(verifier):
    program = (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True:\n    try:\n        while True: pass\n"
        "    except BaseException: pass"
    )
    begin = time.monotonic()
    assert grade(verifier, SUM, program).reason == "timeout"
    # The limits are 1 s for each of two tests and 6 s in all.
    assert time.monotonic() - begin < 6


# --- what is left behind ---


def test_nothing_is_left_behind(verifier):
    programs = [
        "import os, time\nprint(3, flush=True)\nif os.fork() == 0: time.sleep(300)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()",
        "while True: pass",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
    ]
    for program in programs:
        grade(verifier, SUM, program)
    assert len(descendants(broker_pid(verifier))) == (1 if verifier.backend.startswith("namespaces") else 0)
    assert grade(verifier, SUM, GOOD_SUM).status == "correct"


def test_close_leaves_no_process(verifier):
    with Verifier(limits(verifier.backend)) as one:
        assert grade(one, SUM, GOOD_SUM).status == "correct"
        processes = [broker_pid(one), *descendants(broker_pid(one))]
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)
    one.close()  # twice is once
    assert grade(one, SUM, GOOD_SUM).status == "correct"  # and it starts again
    one.close()


@pytest.mark.parametrize("victim", ["launcher", "broker"])
def test_a_broker_that_is_killed_is_unverified_and_replaced(verifier, victim):
    assert grade(verifier, SUM, GOOD_SUM).status == "correct"
    processes = [broker_pid(verifier), *descendants(broker_pid(verifier))]
    os.kill(processes[0] if victim == "launcher" else processes[-1], 9)
    verdict = grade(verifier, SUM, GOOD_SUM)
    assert verdict.status == "unverified" and verdict.retry and "broker was lost" in verdict.reason
    assert grade(verifier, SUM, GOOD_SUM).status == "correct"
    wait_until(lambda: not any(is_running(pid) for pid in processes))


def test_a_broker_that_does_not_answer_is_replaced(verifier, monkeypatch):
    assert grade(verifier, SUM, GOOD_SUM).status == "correct"
    processes = [broker_pid(verifier), *descendants(broker_pid(verifier))]
    os.kill(processes[-1], 19)
    with monkeypatch.context() as patch:
        patch.setattr("vt_ray.verify.sandbox.broker_client._MARGIN_S", 0.2)
        assert grade(verifier, SUM, GOOD_SUM).status == "unverified"
    assert grade(verifier, SUM, GOOD_SUM).status == "correct"
    wait_until(lambda: not any(is_running(pid) for pid in processes))


def test_a_broker_is_replaced_after_so_many_tests():
    with Verifier(limits(recycle_after=3)) as one:
        pids = set()
        for _ in range(4):
            assert grade(one, SUM, GOOD_SUM).status == "correct"  # two tests each
            pids.add(broker_pid(one))
        assert len(pids) == 3


def test_all_ends_with_the_worker(walled):
    code = (
        "import sys, time; from vt_ray.verify.verifier import *; from vt_ray.records import Problem\n"
        "v = Verifier(Limits(test_timeout_s=600, completion_timeout_s=600))\n"
        "tests = {'type': 'stdio', 'cases': [{'input': '', 'output': ''}]}\n"
        "p = Problem('q', 'c', 'code', '?', tests=tests)\n"
        "v.verify(p, '```\\npass\\n```')\n"
        "print(v.grader('code')._sandbox._broker.pid, flush=True)\n"
        "v.verify(p, '```\\nimport time\\nwhile True: time.sleep(1)\\n```')\n"
    )
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    broker = int(worker.stdout.readline())
    expected = 2 if walled.backend.startswith("namespaces") else 1  # the broker in its namespace, the program
    wait_until(lambda: len(descendants(broker)) == expected)
    processes = [broker, *descendants(broker)]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    wait_until(lambda: not any(is_running(pid) for pid in processes))


# --- which backend ---


def test_a_backend_that_leaks_is_passed_over_and_the_notes_say_so(monkeypatch):
    real = backends.successful_escapes
    monkeypatch.setattr(
        backends,
        "successful_escapes",
        lambda client: ["the network"] if client._backend == "namespaces" else real(client),
    )
    choice = backends._choose(limits())
    assert choice.backend != "namespaces"
    assert choice.notes[0] == "namespaces does not work here: the network"


def test_code_is_refused_where_nothing_holds_unless_unsafe_is_asked_for(monkeypatch):
    monkeypatch.setattr(backends, "successful_escapes", lambda client: ["host files"])
    with pytest.raises(NoSandbox, match=r"landlock does not work here: host files.*verify\.sandbox\.unsafe=true"):
        backends._choose(limits())
    assert backends._choose(limits(unsafe=True)).backend == "unsandboxed"


def test_refused_code_is_unverified_with_the_remedy(monkeypatch):
    def refuse(limits):
        raise NoSandbox("code is refused, no sandbox works here")

    monkeypatch.setattr("vt_ray.verify.programs.grader.choose_backend", refuse)
    with Verifier(limits()) as one:
        verdict = grade(one, SUM, GOOD_SUM)
    assert verdict.status == "unverified" and "no sandbox works here" in verdict.reason


def test_unsafe_has_limits_and_leaves_no_process_behind():
    with Verifier(limits("unsandboxed")) as one:
        assert one.backend == "unsandboxed"
        for tests, program in ((SUM, GOOD_SUM), (ADD, GOOD_ADD), (CHECK_ADD, GOOD_ADD)):
            assert grade(one, tests, program).status == "correct"
        assert grade(one, SUM, "import time\ntime.sleep(60)").reason == "timeout"
        assert grade(one, SUM, "x = bytearray(1 << 30)").reason == "memory"
        for extra in ("", "os.setsid()\n    "):
            program = f"import os, time\nif os.fork() == 0:\n    {extra}time.sleep(300)\n" + GOOD_SUM
            assert grade(one, SUM, program).status == "correct"
            assert descendants(broker_pid(one)) == []


def test_the_interpreter_is_one_that_its_user_can_run():
    python = find_interpreter("")
    as_nobody = {"user": 65_534, "group": 65_534, "extra_groups": []} if os.getuid() == 0 else {}
    assert subprocess.run([python, "-I", "-S", "-c", "import json"], cwd="/", env={}, **as_nobody).returncode == 0


def test_an_interpreter_that_cannot_be_run_is_named(tmp_path):
    with pytest.raises(NoInterpreter, match="/nowhere/python.*verify.sandbox.python"):
        find_interpreter("/nowhere/python")
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 'older than 3.9' >&2\nexit 1\n")
    old.chmod(0o755)
    tmp_path.chmod(0o755)
    with pytest.raises(NoInterpreter, match="python: "):
        find_interpreter(str(old))
    with Verifier(limits(python="/nowhere/python")) as one:
        verdict = one.verify(problem(SUM), f"```python\n{GOOD_SUM}\n```")
        assert verdict.status == "unverified" and "/nowhere/python" in verdict.reason
