"""Small code problems and programs that several tests grade."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from vt_ray.records import Problem

SUM = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 7\n", "output": "12\n"}]}
ADD = {
    "type": "call",
    "function": "add",
    "cases": [{"args": [1, 2], "expected": 3}, {"args": [5, 7], "expected": 12}],
}
CHECK_ADD = {
    "type": "check",
    "entry_point": "add",
    "test": "def check(f):\n    assert f(1, 2) == 3\n    assert f(5, 7) == 12\ncheck(add)\n",
}
GOOD_SUM = "a, b = map(int, input().split())\nprint(a + b)"
GOOD_ADD = "def add(a, b): return a + b"


def problem(tests, **changes) -> Problem:
    return replace(Problem("q", "code", "code", "?", tests=tests), **changes)


def fenced(program: str) -> str:
    return f"Here:\n```python\n{program}\n```\n"


def grade(verifier, tests, program):
    return verifier.verify(problem(tests), fenced(program))


def grade_with_output(verifier, tests, program):
    return verifier.grade(problem(tests), fenced(program))


def broker_pid(verifier) -> int:
    """Id of the process that the verifier started: the launcher, or without namespaces the broker itself."""
    return verifier.grader("code")._sandbox._broker.pid


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [p for child in children for p in (int(child), *descendants(int(child)))]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {timeout_s} s"
        time.sleep(0.02)
