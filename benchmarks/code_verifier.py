"""Code tests a second on one core: the verifier of vt_ray beside a fresh Python for each test.

    python benchmarks/code_verifier.py [--seconds 30] [--backend auto]

Three ways run the same short programs on the same tests, in turns on one CPU:
`verifier` is the verifier of vt_ray with its sandbox; `plain` starts the same Python as `python -I -S` for each test,
with a time limit and no sandbox; `prelude` is `plain` with the imports that graders of competition programs usually
have. Every way must find every program correct. The last line is JSON; the target of `verifier_to_plain` is 2.5.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from rich.console import Console
from rich.table import Table

from vt_ray.records import Problem
from vt_ray.verify.files.grading import limits_of
from vt_ray.verify.limits import Limits, SandboxConfig
from vt_ray.verify.programs.compare_outputs import outputs_match, results_match
from vt_ray.verify.sandbox.interpreter import find_interpreter
from vt_ray.verify.verifier import Verifier

ROUND_S = 1.0  # for each way: shorter than changes of the machine's speed, longer than one test

PRELUDE = """
import bisect, builtins, collections, copy, datetime, functools, heapq, io, itertools, json, math, operator, random
import re, statistics, string, sys
from bisect import *
from collections import *
from copy import *
from datetime import *
from functools import *
from heapq import *
from io import *
from itertools import *
from json import *
from math import *
from operator import *
from random import *
from re import *
from statistics import *
from string import *
from sys import *
from builtins import *
from typing import *
sys.setrecursionlimit(50_000)
"""

# A call test without a verifier: the arguments come in as JSON, the result goes out as JSON.
DRIVER = """
import json as _json, sys as _sys
print(_json.dumps({function}(*_json.load(_sys.stdin))))
"""


@dataclass(frozen=True)
class Task:
    """A program with its tests, in the form of `Problem.tests`."""

    program: str
    tests: dict[str, Any]


def stdio(program: str, *cases: tuple[str, str]) -> Task:
    return Task(program, {"type": "stdio", "cases": [{"input": given, "output": wanted} for given, wanted in cases]})


def call(function: str, program: str, *cases: tuple[list[Any], Any]) -> Task:
    rows = [{"args": args, "expected": expected} for args, expected in cases]
    return Task(program, {"type": "call", "function": function, "cases": rows})


TASKS = [
    stdio(
        "a, b = map(int, input().split())\nprint(a + b)\n",
        *((f"{a} {a * 7}\n", f"{a * 8}\n") for a in range(4)),
    ),
    stdio(
        "n = int(input())\nxs = list(map(int, input().split()))\nprint(n, sum(xs), max(xs))\n",
        *((f"{n}\n{' '.join(map(str, range(n)))}\n", f"{n} {n * (n - 1) // 2} {n - 1}\n") for n in (1, 10, 100, 1000)),
    ),
    stdio(
        "import sys\nfrom collections import Counter\n"
        "counts = Counter(sys.stdin.read().split())\n"
        "for word in sorted(counts, key=lambda w: (-counts[w], w)):\n    print(word, counts[word])\n",
        ("b a b\n", "b 2\na 1\n"),
        ("x\ny\nx\n", "x 2\ny 1\n"),
        ("one\n", "one 1\n"),
        ("b c a\n", "a 1\nb 1\nc 1\n"),
    ),
    call(
        "gcd_of",
        "def gcd_of(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n",
        *(([a, 60], g) for a, g in ((48, 12), (7, 1), (0, 60), (45, 15))),
    ),
    call(
        "primes_below",
        "def primes_below(n):\n    found = []\n    for p in range(2, n):\n        if all(p % q for q in found):\n"
        "            found.append(p)\n    return found\n",
        ([2], []),
        ([10], [2, 3, 5, 7]),
        ([20], [2, 3, 5, 7, 11, 13, 17, 19]),
        ([3], [2]),
    ),
    call(
        "longest",
        "def longest(words):\n    best = ''\n    for word in words:\n        if len(word) > len(best):\n"
        "            best = word\n    return {'word': best, 'length': len(best)}\n",
        ([["a", "bcd", "ef"]], {"word": "bcd", "length": 3}),
        ([[]], {"word": "", "length": 0}),
        ([["xy", "zw"]], {"word": "xy", "length": 2}),
        ([["q"] * 100], {"word": "q", "length": 1}),
    ),
]


Grader = Callable[[Task], bool]


def by_verifier(verifier: Verifier) -> Grader:
    def grade(task: Task) -> bool:
        problem = Problem("q", "code", "code", "", tests=task.tests)
        verdict = verifier.verify(problem, f"```python\n{task.program}```")
        if verdict.status == "unverified":
            raise SystemExit(f"the verifier could not grade: {verdict.reason}")
        return verdict.status == "correct"

    return grade


def by_fresh_python(prelude: str, limits: Limits) -> Grader:
    def grade(task: Task) -> bool:
        return all(_passes(prelude, task, case, limits) for case in task.tests["cases"])

    return grade


def _passes(prelude: str, task: Task, case: dict[str, Any], limits: Limits) -> bool:
    is_call = task.tests["type"] == "call"
    source = prelude + task.program + (DRIVER.format(function=task.tests["function"]) if is_call else "")
    given = json.dumps(case["args"]) if is_call else case["input"]
    command = [find_interpreter(limits.sandbox.python), "-I", "-S", "-X", "utf8", "-c", source]
    done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=limits.test_timeout_s, env={})
    if is_call:
        return done.returncode == 0 and results_match(case["expected"], json.loads(done.stdout))
    return done.returncode == 0 and outputs_match(case["output"], done.stdout)


def tests_per_second(grade: Grader, tasks: Iterator[Task], seconds: float) -> float:
    """Grades whole tasks, at least one, for `seconds`, and returns the tests a second."""
    began, tests = time.monotonic(), 0
    while not tests or time.monotonic() - began < seconds:
        task = next(tasks)
        if not grade(task):
            raise SystemExit(f"a correct program was graded wrong:\n{task.program}")
        tests += len(task.tests["cases"])
    return tests / (time.monotonic() - began)


def measure(graders: dict[str, Grader], seconds: float) -> dict[str, list[float]]:
    """Returns the tests a second of each way, one figure per round; the ways alternate within a round."""
    rates: dict[str, list[float]] = {name: [] for name in graders}
    streams = {name: cycle(TASKS) for name in graders}
    for name, grade in graders.items():  # starts the processes and fills the caches
        tests_per_second(grade, streams[name], 0.2)
    for _ in range(max(3, round(seconds / ROUND_S / len(graders)))):
        for name, grade in graders.items():
            rates[name].append(tests_per_second(grade, streams[name], ROUND_S))
    return rates


def ratio(rates: dict[str, list[float]], name: str) -> float:
    """Returns the median over rounds of the verifier's rate over the other way's rate in the same round."""
    return statistics.median(ours / theirs for ours, theirs in zip(rates["verifier"], rates[name], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of measurement for all ways together")
    parser.add_argument("--backend", default=SandboxConfig.backend, help="as for vt-tools verify --backend")
    options = parser.parse_args()
    limits = limits_of(Limits.test_timeout_s, Limits.memory_mb, options.backend)
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})  # processes that are started from here on stay on this CPU
    with Verifier(limits) as verifier:
        graders = {
            "verifier": by_verifier(verifier),
            "plain": by_fresh_python("", limits),
            "prelude": by_fresh_python(PRELUDE, limits),
        }
        rates = measure(graders, options.seconds)
        backend = verifier.backend
    show(rates, f"code tests a second on CPU {cpu}, {len(rates['plain'])} rounds; verifier: {backend}")
    summary = {
        "backend": backend,
        "tests_per_s": {name: round(statistics.median(found), 1) for name, found in rates.items()},
        "verifier_to_plain": round(ratio(rates, "plain"), 2),
        "verifier_to_prelude": round(ratio(rates, "prelude"), 2),
    }
    print(json.dumps(summary))


def show(rates: dict[str, list[float]], title: str) -> None:
    table = Table("way", "median", "slowest round", "fastest round", "verifier is faster by", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, found in rates.items():
        figures = (statistics.median(found), min(found), max(found))
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), f"{ratio(rates, name):.2f} x")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
