"""Groups of completions for a pool of verifiers: programs that attack the verifier, mixed with right answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vt_ray.records import Completion, Problem, Rollouts

CORPUS = Path(__file__).parent / "data" / "verify"
GROUP = 8
IDS, LOGPROBS = np.ones(3, np.int32), np.full(3, -0.1, np.float32)
SUM = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 7\n", "output": "12\n"}]}
RIGHT = "a, b = map(int, input().split())\nprint(a + b)"
PROGRAMS = {
    "spin": "while True: pass",
    "sleep": "import time\ntime.sleep(3600)",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "flood": "import os\nwhile True: os.write(1, b'A' * 65536)",
    "exit": "import os\nos._exit(0)",
    "crash": "import ctypes\nctypes.string_at(0)",
    "kill": "import os, signal\nos.kill(0, signal.SIGKILL)",
    "stop": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "closed": "import os\nos.closerange(0, 256)\nprint(3)",
    "fold": 'x = (((1 << 10000) << 10000) << 10000) << 10000\ny = ("a" * 4000) * 4000 * 4000',
    "nested": "x = " + "(" * 3000 + ")" * 3000,
    "fork": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
    "files": "n = 0\nwhile True:\n    open(f'f{n}', 'w').write('x' * 4096)\n    n += 1",
    "maps": "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 4096))",
    "handlers": "import signal\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    "wrong": "print(4)",
}


@dataclass(frozen=True)
class Row:
    """One completion. A `control` must get an expected verdict; other rows must not be graded correct by mistake."""

    problem: Problem
    text: str
    expect: tuple[str, ...]
    control: bool
    name: str


def code_rows(number: int, chance: random.Random) -> list[list[Row]]:
    """About `number` rows in groups, half of them controls. The pool must run the programs in a sandbox."""
    problem = Problem("sum", "code", "code", "?", tests=SUM)
    groups = [[row] for row in _corpus("code", _code_problem)][: number // 4]
    for group in range((number - len(groups)) // GROUP):
        names = [chance.choice(list(PROGRAMS)) for _ in range(GROUP // 2)]
        rows = [Row(problem, _program(PROGRAMS[name], group), ("wrong",), False, name) for name in names]
        rows += [Row(problem, _program(RIGHT, group), ("correct",), True, "right")] * (GROUP // 2)
        chance.shuffle(rows)
        groups.append(rows)
    return groups


def math_rows(number: int, chance: random.Random) -> list[list[Row]]:
    """About `number` rows in groups: half of them bombs and pairs of the corpus, half plain pairs."""
    corpus = _corpus("math", _math_problem)
    groups = [[row] for row in (corpus * (1 + number // len(corpus)))[: number // 2]]
    for group in range((number - len(groups)) // GROUP):
        top, bottom = chance.randint(1, 99), chance.choice([2, 4, 5, 8, 10])
        gold, value = f"\\frac{{{top}}}{{{bottom}}}", top / bottom
        problem = Problem(f"pair/{group}", "algebra", "math", "?", gold)
        right, wrong = f"So \\boxed{{{value}}}.", f"So \\boxed{{{value + 1}}}."
        rows = [Row(problem, right, ("correct",), True, "right pair")] * (GROUP // 2)
        groups.append(rows + [Row(problem, wrong, ("wrong",), True, "wrong pair")] * (GROUP // 2))
    return groups


def rollouts(rows: list[Row], number: int) -> Rollouts:
    """A group as a generator yields it. The number of its prompt tokens is the number of the group."""
    made = [Completion(i, IDS, LOGPROBS, row.text, "stop", ((0, len(IDS)),), 0.0) for i, row in enumerate(rows)]
    return Rollouts(rows[0].problem, (0,) * number, tuple(made))


def _program(text: str, number: int) -> str:
    return f"```python\n# {number}\n{text}\n```"


def _corpus(name: str, problem: Callable[[dict], Problem]) -> list[Row]:
    return [
        Row(problem(row), row["response"], tuple(row["expect"]), False, f"{name} corpus")
        for row in _lines(CORPUS / f"{name}.jsonl")
    ]


def _lines(path: Path) -> Iterator[dict]:
    yield from map(json.loads, path.read_text().splitlines())


def _code_problem(row: dict) -> Problem:
    return Problem(row["id"], "code", "code", "?", tests=row["tests"])


def _math_problem(row: dict) -> Problem:
    return Problem(row["id"], "algebra", "math", "?", row["gold"])
