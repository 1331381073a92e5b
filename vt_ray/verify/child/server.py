"""The loop inside a killable child process: a JSON line in, a JSON line out, until the pipe ends.

    {"gold": "x/2", "answer": "0.5x"}  -->  {"outcome": "equal"} | {"outcome": "timeout" | "memory" | "crash"}

Two alarms guard a request. SIGALRM raises Overtime where Python code runs. SIGPROF ends the process, also in the middle
of a long multiplication, and works after the parent has ended.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

_GRACE_S = 2.0  # CPU seconds after the deadline before the process ends itself
_REASON_CHARS = 300

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Overtime(BaseException):
    """The deadline of a request has passed. Not an Exception, because sympy catches those."""


def serve(load: Callable[[], Answer], on_top_of_imports: bool = False) -> None:
    """Answer requests with the function that `load` returns. sys.argv: seconds for a request, MiB of memory.

    The first reply is "ready", or "failed" with the reason if `load` raises. The memory limit holds after `load`; with
    `on_top_of_imports` it does not count what `load` has mapped.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the requests are not for a library that reads its input
    os.dup2(2, 1)  # text that a library prints must not look like a reply
    threading.Thread(target=_exit_with_parent, args=(requests,), daemon=True).start()
    timeout_s, memory_mb = float(sys.argv[1]), int(sys.argv[2])
    try:
        answer = load()
    except Exception as error:
        _send(replies, {"outcome": "failed", "reason": _described(error)})
        return
    limit = (memory_mb << 20) + (_mapped_bytes() if on_top_of_imports else 0)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _raise_overtime)
    _send(replies, {"outcome": "ready"})
    process = os.getpid()
    for line in requests:
        reply = _answered(answer, json.loads(line), timeout_s)
        if os.getpid() != process:  # a fork that the user's function made: its reply would answer the next request
            os._exit(0)
        _send(replies, reply)


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _answered(answer: Answer, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    try:
        with _deadline(timeout_s):
            return answer(request)
    except Overtime:
        return {"outcome": "timeout"}
    except MemoryError:
        return {"outcome": "memory"}
    except (Exception, SystemExit) as error:  # the parent decides what the failure means
        return {"outcome": "crash", "reason": _described(error)}


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_REASON_CHARS]


def _exit_with_parent(requests: BinaryIO) -> None:
    """End this process as soon as the parent has ended, also in the middle of a request."""
    pipe = select.poll()
    pipe.register(requests.fileno(), 0)  # a hang-up is always reported
    pipe.poll()
    os._exit(0)


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=replies, flush=True)


def _raise_overtime(signum: int, frame: object) -> None:
    raise Overtime


@contextmanager
def _deadline(timeout_s: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, timeout_s + _GRACE_S)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
