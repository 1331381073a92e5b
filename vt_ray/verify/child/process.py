r"""One child process of a grader, seen from its owner: started without waiting, asked under a deadline, killed whole.

child = ChildProcess("vt_ray.verify.mathematics.child", (), timeout_s, memory_mb, env)  # returns at once
child.ask(line)  -->  {"outcome": ...} | None if the deadline passed: close the child then
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
from collections.abc import Mapping, Sequence
from typing import Any

_START_S = 60.0  # importing sympy takes 1 s, and much longer on a machine without an idle core
_MARGIN_S = 1.0
_MAX_REPLY_BYTES = 4_096


class NotStarted(Exception):
    """The child did not report that it is ready."""


class ChildProcess:
    """A process that runs `child.server.serve`, and the two pipes to it."""

    def __init__(
        self, module: str, arguments: Sequence[str], timeout_s: float, memory_mb: int, environment: Mapping[str, str]
    ) -> None:
        """`module` calls `serve`. The child imports from the same folders. Raises OSError if no process can start."""
        self._timeout_s = timeout_s
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(timeout_s), str(memory_mb), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={**environment, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            bufsize=0,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)  # a stopped child must not block a long request

    @property
    def pid(self) -> int:
        """The id of the child, which is also the id of its process group."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return when the child has imported what it needs. Raises NotStarted if the child ended before that."""
        if self._ready:
            return
        try:
            reply = self._read_reply(time.monotonic() + _START_S)
        except (OSError, EOFError, ValueError) as error:
            raise NotStarted(str(error)) from error
        if reply is None:
            raise NotStarted(f"not ready after {_START_S:.0f} s")
        if reply["outcome"] != "ready":
            raise NotStarted(str(reply.get("reason", "")))
        self._ready = True

    def ask(self, line: bytes) -> dict[str, Any] | None:
        """The reply to a request (a JSON line), None past the deadline.

        Raises OSError or EOFError if the child ended, ValueError if its reply is not JSON.
        """
        self.wait_until_ready()
        deadline = time.monotonic() + self._timeout_s + _MARGIN_S
        return self._read_reply(deadline) if self._write(line, deadline) else None

    def close(self) -> None:
        """Kill the child and all processes that it started: they share its session and process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _write(self, line: bytes, deadline: float) -> bool:
        """Whether the whole line was written before the deadline."""
        assert self._process.stdin is not None
        while line:
            if not _wait_for(self._process.stdin.fileno(), select.POLLOUT, deadline):
                return False
            line = line[self._process.stdin.write(line) or 0 :]
        return True

    def _read_reply(self, deadline: float) -> dict[str, Any] | None:
        """The next line, None past the deadline. Raises EOFError if the child ended, ValueError if it is not JSON."""
        assert self._process.stdout is not None
        descriptor, reply = self._process.stdout.fileno(), b""
        while not reply.endswith(b"\n"):
            if not _wait_for(descriptor, select.POLLIN, deadline):
                return None
            chunk = os.read(descriptor, _MAX_REPLY_BYTES)
            if not chunk or len(reply) > _MAX_REPLY_BYTES:
                raise EOFError
            reply += chunk
        return json.loads(reply)


def _wait_for(descriptor: int, event: int, deadline: float) -> bool:
    """Whether the pipe became ready before the deadline."""
    poll = select.poll()  # select.select takes no descriptor above 1023, and a worker may have more
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
