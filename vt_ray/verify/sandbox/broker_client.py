"""The worker's side of the broker: starts it, sends it programs and tests, replaces it if it is lost.

    request --pipe--> broker --pipe--> Outcome     no answer in time, or an invalid one: BrokerLost, a new broker

The reply is read with a deadline and size limits, and must repeat a random id. Its content stays bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.interpreter import find_numpy

_PACKAGE = "vt_ray.verify.sandbox.inside"
# Ordered so that each module follows the modules that it imports.
_MODULES = (
    *("kernel", "syscalls", "seccomp", "landlock", "namespaces", "confinement", "libraries", "byte_stream"),
    *("plain_data", "program_runner", "channel", "check_program_side", "proxy", "proxy_factory", "check_test_side"),
    "live_code_bench",
    "broker",
)
# Modules are sent as text: the interpreter's user may not be able to read their folder.
_LOADER = f"""
import json, os, struct, sys, types
# Modules are told of a fork for the sake of threads, and the broker has none. Each program would pay for it.
os.register_at_fork = lambda **hooks: None
size = struct.unpack("!I", sys.stdin.buffer.raw.read(4))[0]
data = b""
while len(data) < size:
    data += sys.stdin.buffer.raw.read(size - len(data)) or sys.exit(1)
settings = json.loads(data)
package = sys.modules["{_PACKAGE}"] = types.ModuleType("{_PACKAGE}")
for name, text in settings.pop("modules"):
    module = sys.modules["{_PACKAGE}." + name] = types.ModuleType("{_PACKAGE}." + name)
    setattr(package, name, module)
    exec(compile(text, name, "exec"), module.__dict__)
package.broker.main(settings)
"""
_START_S = 30.0
_MARGIN_S = 5.0  # after the deadline of the test: for killing, reaping and freeing memory
_MAX_HEADER_BYTES = 64 << 10
_STREAM_SLACK_BYTES = 512 << 10  # the broker moves chunks: each stream may exceed its cap by one chunk
_CLOSE_S = 1.0


class BrokerLost(Exception):
    """The broker could not be started, ended, or did not answer in time. This is not a fault of the program."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The raw outcome of a program on one test. The program wrote it, so neither content nor form can be trusted.

    `stopped` is "timeout" or "output_limit" if the broker ended the program, else "". `result` is the JSON text of the
    returned value (call) or of the test code's report (check), None without one. For `check`, `exit_code` belongs to
    the test code and `candidate_exit_code` to the program; otherwise they are equal.
    """

    exit_code: int
    stopped: str
    stdout: bytes
    stderr: str
    result: bytes | None
    candidate_exit_code: int = 0


class BrokerClient:
    """One broker, started at the first request. For use by one thread.

    `backend` is the way in which programs are confined, `python` the interpreter that runs them.
    """

    def __init__(self, limits: Limits, backend: str, python: str) -> None:
        self._limits, self._backend, self._python = limits, backend, python
        self._broker: subprocess.Popen[bytes] | None = None
        self._tests = 0
        self._numpy: str | None = None  # the folder of numpy, "" without numpy, None before a profile asks for it
        self.started_as = ""

    def run(self, request: dict[str, Any], timeout_s: float) -> Outcome:
        """Run a program on one test, for at most `timeout_s` seconds.

        `request` has `type`, `program`, and `input` (stdio), `function`, `args` (JSON) and `class` (call), or `test`
        and `entry_point` (check); `output_bytes` and `memory_mb` override the configured limits, `profile` names the
        rules of a benchmark. Raises BrokerLost; the next call starts a new broker.
        """
        token = secrets.token_hex(16)
        payloads = _payloads(request)
        output_bytes = request.get("output_bytes", self._limits.output_kb << 10)
        header = {
            "id": token,
            "type": request["type"],
            "profile": request.get("profile", ""),
            "timeout_s": timeout_s,
            "memory_mb": request.get("memory_mb", self._limits.memory_mb),
            "output_bytes": output_bytes,
            "payloads": [len(payload) for payload in payloads],
        }
        if self._tests >= self._limits.sandbox.recycle_after:
            self.close()
        if header["profile"] and self._numpy is None:
            self._numpy = find_numpy(self._python)
            self.close()
        broker = self._broker if self._broker is not None else self.start()
        self._tests += 1
        try:
            deadline = time.monotonic() + timeout_s + _MARGIN_S
            _write(broker, _frame(header) + b"".join(payloads), deadline)
            reply = _read_header(broker, deadline)
            if reply["id"] != token:
                raise ValueError("a reply without a request")
            return self._outcome(broker, reply, output_bytes + _STREAM_SLACK_BYTES, deadline)
        except (OSError, EOFError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise BrokerLost(f"the sandbox broker was lost ({type(error).__name__}: {error})") from error

    def start(self) -> subprocess.Popen[bytes]:
        """Start the broker. Raises BrokerLost with the broker's reason if it cannot confine programs."""
        try:
            # No PR_SET_PDEATHSIG for the broker: it would fire when the *thread* that started the broker ends.
            self._broker = broker = subprocess.Popen(
                [self._python, "-I", "-S", "-X", "utf8", "-c", _LOADER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={},
                bufsize=0,
            )
        except OSError as error:
            raise BrokerLost(f"the sandbox broker cannot start with {self._python}: {error}") from error
        self._tests = 0
        try:
            os.set_blocking(broker.stdin.fileno(), False)  # type: ignore[union-attr]
            deadline = time.monotonic() + _START_S
            _write(
                broker, _frame({"backend": self._backend, "numpy": self._numpy or "", "modules": _modules()}), deadline
            )
            reply = _read_header(broker, deadline)
            self.started_as = str(reply["ready"]) if "ready" in reply else ""
            if not self.started_as:
                raise EOFError(str(reply.get("failed")))
        except (OSError, EOFError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise BrokerLost(f"the sandbox broker cannot start as {self._backend}: {error}") from error
        return broker

    def close(self) -> None:
        """End the broker and all processes inside its sandbox."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        assert broker.stdin is not None and broker.stdout is not None
        broker.stdin.close()  # signals the broker to end
        broker.stdout.close()
        # The launcher ends the broker, its child, and reaps it. If the launcher were killed, init would have to reap.
        for end in (lambda: None, broker.terminate, lambda: os.killpg(broker.pid, signal.SIGKILL)):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                end()
                broker.wait(_CLOSE_S)
                return
        broker.wait()

    def _outcome(self, broker: subprocess.Popen[bytes], reply: dict[str, Any], limit: int, deadline: float) -> Outcome:
        streams: dict[str, bytes] = {}
        for name in ("stdout", "stderr", "result"):
            size = reply["sizes"][name]
            if not 0 <= size <= limit:
                raise ValueError(f"{size} bytes of {name}, above {limit}")
            streams[name] = _read(broker, size, deadline)
        return Outcome(
            int(reply["exit_code"]),
            str(reply["stopped"]),
            streams["stdout"],
            streams["stderr"].decode("utf-8", "replace"),
            streams["result"] or None,
            int(reply["candidate_exit_code"]),
        )


def _modules() -> list[tuple[str, str]]:
    folder = Path(__file__).parent / "inside"
    return [(name, (folder / f"{name}.py").read_text("utf-8")) for name in _MODULES]


def _payloads(request: dict[str, Any]) -> list[bytes]:
    """Returns the data that the broker passes on unread: the program, and its input or its test."""
    known = ("type", "program", "input", "test", "output_bytes", "profile")
    rest = {name: value for name, value in request.items() if name not in known}
    program = request["program"].encode("utf-8", "surrogatepass")
    if request["type"] == "stdio":
        return [program, request["input"].encode("utf-8", "surrogatepass")]
    if request["type"] == "call":
        return [_json(rest | {"program": request["program"]})]
    return [program, _json(rest | {"test": request["test"]})]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _frame(header: dict[str, Any]) -> bytes:
    body = _json(header)
    return struct.pack("!I", len(body)) + body


def _read_header(broker: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    size = struct.unpack("!I", _read(broker, 4, deadline))[0]
    if size > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {size} bytes, above {_MAX_HEADER_BYTES}")
    return dict(json.loads(_read(broker, size, deadline)))


def _write(broker: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
    assert broker.stdin is not None
    view = memoryview(data)
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
    poll = select.poll()  # select.select takes no descriptor above 1023, and a worker may have more
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("no answer in time")
