"""A process that runs programs: one request in, one outcome out, with new child processes for each request.

    worker --header, payloads--> broker --fork, confine--> program                             (stdio, call)
                                        --fork, confine--> test code <--channel--> candidate   (check)
           <--header, streams--         <--stdout, stderr, result, exit--

The broker gets its source through its input and runs under `python -I -S` with an empty environment. It is not forked
from the worker, so it has no threads, no secrets and none of the worker's memory. It moves programs and outputs without
reading them (see `byte_stream`) and judges nothing. It ends with its pipes, and all its child processes end with it.
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
    live_code_bench,
    namespaces,
    program_runner,
)
from vt_ray.verify.sandbox.inside.byte_stream import Stream, read_whole, sealed_file
from vt_ray.verify.sandbox.inside.confinement import SandboxSetup
from vt_ray.verify.sandbox.inside.libraries import interpreter_libraries, package_folders

_STDERR_TAIL_BYTES = 2_048
_MAX_STDERR_BYTES = 1 << 20
_REAP_S = 2.0
_FORK_S = 2.0
_PROCESSORS = os.cpu_count() or 1

Job = Callable[[str], int]


class WorkerGone(Exception):
    """The other end of the pipes is closed, so nothing reads the outcome."""


def main(settings: dict[str, Any]) -> None:
    """Confine the broker, report that it is ready, and serve requests from descriptor 0 on descriptor 1."""
    backend = settings["backend"]
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        confinement.leave_root()
        confinement.prefer_for_oom()
        live_code_bench.numpy_folder = numpy = settings["numpy"]
        libraries = [*interpreter_libraries(), *package_folders(numpy)]
        if backend.startswith("namespaces"):
            live_code_bench.numpy_folder = numpy and namespaces.place_inside(numpy)
            namespaces.enter_user_namespace()
            _go_on_in_child((requests, replies))
        setup = confinement.confine_broker(backend, libraries)
    except (OSError, NotImplementedError) as error:
        _send(replies, {"failed": f"{type(error).__name__}: {error}"})
        return
    program_runner.set_up_process()
    _send(replies, {"ready": f"{sys.executable} ({sys.version.split()[0]}) as user {os.getuid()}"})
    gc.freeze()  # a garbage collection in a child would copy the pages of all imported modules
    with contextlib.suppress(WorkerGone, BrokenPipeError, EOFError):
        _serve(setup, requests, replies)


def _go_on_in_child(pipes: tuple[int, ...]) -> None:
    """Continue in a child, the first process of the new pid namespace. The parent waits for the child and reaps it."""
    child = os.fork()
    if child == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    for descriptor in pipes:
        os.close(descriptor)
    os.waitpid(child, 0)
    os._exit(0)


def _serve(setup: SandboxSetup, requests: int, replies: int) -> None:
    streams = {
        "stdout": Stream("stdout"),
        "stderr": Stream("stderr", keep_tail=_STDERR_TAIL_BYTES),
        "result": Stream("result"),
    }
    while (request := receive(requests)) is not None:
        payloads = [sealed_file(requests, size) for size in request["payloads"]]
        outcome = _Test(setup, request, payloads, streams, requests).run()
        sizes = {name: stream.kept for name, stream in streams.items()}
        _send(replies, {"id": request["id"], "sizes": sizes} | outcome)
        for stream in streams.values():
            stream.send(replies)
            stream.clear()


def receive(source: int) -> dict[str, Any] | None:
    """Returns the next frame, None at the end of the input."""
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
    """One request: its processes and their output pipes."""

    def __init__(
        self,
        setup: SandboxSetup,
        request: dict[str, Any],
        payloads: list[int],
        streams: dict[str, Stream],
        requests: int,
    ) -> None:
        self.setup, self.request, self.payloads, self.streams = setup, request, payloads, streams
        self.requests = requests
        self.children: list[int] = []

    def run(self) -> dict[str, Any]:
        """Run the request to its end. The output is in the streams, for the worker to judge."""
        try:
            {"stdio": self._start_stdio, "call": self._start_call, "check": self._start_check}[self.request["type"]]()
            self.deadline = time.monotonic() + self.request["timeout_s"]
            stopped = self._watch()
        finally:
            codes = [_end(child) for child in self.children]
            if self.setup.backend == "unsandboxed":  # in the other backends no program has children
                _end_orphans()
        return {"exit_code": codes[0], "candidate_exit_code": codes[-1], "stopped": stopped}

    def _start_stdio(self) -> None:
        program_text, stdin = self.payloads
        job = live_code_bench.run_stdio if self.request["profile"] else program_runner.run_stdio
        self._fork(job, program_text, stdin, self._stdout(), self._stderr())

    def _start_call(self) -> None:
        job = live_code_bench.run_call if self.request["profile"] else program_runner.run_call
        self._fork(job, self.payloads[0], self._result(), self._stdout(), self._stderr())

    def _start_check(self) -> None:
        candidate_text, test_text = self.payloads
        to_test, to_candidate = (end.detach() for end in socket.socketpair())
        quiet = [os.open(os.devnull, os.O_RDWR) for _ in range(2)]
        # The test code is the first child: when it ends, the request ends, and its report is the result.
        self._fork(check_test_side.run_test_code, test_text, self._result(), *quiet, to_candidate)
        self._fork(check_program_side.run_candidate, candidate_text, to_test, self._stdout(), self._stderr())

    def _stdout(self) -> int:
        return self.streams["stdout"].open(self.request["output_bytes"])

    def _stderr(self) -> int:
        return self.streams["stderr"].open(_MAX_STDERR_BYTES)

    def _result(self) -> int:
        return self.streams["result"].open(self.request["output_bytes"])

    def _fork(self, job: Job, payload: int, *descriptors: int) -> None:
        """Fork a confined child that runs `job` with these descriptors as 0, 1, 2, ... and takes them over."""
        confinement.next_child_in_own_pids(self.setup)
        pid = _fork_patiently()
        if pid == 0:
            self._become(job, [*descriptors, payload])
        self.children.append(pid)
        for descriptor in (*descriptors, payload):
            os.close(descriptor)

    def _become(self, job: Job, descriptors: list[int]) -> NoReturn:
        code = 1
        try:
            cpu_s = (int(self.request["timeout_s"]) + 2) * _PROCESSORS  # of all threads together
            confinement.confine_program(self.setup, descriptors, self.request["memory_mb"], cpu_s)
            code = job(read_whole(len(descriptors) - 1))
        finally:
            os._exit(code)  # always: the child must not return into the broker's loop

    def _watch(self) -> str:
        """Read until the first child ends. Returns why it was stopped: "timeout", "output_limit", or "".

        The end of the process counts, not the end of its pipes: another process may still hold them open.
        """
        process = os.pidfd_open(self.children[0])
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self.requests, 0)  # reports only a hang-up, which means that the worker has ended
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
                for stream in reading.values():  # its last output may have arrived after this round's reading
                    stream.drain()
            if any(stream.size > stream.cap for stream in reading.values()):
                return "output_limit"
            if process in ready:
                return ""
            if time.monotonic() >= self.deadline:
                return "timeout"


def _fork_patiently() -> int:
    """As os.fork, with retries: if brokers share a user, a program of another broker may use up the thread limit."""
    give_up = time.monotonic() + _FORK_S
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.02)


def _end(pid: int) -> int:
    """Kill a child and its process group. Returns the child's exit code (-9: killed)."""
    for kill in (os.killpg, os.kill):  # before the child's setsid, the group does not exist
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
    """Returns the children of the broker: processes that programs left behind."""
    own = os.getpid()
    with contextlib.suppress(OSError), open(f"/proc/{own}/task/{own}/children") as listing:
        return [int(pid) for pid in listing.read().split()]
    return []
