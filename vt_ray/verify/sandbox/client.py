"""The worker's end of the broker: starts it, asks it to run a program on a test, replaces it when it is lost.

    request --pipe--> broker --pipe--> Outcome     no answer in time, or nonsense: BrokerLost, a new broker

A program may do what it likes to the broker, whose user it shares; so the reply is read with a deadline and a
size limit, and must repeat an unguessable id: a program that writes replies itself can only speak for itself.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.verify.limits import Limits

_BROKER = Path(__file__).with_name("broker.py")
_MARGIN_S = 5.0  # beyond the test's own deadline: starting a broker, killing leftovers, removing thousands of files
_FRAME_OVERHEAD_BYTES = 64 << 10
_STREAM_SLACK_BYTES = 512 << 10  # the broker reads in chunks and may overshoot the cap by one, per stream
_CLOSE_S = 1.0


class BrokerLost(Exception):
    """The broker could not be started, ended, or did not answer in time. Says nothing about the program."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did with one test: raw, and written by the program, so not to be trusted in form either.

    `stopped` is "timeout" or "output_limit" where the broker ended it, else "". `result` is the JSON text
    that a called function's value became, None if it returned none.
    """

    exit_code: int
    stopped: str
    stdout: bytes
    stderr: str
    result: bytes | None


class BrokerClient:
    """One broker, started when first needed. Not for use by several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._broker: subprocess.Popen[bytes] | None = None
        self._root = ""

    def run(self, request: dict[str, Any], timeout_s: float) -> Outcome:
        """Run a program on one test, for at most `timeout_s` seconds.

        `request` has `type`, `program`, and `input` (stdio) or `function`, `args` (JSON) and `class` (call).
        Raises BrokerLost; the next call starts a new broker.
        """
        token = secrets.token_hex(16)
        frame = json.dumps(
            request
            | {
                "id": token,
                "timeout_s": timeout_s,
                "memory_mb": self._limits.memory_mb,
                "output_bytes": self._limits.output_kb << 10,
            }
        ).encode()
        broker = self._broker if self._broker is not None else self._start()
        try:
            deadline = time.monotonic() + timeout_s + _MARGIN_S
            _write(broker, struct.pack("!I", len(frame)) + frame, deadline)
            reply = self._read_reply(broker, deadline)
            if reply["id"] != token:
                raise ValueError("a reply to no request")
            return _outcome(reply)
        except (
            OSError,
            EOFError,
            TimeoutError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            self.close()
            raise BrokerLost(f"the sandbox broker was lost ({type(error).__name__}: {error})") from error

    def close(self) -> None:
        """End the broker and remove its directory."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        assert broker.stdin is not None and broker.stdout is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            broker.stdin.close()  # its sign to end, after it has cleaned up
            broker.wait(_CLOSE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(broker.pid, signal.SIGKILL)
        broker.wait()
        broker.stdout.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._root = tempfile.mkdtemp(prefix="vt_ray_programs_")
        try:
            # No PR_SET_PDEATHSIG for the broker: it would fire when the worker's *thread* that started it
            # ends.
            self._broker = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(_BROKER), self._root],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={},
                bufsize=0,
            )
        except OSError as error:
            shutil.rmtree(self._root, ignore_errors=True)
            raise BrokerLost(f"the sandbox broker cannot start with {sys.executable}: {error}") from error
        os.set_blocking(self._broker.stdin.fileno(), False)  # type: ignore[union-attr]
        return self._broker

    def _read_reply(self, broker: subprocess.Popen[bytes], deadline: float) -> Any:
        size = struct.unpack("!I", _read(broker, 4, deadline))[0]
        # Two streams in base64, and stderr in which every byte may have become an escape of six.
        limit = 3 * (self._limits.output_kb << 10) + _STREAM_SLACK_BYTES + _FRAME_OVERHEAD_BYTES
        if size > limit:
            raise ValueError(f"a reply of {size} bytes, above {limit}")
        return json.loads(_read(broker, size, deadline))


def _outcome(reply: dict[str, Any]) -> Outcome:
    result = reply["result"]
    return Outcome(
        int(reply["exit_code"]),
        str(reply["stopped"]),
        base64.b64decode(reply["stdout"]),
        str(reply["stderr"]),
        None if result is None else base64.b64decode(result),
    )


def _write(broker: subprocess.Popen[bytes], frame: bytes, deadline: float) -> None:
    assert broker.stdin is not None
    view = memoryview(frame)
    while view:
        _await(broker.stdin.fileno(), select.POLLOUT, deadline)
        view = view[os.write(broker.stdin.fileno(), view) :]


def _read(broker: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    assert broker.stdout is not None
    data = bytearray()
    while len(data) < size:
        _await(broker.stdout.fileno(), select.POLLIN, deadline)
        chunk = os.read(broker.stdout.fileno(), size - len(data))
        if not chunk:
            raise EOFError("it ended")
        data += chunk
    return bytes(data)


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()  # not select.select, which takes no descriptor above 1023, and workers have many
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("no answer in time")
