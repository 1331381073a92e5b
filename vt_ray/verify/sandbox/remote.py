"""Programs run by a SandboxFusion server, with the same requests and outcomes as a local broker.

    request --POST /run_code--> server: program --JSON--> Outcome     no answer, or an invalid one: BrokerLost

The server confines the programs. For a `call` test, a small driver runs the completion's program and prints the result
after a mark. Both share a process, so the program could print another result, but it never sees the expected value.
`check` tests are refused, because the program could reach the test.
"""

from __future__ import annotations

import http.client
import json
import math
import secrets
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vt_ray.verify.limits import Limits
from vt_ray.verify.sandbox.broker_client import BrokerLost, Outcome
from vt_ray.verify.sandbox.inside.live_code_bench import IMPORTS, RECURSION_LIMIT
from vt_ray.verify.sandbox.inside.program_runner import PRELUDE

# The driver of a `call` test, which follows the text of plain_data.py. Python 3.9 and newer.
_DRIVER = """
import builtins, json, os, sys, types

def main(request):
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    sys.modules["main"] = sys.modules["__main__"] = module = types.ModuleType("main")
    names = module.__dict__
    prelude = {}
    exec(request["prelude"], prelude)
    del prelude["__builtins__"]
    builtins.__dict__.update(prelude)
    arguments = json.loads(request["args"])
    exec(request["header"], names)
    exec(compile(request["program"], "main.py", "exec", dont_inherit=True), names)
    owner, name = request["class"], request["function"]
    function = getattr(names[owner](), name) if owner else names[name]
    result = json.dumps(plain(function(*arguments), request["lenient"]))
    sys.stdout.flush()
    data = (request["mark"] + result + request["mark"]).encode()
    while data:
        data = data[os.write(1, data) :]

"""
# Names and limits of LiveCodeBench's programs, and its driver for stdio tests. The local sandbox has
# `inside/live_code_bench.py`.
_HEADER = f"{IMPORTS}\nsys.setrecursionlimit({RECURSION_LIMIT})"
_SCRIPT_DRIVER = "try:\n    exec(compile({!r}, 'main.py', 'exec', dont_inherit=True))\nexcept SystemExit:\n    pass\n"
_CONNECT_S = 5.0
_QUEUE_S = 30.0  # in addition to the program's time: a busy server queues requests
_PAUSES_S = (0.1, 0.4)  # before the second and the third attempt
_OVERLOADED = (429, 502, 503, 504)
_MAX_REPLY_BYTES = 16 << 20  # the server keeps 1 MiB of each stream, up to six times as much in JSON
_CHUNK_BYTES = 1 << 16
_SHOWN_CHARS = 200
_KILLED = -9


class RemoteSandbox:
    """A SandboxFusion server, in place of a `BrokerClient`. Keeps no connection between two tests."""

    def __init__(self, url: str, limits: Limits) -> None:
        """Raises ValueError if `url` is not a server's URL, such as http://localhost:8080."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"remote_url {url!r} is not a server's URL: set one such as http://localhost:8080")
        self._limits = limits
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/run_code"
        self._name = f"the sandbox server at {parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def run(self, request: dict[str, Any], timeout_s: float) -> Outcome:
        """Run a program on one test, as `BrokerClient.run` does. Raises BrokerLost."""
        if request["type"] == "check":
            raise BrokerLost(f"check tests need a local sandbox: {self._name} cannot run two processes for one test")
        mark = secrets.token_hex(16)
        code = _with_driver(request, mark) if request["type"] == "call" else _script(request)
        try:
            code.encode()
        except UnicodeEncodeError as error:  # a lone surrogate, which neither Python nor the server accepts
            return Outcome(1, "", b"", f"SyntaxError: {error}", None, candidate_exit_code=1)
        body = {
            "code": code,
            "language": "python",
            "stdin": request.get("input", ""),
            "run_timeout": timeout_s,
            "compile_timeout": timeout_s,
            "memory_limit_MB": math.ceil(request.get("memory_mb", self._limits.memory_mb)),
        }
        reply = self._reply(json.dumps(body).encode(), time.monotonic() + timeout_s + _QUEUE_S)
        try:
            return self._outcome(json.loads(reply), mark, request.get("output_bytes", self._limits.output_kb << 10))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BrokerLost(
                f"{self._name} sent an invalid answer ({type(error).__name__}: {_shown(error)})"
            ) from error

    def close(self) -> None:
        """There is nothing to close."""

    def _reply(self, body: bytes, deadline: float) -> bytes:
        """Returns the server's answer. Asks again if the server cannot be reached or is full."""
        for pause_s in (*_PAUSES_S, None):
            try:
                status, reply = self._post(body, deadline)
                fault = f"answered {status}"
            except TimeoutError as error:
                raise BrokerLost(f"{self._name} did not answer in time") from error
            except (OSError, http.client.HTTPException) as error:
                status, reply, fault = 0, b"", f"cannot be reached ({type(error).__name__}: {_shown(error)})"
            if status == 200:
                return reply
            if pause_s is None or (status and status not in _OVERLOADED):
                break
            time.sleep(pause_s)
        raise BrokerLost(f"{self._name} {fault}")

    def _post(self, body: bytes, deadline: float) -> tuple[int, bytes]:
        connect = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = connect(self._host, self._port, timeout=_CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(_left_s(deadline))
            connection.request("POST", self._path, body, {"Content-Type": "application/json", "Connection": "close"})
            with connection.getresponse() as response:
                return response.status, self._read(response, deadline)
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        reply = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            reply += chunk
            if len(reply) > _MAX_REPLY_BYTES:
                raise BrokerLost(f"{self._name} sent more than {_MAX_REPLY_BYTES >> 20} MiB")
            _left_s(deadline)
        return bytes(reply)

    def _outcome(self, reply: dict[str, Any], mark: str, cap: int) -> Outcome:
        if reply["status"] == "SandboxError":
            raise BrokerLost(f"{self._name} failed: {_shown(reply.get('message'))}")
        result = reply["run_result"]
        stdout, stderr = _text(result["stdout"]), _text(result["stderr"])
        printed, _, rest = stdout.partition(mark)
        value, closed, after = rest.partition(mark)
        if result["status"] == "TimeLimitExceeded":
            stopped, code = "timeout", _KILLED
        elif result["status"] == "Finished":
            stopped, code = "", result["return_code"]
        else:
            raise ValueError(f"status {result['status']!r}")
        if type(code) is not int:
            raise TypeError(f"return_code {code!r}")
        output = _bytes(printed + after)
        if not stopped and max(len(output), len(_bytes(value))) > cap:
            stopped = "output_limit"
        return Outcome(code, stopped, output, stderr, _bytes(value) if closed else None, candidate_exit_code=code)


def _with_driver(request: dict[str, Any], mark: str) -> str:
    """Returns the driver with the completion's program as a quoted text, which cannot change the driver."""
    fields = {name: request[name] for name in ("program", "function", "class", "args")}
    fields |= {"prelude": PRELUDE, "mark": mark, "header": "", "lenient": True}
    if request.get("profile"):
        owner = "Solution" if "class Solution" in request["program"] else None
        fields |= {"header": _HEADER, "lenient": False, "class": owner}
    payload = json.dumps(fields)
    return f"{_plain_text()}{_DRIVER}main(json.loads({payload!r}))\n"


def _script(request: dict[str, Any]) -> str:
    program: str = request["program"]
    return f"{_HEADER}\n{_SCRIPT_DRIVER.format(program)}" if request.get("profile") else program


@cache
def _plain_text() -> str:
    return Path(__file__).with_name("inside").joinpath("plain_data.py").read_text("utf-8")


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a stream of type {type(value).__name__}")
    return value or ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _shown(value: object) -> str:
    return ascii(str(value)[:_SHOWN_CHARS])[1:-1]
