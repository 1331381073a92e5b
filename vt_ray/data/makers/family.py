"""A family of made problems: its possible parameters, and how a problem is written for them.

    stock() --> parameters --> write(dice, *parameters) --> Task --> problem() --> Problem

The canonical key (subdomain, family, parameters) identifies a problem. Only the key seeds the dice, and the dice choose
wording, list order and test inputs: a key has the same question text in every process and for every seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vt_ray.records import Problem, Solution

STYLES = ("direct", "steps", "checked")

Parameters = tuple[Any, ...]

# Enough to train a small model, and few enough to hash a whole subdomain in a fraction of a second.
MAX_STOCK = 3000


@dataclass(frozen=True, slots=True)
class Task:
    """A question with its answer and one text for each style of solution."""

    question: str
    direct: str
    steps: str
    checked: str
    answer: str = ""
    tests: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of problem at one level. Parameters are ints or short words without an underscore."""

    name: str
    level: int
    stock: Callable[[], Iterable[Parameters]]
    write: Callable[..., Task]

    def parameters(self) -> list[Parameters]:
        """Returns all parameters, or a fixed selection of `MAX_STOCK`."""
        found = sorted(set(self.stock()))
        if len(found) <= MAX_STOCK:
            return found
        return random.Random(f"{self.name}/{self.level}").sample(found, MAX_STOCK)

    def key(self, subdomain: str, parameters: Parameters) -> str:
        """Returns the canonical key, which is also the question_id: `algebra/linear/3_4_19`."""
        return f"{subdomain}/{self.name}/{'_'.join(map(str, parameters))}"

    def problem(self, subdomain: str, parameters: Parameters) -> Problem:
        """Returns the problem for these parameters, with its three solutions."""
        key = self.key(subdomain, parameters)
        task = self.write(random.Random(key), *parameters)
        styles = zip(STYLES, (task.direct, task.steps, task.checked), strict=True)
        return Problem(
            question_id=key,
            subdomain=subdomain,
            kind="code" if task.tests else "math",
            question=task.question,
            answer=task.answer,
            tests=task.tests,
            solutions=tuple(Solution(style, text) for style, text in styles),
            level=self.level,
        )


def math_task(question: str, answer: str, steps: list[str], checked: list[str]) -> Task:
    """Returns a math task. The boxed answer is appended to each solution."""
    box = rf"\boxed{{{answer}}}"
    return Task(question, box, "\n".join([*steps, box]), "\n".join([*checked, box]), answer)


def code_task(
    question: str, tests: dict[str, Any], direct: str, steps: tuple[str, str], checked: tuple[str, str]
) -> Task:
    """Returns a code task. `steps` and `checked` are (line before the program, program)."""
    fenced = [_fenced(program) for program in (direct, steps[1], checked[1])]
    return Task(question, fenced[0], f"{steps[0]}\n{fenced[1]}", f"{checked[0]}\n{fenced[2]}", "", tests)


def _fenced(program: str) -> str:
    return f"```python\n{program}\n```"


def stdio_tests(cases: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns tests for a program that reads one line and prints one."""
    return {"type": "stdio", "cases": [{"input": f"{given}\n", "output": f"{out}\n"} for given, out in cases]}


def call_tests(cases: Iterable[tuple[list[Any], Any]]) -> dict[str, Any]:
    """Returns tests for a function `f`."""
    return {"type": "call", "function": "f", "cases": [{"args": a, "expected": out} for a, out in cases]}
