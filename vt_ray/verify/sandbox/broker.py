"""A process that runs programs: one request in, one outcome out, a fresh child each, until its input ends.

    worker --length, JSON--> broker --fork--> child: program
           <--length, JSON--        <--stdout, stderr, result, exit--

Started as `python -I -S broker.py DIRECTORY` with an empty environment, never forked from the worker: it has
no threads, no secrets and none of the worker's memory. It learns what goes into a test, never what should
come out, and judges nothing. No security boundary yet: it stops runaway programs, not malicious ones.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import json
import os
import select
import shutil
import struct
import sys
import time
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # -I takes it out
import program  # noqa: E402

del sys.path[0]

_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9
_STDERR_TAIL_BYTES = 2_048
_MAX_STDERR_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_REAP_S = 2.0


class WorkerGone(Exception):
    """The other end of the pipes is closed: nobody waits for the outcome."""


def main() -> None:
    """Serve requests from descriptor 0 on descriptor 1."""
    root = sys.argv[1]
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    # What a program leaves behind becomes this process's child, and so can be found and killed.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # a collection in a child would copy every page of what was imported here
    try:
        _serve(requests, replies, root)
    except (WorkerGone, BrokenPipeError):
        pass
    finally:
        _remove(root)


def _serve(requests: int, replies: int, root: str) -> None:
    number = 0
    while (request := _receive(requests)) is not None:
        directory = os.path.join(root, str(number))
        number += 1
        os.mkdir(directory)
        _send(replies, {"id": request["id"]} | _run_test(request, directory, requests))
        _remove(directory)


def _receive(source: int) -> dict[str, Any] | None:
    header = _read_exactly(source, 4)
    body = header and _read_exactly(source, struct.unpack("!I", header)[0])
    return json.loads(body) if body else None


def _read_exactly(source: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        chunk = os.read(source, size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _send(target: int, outcome: dict[str, Any]) -> None:
    body = json.dumps(outcome).encode()
    frame = struct.pack("!I", len(body)) + body
    while frame:
        frame = frame[os.write(target, frame) :]


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)  # nearly always empty
    except OSError:
        with contextlib.suppress(RecursionError):  # nested a thousand deep: it stays
            shutil.rmtree(directory, ignore_errors=True)


def _run_test(request: dict[str, Any], directory: str, requests: int) -> dict[str, Any]:
    """Run one program on one test. What it wrote comes back as it is, for the worker to judge."""
    stdin = os.memfd_create("stdin")
    os.write(stdin, request.get("input", "").encode("utf-8", "surrogatepass"))
    os.lseek(stdin, 0, os.SEEK_SET)
    pipes = [os.pipe() for _ in range(3 if request["type"] == "call" else 2)]
    deadline = time.monotonic() + request["timeout_s"]
    pid = os.fork()
    if pid == 0:
        _become_program(request, directory, [stdin, *(write for _, write in pipes)])
    for descriptor in (stdin, *(write for _, write in pipes)):
        os.close(descriptor)
    cap = request["output_bytes"]
    stdout, stderr, *results = (Stream(read, cap) for read, _ in pipes)
    stderr.cap, stderr.keep_tail = _MAX_STDERR_BYTES, _STDERR_TAIL_BYTES
    try:
        stopped = _watch(pid, [stdout, stderr, *results], deadline, requests)
    finally:
        code = _end(pid)
    for read, _ in pipes:
        os.close(read)
    return {
        "exit_code": code,
        "stopped": stopped,
        "stdout": base64.b64encode(stdout.data).decode(),
        "stderr": stderr.data.decode("utf-8", "replace"),
        "result": base64.b64encode(results[0].data).decode() if results and results[0].data else None,
    }


def _become_program(request: dict[str, Any], directory: str, descriptors: list[int]) -> NoReturn:
    code = 1
    try:
        program.confine(directory, descriptors, request["memory_mb"], int(request["timeout_s"]) + 2)
        code = program.run(request)
    finally:
        os._exit(code)  # whatever happened: never back into the broker's loop


class Stream:
    """The reading end of a pipe: at most `cap` bytes, of which the last `keep_tail` are kept (0: all)."""

    def __init__(self, descriptor: int, cap: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor, self.cap, self.keep_tail = descriptor, cap, 0
        self.data, self.size = b"", 0

    def drain(self) -> bool:
        """Take what is there now. False once the other end is closed by all."""
        while self.size <= self.cap:
            try:
                chunk = os.read(self.descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self.size += len(chunk)
            self.data = (self.data + chunk)[-self.keep_tail :]
        return True


def _watch(pid: int, streams: list[Stream], deadline: float, requests: int) -> str:
    """Read until the child ends. Why it must be stopped: "timeout", "output_limit", "" if it ended by itself.

    Its end is that of the process, not of its pipes, which something it left behind may hold open.
    """
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(requests, 0)  # reports only its hang-up: the worker is gone
    reading = {stream.descriptor: stream for stream in streams}
    for descriptor in reading:
        poll.register(descriptor, select.POLLIN)
    try:
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if requests in ready:
                raise WorkerGone
            for descriptor in ready & reading.keys():
                if not reading[descriptor].drain():
                    poll.unregister(descriptor)
            if process in ready:
                for stream in streams:  # what it wrote last may have come after this round's reading
                    stream.drain()
            if any(stream.size > stream.cap for stream in streams):
                return "output_limit"
            if process in ready:
                return ""
            if time.monotonic() >= deadline:
                return "timeout"
    finally:
        os.close(process)


def _end(pid: int) -> int:
    """Kill what is left of the child's group and its orphans. The child's own exit code (-9: killed)."""
    for kill in (os.killpg, os.kill):  # the group does not exist before the child's setsid
        with contextlib.suppress(ProcessLookupError):
            kill(pid, _SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    give_up = time.monotonic() + _REAP_S
    while time.monotonic() < give_up:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        for orphan in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, _SIGKILL)
        time.sleep(0.0005)
    return code


def _children() -> list[int]:
    """The broker has one thread, and no children but what programs left behind."""
    own = os.getpid()
    with contextlib.suppress(OSError), open(f"/proc/{own}/task/{own}/children") as listing:
        return [int(pid) for pid in listing.read().split()]
    return []


if __name__ == "__main__":
    main()
