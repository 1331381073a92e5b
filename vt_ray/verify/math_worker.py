r"""One `math_child` process as its owner sees it: started without waiting, asked under a deadline, killed whole.

worker = MathWorker(timeout_s, memory_mb)  # returns at once, the child imports sympy meanwhile
worker.ask(line)  -->  "equal" | "different" | ... | None, if the deadline passed: close it then
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

_START_S = 60.0  # importing sympy takes 1 s, on a machine whose cores are all taken much longer
_MARGIN_S = 1.0
_MAX_REPLY_BYTES = 4_096


class NotStarted(Exception):
    """The child never said that it is ready."""


class MathWorker:
    """A child process, and the two pipes to it."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        """Raises OSError where no process can be started."""
        self._timeout_s = timeout_s
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vt_ray.verify.math_child", str(timeout_s), str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=_environment(),
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        """Of the child, and of its process group."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return when the child has imported what it needs. Raises NotStarted where it ended before that."""
        if self._ready:
            return
        try:
            self._ready = self._read_outcome(_START_S) == "ready"
        except (OSError, EOFError, ValueError) as error:
            raise NotStarted(str(error)) from error
        if not self._ready:
            raise NotStarted(f"not ready after {_START_S:.0f} s")

    def ask(self, line: bytes) -> str | None:
        """The outcome for a pair (a JSON line), None past the deadline. OSError, EOFError: the child ended."""
        self.wait_until_ready()
        assert self._process.stdin is not None
        while line:
            line = line[self._process.stdin.write(line) :]
        return self._read_outcome(self._timeout_s + _MARGIN_S)

    def close(self) -> None:
        """End the child and whatever it started: its own session, so that the group holds them all."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read_outcome(self, timeout_s: float) -> str | None:
        """The next line's outcome, None past the deadline. EOFError: the child ended. ValueError: nonsense."""
        assert self._process.stdout is not None
        descriptor, reply = self._process.stdout.fileno(), b""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()  # not select.select, which takes no descriptor above 1023, and workers have many
        poll.register(descriptor, select.POLLIN)
        while not reply.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            chunk = os.read(descriptor, _MAX_REPLY_BYTES)
            if not chunk or len(reply) > _MAX_REPLY_BYTES:
                raise EOFError
            reply += chunk
        return str(json.loads(reply)["outcome"])


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONHASHSEED": "0",  # sympy orders by hash here and there: the same pair, the same verdict
        "MPMATH_NOGMPY": "1",  # gmpy2 computes for minutes without looking at signals
        "SYMPY_GROUND_TYPES": "python",
        "LANG": "C.UTF-8",
    }
