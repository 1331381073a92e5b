"""A process that runs programs: one request in, one outcome out, fresh children each, until its input ends.

    worker --header, payloads--> broker --fork, walls--> program                             (stdio, call)
                                        --fork, walls--> test code <--channel--> candidate   (check)
           <--header, streams--         <--stdout, stderr, result, exit--

Its source comes through its input and runs under `python -I -S` with an empty environment, never forked from the
worker: it has no threads, no secrets and none of the worker's memory. It never reads what it carries (see `stream`)
and judges nothing. It ends with its pipes, and all processes behind its walls end with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from vt_ray.verify.sandbox.inside import (
    check_program_side,
    check_test_side,
    confinement,
    kernel,
    namespaces,
    program_runner,
)
from vt_ray.verify.sandbox.inside.byte_stream import Stream, read_whole, sealed_file
from vt_ray.verify.sandbox.inside.confinement import Walls
from vt_ray.verify.sandbox.inside.libraries import interpreter_libraries

_STDERR_TAIL_BYTES = 2_048
_MAX_STDERR_BYTES = 1 << 20
_REAP_S = 2.0
_FORK_S = 2.0
_PROCESSORS = os.cpu_count() or 1

Job = Callable[[str], int]


class WorkerGone(Exception):
    """The other end of the pipes is closed: no reader waits for the outcome."""


def main(settings: dict[str, Any]) -> None:
    """Put up the walls, say so, and serve requests from descriptor 0 on descriptor 1."""
    backend = settings["backend"]
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        confinement.leave_root()
        confinement.prefer_for_oom()
        libraries = interpreter_libraries()
        if backend.startswith("namespaces"):
            namespaces.enter_user_namespace()
            _go_on_in_child((requests, replies))
        walls = confinement.confine_broker(backend, libraries)
    except (OSError, NotImplementedError) as error:
        _send(replies, {"failed": f"{type(error).__name__}: {error}"})
        return
    program_runner.set_up_process()
    _send(replies, {"ready": f"{sys.executable} ({sys.version.split()[0]}) as user {os.getuid()}"})
    gc.freeze()  # a collection in a child would copy every page of what was imported here
    with contextlib.suppress(WorkerGone, BrokenPipeError, EOFError):
        _serve(walls, requests, replies)


def _go_on_in_child(pipes: tuple[int, ...]) -> None:
    """The child is the first process of the new pid namespace. The parent only waits for it, and reaps it."""
    child = os.fork()
    if child == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    for descriptor in pipes:
        os.close(descriptor)
    os.waitpid(child, 0)
    os._exit(0)


def _serve(walls: Walls, requests: int, replies: int) -> None:
    streams = {
        "stdout": Stream("stdout"),
        "stderr": Stream("stderr", keep_tail=_STDERR_TAIL_BYTES),
        "result": Stream("result"),
    }
    while (request := receive(requests)) is not None:
        payloads = [sealed_file(requests, size) for size in request["payloads"]]
        outcome = _Test(walls, request, payloads, streams, requests).run()
        sizes = {name: stream.kept for name, stream in streams.items()}
        _send(replies, {"id": request["id"], "sizes": sizes} | outcome)
        for stream in streams.values():
            stream.send(replies)
            stream.clear()


def receive(source: int) -> dict[str, Any] | None:
    """The next frame; None when there will be none."""
    header = _read_exactly(source, 4)
    body = header and _read_exactly(source, struct.unpack("!I", header)[0])
    return json.loads(body) if body else None


def _read_exactly(source: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(source, size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _send(target: int, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    program_runner.write_all(target, struct.pack("!I", len(body)) + body)


class _Test:
    """One request: its processes, and the pipes that they write into."""

    def __init__(
        self,
        walls: Walls,
        request: dict[str, Any],
        payloads: list[int],
        streams: dict[str, Stream],
        requests: int,
    ) -> None:
        self.walls, self.request, self.payloads, self.streams = walls, request, payloads, streams
        self.requests = requests
        self.children: list[int] = []

    def run(self) -> dict[str, Any]:
        """Run it until its end. What it wrote is in the streams, for the worker to judge."""
        try:
            {"stdio": self._start_stdio, "call": self._start_call, "check": self._start_check}[self.request["type"]]()
            self.deadline = time.monotonic() + self.request["timeout_s"]
            stopped = self._watch()
        finally:
            codes = [_end(child) for child in self.children]
            if self.walls.backend == "unsandboxed":  # elsewhere no program has children
                _end_orphans()
        return {"exit_code": codes[0], "candidate_exit_code": codes[-1], "stopped": stopped}

    def _start_stdio(self) -> None:
        program_text, stdin = self.payloads
        self._fork(program_runner.run_stdio, program_text, stdin, self._stdout(), self._stderr())

    def _start_call(self) -> None:
        self._fork(program_runner.run_call, self.payloads[0], self._result(), self._stdout(), self._stderr())

    def _start_check(self) -> None:
        candidate_text, test_text = self.payloads
        to_test, to_candidate = (end.detach() for end in socket.socketpair())
        quiet = [os.open(os.devnull, os.O_RDWR) for _ in range(2)]
        # The test is the first child: its end is the end, and its report the result.
        self._fork(check_test_side.run_test_code, test_text, self._result(), *quiet, to_candidate)
        self._fork(check_program_side.run_candidate, candidate_text, to_test, self._stdout(), self._stderr())

    def _stdout(self) -> int:
        return self.streams["stdout"].open(self.request["output_bytes"])

    def _stderr(self) -> int:
        return self.streams["stderr"].open(_MAX_STDERR_BYTES)

    def _result(self) -> int:
        return self.streams["result"].open(self.request["output_bytes"])

    def _fork(self, job: Job, payload: int, *descriptors: int) -> None:
        """A child behind its walls that does `job`, with these descriptors as 0, 1, 2, ... All become its own."""
        confinement.next_child_in_own_pids(self.walls)
        pid = _fork_patiently()
        if pid == 0:
            self._become(job, [*descriptors, payload])
        self.children.append(pid)
        for descriptor in (*descriptors, payload):
            os.close(descriptor)

    def _become(self, job: Job, descriptors: list[int]) -> NoReturn:
        code = 1
        try:
            cpu_s = (int(self.request["timeout_s"]) + 2) * _PROCESSORS  # of all its threads together
            confinement.confine_program(self.walls, descriptors, self.request["memory_mb"], cpu_s)
            code = job(read_whole(len(descriptors) - 1))
        finally:
            os._exit(code)  # after every outcome: never back into the broker's loop

    def _watch(self) -> str:
        """Read until the first child ends. Why it must be stopped: "timeout", "output_limit", "" if it ended by itself.

        Its end is that of the process, not of its pipes, which something it left behind may hold open.
        """
        process = os.pidfd_open(self.children[0])
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self.requests, 0)  # reports only its hang-up: the worker is gone
        reading = {stream.descriptor: stream for stream in self.streams.values() if stream.descriptor >= 0}
        for descriptor in reading:
            poll.register(descriptor, select.POLLIN)
        try:
            return self._wait(process, poll, reading)
        finally:
            os.close(process)

    def _wait(self, process: int, poll: select.poll, reading: dict[int, Stream]) -> str:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, self.deadline - time.monotonic()) * 1000)}
            if self.requests in ready:
                raise WorkerGone
            for descriptor in ready & reading.keys():
                if not reading[descriptor].drain():
                    poll.unregister(descriptor)
            if process in ready:
                for stream in reading.values():  # what it wrote last may have come after this round's reading
                    stream.drain()
            if any(stream.size > stream.cap for stream in reading.values()):
                return "output_limit"
            if process in ready:
                return ""
            if time.monotonic() >= self.deadline:
                return "timeout"


def _fork_patiently() -> int:
    """As os.fork. Where brokers share a user, a program elsewhere may hold all its threads until its own end."""
    give_up = time.monotonic() + _FORK_S
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.02)


def _end(pid: int) -> int:
    """Kill the rest of a child and its group. The child's own exit code (-9: killed)."""
    for kill in (os.killpg, os.kill):  # the group does not exist before the child's setsid
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _end_orphans() -> None:
    give_up = time.monotonic() + _REAP_S
    while time.monotonic() < give_up:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for orphan in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        time.sleep(0.0005)


def _children() -> list[int]:
    """The broker has one thread, and no children but what programs left behind."""
    own = os.getpid()
    with contextlib.suppress(OSError), open(f"/proc/{own}/task/{own}/children") as listing:
        return [int(pid) for pid in listing.read().split()]
    return []
