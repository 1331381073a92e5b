"""Programs on a SandboxFusion server: a small local server that runs them, and servers with faults."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.run_tests import grade_program
from vt_ray.verify.sandbox import remote
from vt_ray.verify.sandbox.broker_client import BrokerLost
from vt_ray.verify.sandbox.remote import RemoteSandbox

LIMITS = Limits(test_timeout_s=1.0, completion_timeout_s=4.0)
SUM = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 7\n", "output": "12\n"}]}
GOOD_SUM = "print(sum(map(int, input().split())))"
FINISHED = {"status": "Finished", "return_code": 0, "stdout": "3\n", "stderr": "", "execution_time": 0.1}
SUCCESS = {"status": "Success", "message": "", "run_result": FINISHED}


def run_as_the_server_does(request):
    """The reply of /run_code: statuses, captured streams of at most 1 MiB, invalid UTF-8 replaced."""
    assert request["language"] == "python"
    command, given, timeout_s = [sys.executable, "-I", "-c", request["code"]], request["stdin"], request["run_timeout"]
    try:
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return result(status="TimeLimitExceeded", return_code=None) | {"status": "Failed"}
    streams = {name: getattr(done, name)[: 1 << 20].decode(errors="replace") for name in ("stdout", "stderr")}
    return result(return_code=done.returncode, **streams) | {"status": "Failed" if done.returncode else "Success"}


def result(**changes):
    return SUCCESS | {"run_result": FINISHED | changes}


@contextmanager
def server(answer):
    """`answer(request)` returns (status, body bytes), or None to hang up. Yields the url and the requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, request))
            found = answer(request)
            if found is not None:
                self.send_response(found[0])
                self.send_header("Content-Length", str(len(found[1])))
                self.end_headers()
                self.wfile.write(found[1])

        def log_message(self, *arguments):
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http_server.server_port}", requests
    finally:
        http_server.shutdown()
        http_server.server_close()
        thread.join()


def reply(body, status=200):
    return lambda request: (status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.fixture(scope="module")
def sandbox():
    with server(lambda request: (200, json.dumps(run_as_the_server_does(request)).encode())) as (url, _):
        yield RemoteSandbox(url, LIMITS)


def grade(sandbox, tests, program):
    return grade_program(tests, f"```python\n{program}\n```", sandbox, LIMITS)


def call(expected, *args, owner=None):
    tests = {"type": "call", "function": "f", "cases": [{"args": list(args), "expected": expected}]}
    return tests | ({"class": owner} if owner else {})


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        (GOOD_SUM, "correct", ""),
        ("import sys\na, b = map(int, sys.stdin)", "wrong", "runtime_error"),
        ("print(3)", "wrong", "wrong_answer"),
        ("this is no python", "wrong", "runtime_error"),
        ("while True: pass", "wrong", "timeout"),
        ("raise MemoryError", "wrong", "memory"),
        ("print('x' * 100_000)", "wrong", "output_limit"),
        ("print('x' * 5_000_000)", "wrong", "output_limit"),
        ("import sys\nsys.exit(3)", "wrong", "runtime_error"),
        ("x = '\ud800'", "wrong", "runtime_error"),
    ],
)
def test_stdio(sandbox, program, status, reason):
    verdict = grade(sandbox, SUM, program).verdict
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        (call(3, 1, 2), "print('noise')\ndef f(a, b):\n    print('more', end='')\n    return a + b"),
        (call(3, 1, 2, owner="Solution"), "class Solution:\n    def f(self, a: int, b: Optional[int]): return a + b"),
        (call([1, [2]], [2, 1]), "from __future__ import annotations\ndef f(x: Nowhere): return (min(x), [max(x)])"),
        (call({"a": 2}, "aa"), "def f(s): return Counter(s)"),
        (call("é漢\n\x00"), "def f(): return 'é漢\\n\\0'"),
        (call(1), "def f(): return 1\nif __name__ == '__main__':\n    import sys\n    sys.exit(input())"),
        (call(5), "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(): return P(5).x"),
        (call("'''\"\"\"", "'''\"\"\""), "def f(x): return x"),
    ],
)
def test_a_right_function(sandbox, tests, program):
    result = grade(sandbox, tests, program)
    assert result.verdict.status == "correct", result


@pytest.mark.parametrize(
    ("tests", "program", "reason"),
    [
        (call(3, 1, 2), "def f(a, b): return 4", "wrong_answer"),
        (call(3, 1, 2), "def f(a, b): return 3.0", "wrong_answer"),
        (call(3), "def g(): return 3", "runtime_error"),
        (call(3), "import os\nos._exit(0)", "runtime_error"),
        (call(3), "import sys\nsys.exit(0)", "runtime_error"),
        (call([1]), "def f(): return {1}", "runtime_error"),
        (call([1]), "class L(list): __len__ = None\ndef f(): return L([1])", "runtime_error"),
        (call({"1": 2}), "def f(): return {1: 1, '1': 2}", "runtime_error"),
        (call([]), "def f():\n    x = []\n    x.append(x)\n    return x", "runtime_error"),
        (call(3), "def f(): return 'x' * 100_000", "output_limit"),
        (call(3), "def f():\n    while True: pass", "timeout"),
        (call(3), "'''\ndef f(): return 3", "runtime_error"),
        (call(3), "print('3', '\"result\": 3')", "runtime_error"),
        (call(3), "import json\njson.dumps = lambda *a, **k: 'Infinity'\ndef f(): return 3", "wrong_answer"),
    ],
)
def test_a_function_that_cheats_or_fails(sandbox, tests, program, reason):
    verdict = grade(sandbox, tests, program).verdict
    assert (verdict.status, verdict.reason) == ("wrong", reason)


PROFILE = {"profile": "livecodebench"}


@pytest.mark.parametrize(
    ("tests", "program", "status"),
    [
        (SUM | PROFILE, "print(sum(map(int, stdin.readline().split())))\nsys.exit(1)", "correct"),
        (SUM | PROFILE, "from __future__ import annotations\nprint(float(sum(map(int, input().split()))))", "correct"),
        (SUM | PROFILE, "print(''\"', sum(map(int, input().split())))", "wrong"),
        (SUM | PROFILE, "1/0", "wrong"),
        (call([1, 2]) | PROFILE, "def f(): return (True, 2.0)", "correct"),
        (call([1], owner="Solution") | PROFILE, "def f() -> List[int]: return [gcd(2, 3)]", "correct"),
        (call([[1]]) | PROFILE, "def f(): return [(1,)]", "wrong"),
    ],
)
def test_the_profile_of_live_code_bench(sandbox, tests, program, status):
    assert grade(sandbox, tests, program).verdict.status == status


def test_what_is_sent_and_what_never_is():
    with server(reply(SUCCESS)) as (url, requests):
        sandbox = RemoteSandbox(url + "/base/", LIMITS)
        grade(sandbox, {"type": "stdio", "cases": [{"input": "in", "output": "secret-1"}]}, "print(1)")
        grade(sandbox, call("secret-2", "in"), "def f(x): return x")
    (path, first), (_, second) = requests
    assert path == "/base/run_code"
    assert first == {
        "code": "print(1)\n",
        "language": "python",
        "stdin": "in",
        "run_timeout": pytest.approx(1.0, abs=0.1),
        "compile_timeout": pytest.approx(1.0, abs=0.1),
        "memory_limit_MB": LIMITS.memory_mb,
    }
    assert "secret" not in json.dumps([first, second])


def test_a_check_test_is_refused_with_the_reason():
    with server(reply(SUCCESS)) as (url, requests):
        tests = {"type": "check", "test": "check(f)", "entry_point": "f"}
        verdict = grade(RemoteSandbox(url, LIMITS), tests, "def f(): pass").verdict
    assert verdict.status == "unverified"
    assert verdict.reason.startswith("check tests need a local sandbox: the sandbox server at 127.0.0.1")
    assert requests == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(b"Internal Server Error", 500), "answered 500"),
        (reply(b"{}", 404), "answered 404"),
        (reply(b"<html>"), "sent an invalid answer"),
        (reply(b""), "sent an invalid answer"),
        (reply(b"[" * 100_000), "sent an invalid answer"),
        (reply([]), "sent an invalid answer"),
        (reply({"status": "Success"}), "sent an invalid answer"),
        (reply(SUCCESS | {"run_result": None}), "sent an invalid answer"),
        (reply(result(status="Odd")), "sent an invalid answer"),
        (reply(result(status=["x"])), "sent an invalid answer"),
        (reply(result(return_code="0")), "sent an invalid answer"),
        (reply(result(return_code=None)), "sent an invalid answer"),
        (reply(result(return_code=True)), "sent an invalid answer"),
        (reply(result(stdout=["3"])), "sent an invalid answer"),
        (reply({"status": "SandboxError", "message": "no\x1b[2J fork"}), r"failed: no\\x1b\[2J fork"),
        (reply(result(stdout="x" * (17 << 20))), "sent more than 16 MiB"),
        (lambda request: None, "cannot be reached"),
        (reply(b"busy", 503), "answered 503"),
    ],
)
def test_a_server_that_misbehaves_says_nothing_about_the_program(answer, reason):
    with server(answer) as (url, _), pytest.raises(BrokerLost, match=reason) as lost:
        RemoteSandbox(url, LIMITS).run({"type": "stdio", "program": "print(3)", "input": ""}, 1.0)
    assert str(lost.value).startswith("the sandbox server at 127.0.0.1:")
    assert str(lost.value).isprintable()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n{"])
def test_a_server_that_hangs_is_left_in_time(monkeypatch, said):
    monkeypatch.setattr(remote, "_QUEUE_S", 0.3)
    done = threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def handle(self):
            self.connection.sendall(said)
            while not done.wait(0.05):
                if said:
                    self.connection.sendall(b" ")  # drop by drop, never whole

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True).start()
    began = time.monotonic()
    try:
        with pytest.raises(BrokerLost, match="did not answer in time"):
            url = f"http://127.0.0.1:{http_server.server_port}"
            RemoteSandbox(url, LIMITS).run({"type": "stdio", "program": "", "input": ""}, 0.2)
    finally:
        done.set()
        http_server.shutdown()
        http_server.server_close()
    assert time.monotonic() - began < 30


def test_a_server_that_was_busy_or_away_for_a_moment_is_asked_again():
    answers = [None, (429, b""), (200, json.dumps(SUCCESS).encode())]
    with server(lambda request: answers.pop(0)) as (url, requests):
        outcome = RemoteSandbox(url, LIMITS).run({"type": "stdio", "program": "print(3)", "input": ""}, 1.0)
    assert outcome.stdout == b"3\n"
    assert len(requests) == 3


def test_nobody_there():
    with server(reply(SUCCESS)) as (url, _):
        pass
    with pytest.raises(BrokerLost, match="cannot be reached .ConnectionRefusedError"):
        RemoteSandbox(url, LIMITS).run({"type": "stdio", "program": "", "input": ""}, 1.0)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://box", "http://"])
def test_a_url_that_is_none(url):
    with pytest.raises(ValueError, match="is not a server's URL"):
        RemoteSandbox(url, LIMITS)
