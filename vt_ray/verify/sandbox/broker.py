"""A process that runs programs: one request in, one outcome out, a fresh child each, until its input ends.

    worker --length, JSON--> broker --fork--> child: program
           <--length, JSON--        <--stdout, stderr, result, exit--

Started as `python -I -S broker.py DIRECTORY` with an empty environment, never forked from the worker: it has no threads,
no secrets and none of the worker's memory. It learns what goes into a test, never what should come out, and judges
nothing. No security boundary yet: it stops runaway programs, not malicious ones.
"""

from __future__ import annotations

import base64
import ctypes
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
_WORKER_GONE = 3


def main() -> None:
    """Serve requests from descriptor 0 on descriptor 1."""
    root = sys.argv[1]
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    # What a program leaves behind becomes this process's child, and so can be found and killed.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    number = 0
    while (request := _receive(requests)) is not None:
        directory = os.path.join(root, str(number))
        number += 1
        os.mkdir(directory)
        _send(replies, {"id": request["id"]} | _run_test(request, directory, requests))
        _remove(directory)
    _remove(root)


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
        try:
            shutil.rmtree(directory, ignore_errors=True)
        except RecursionError:  # nested a thousand deep: left to whoever removes the root
            pass


def _run_test(request: dict[str, Any], directory: str, requests: int) -> dict[str, Any]:
    stdin = os.memfd_create("stdin")
    os.write(stdin, request.get("input", "").encode("utf-8", "surrogatepass"))
    os.lseek(stdin, 0, os.SEEK_SET)
    pipes = [os.pipe() for _ in range(3 if request["type"] == "call" else 2)]
    deadline = time.monotonic() + request["timeout_s"]
    pid = os.fork()
    if pid == 0:
        _become_program(request, directory, [stdin, *(write for _, write in pipes)])
    os.close(stdin)
    for _, write in pipes:
        os.close(write)
    readers = [read for read, _ in pipes]
    try:
        outcome = _watch(pid, readers, request["output_bytes"], deadline, requests)
    finally:
        _kill_leftovers(pid)
        for read in readers:
            os.close(read)
    return outcome


def _become_program(request: dict[str, Any], directory: str, descriptors: list[int]) -> NoReturn:
    code = 1
    try:
        program.confine(directory, descriptors, request["memory_mb"], int(request["timeout_s"]) + 2)
        code = program.run(request)
    finally:
        os._exit(code)


def _watch(pid: int, readers: list[int], cap: int, deadline: float, requests: int) -> dict[str, Any]:
    """Collect what the child writes until it ends, is out of time, or has written more than `cap` bytes."""
    process = os.pidfd_open(pid)
    poll = select.poll()
    for descriptor in (process, *readers):
        poll.register(descriptor, select.POLLIN)
    poll.register(requests, 0)  # only its hang-up: the worker is gone
    written = {reader: b"" for reader in readers}
    stderr_bytes = 0
    stopped = ""
    ended = False
    while not (stopped or ended):
        events = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if requests in events:
            _kill_leftovers(pid)
            os._exit(_WORKER_GONE)
        ended = process in events
        for reader in readers:
            if reader in events:
                stderr_bytes += _collect(reader, written, poll, ended, cap) if reader == readers[1] else 0
                if reader != readers[1]:
                    _collect(reader, written, poll, ended, cap)
        if any(len(written[r]) > cap for r in readers if r != readers[1]) or stderr_bytes > _MAX_STDERR_BYTES:
            stopped = "output_limit"
        elif not ended and time.monotonic() >= deadline:
            stopped = "timeout"
    os.close(process)
    return {}


def _collect(*_: Any) -> int:
    return 0


def _kill_leftovers(pid: int) -> None:
    pass
