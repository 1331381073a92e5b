"""Tests that the verifier accepts correct programs and refuses programs with one change.

    python benchmarks/verifier_references.py --data FOLDER [--seed 0] [--workers N] [--backend auto]

FOLDER has leetcode_test.json, humaneval.jsonl.gz and code_contests_test.json. The reference solution of each problem
must be `correct`. The same solution with one operator or constant changed (a mutant) should be `wrong`. Other mutants
are listed with their change, and with the result of a plain `python` that runs test and program in one process. If
plain Python passes too, the change makes no difference or the tests do not notice it; if not, the verifier is at
fault. Contest problems have no solutions: there a program that does nothing must be `wrong`. The last line is JSON.
Use only programs that you trust in FOLDER: the plain runs have no sandbox.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vt_ray.data.readers import read_problems
from vt_ray.progress import bar
from vt_ray.records import Problem
from vt_ray.verify.files.grading import Graded, Grading, limits_of
from vt_ray.verify.limits import Limits, SandboxConfig
from vt_ray.verify.programs.extract_program import extract_program
from vt_ray.verify.sandbox.inside.program_runner import PRELUDE
from vt_ray.verify.sandbox.interpreter import find_interpreter

REFERENCE_TIMEOUT_S = 10.0  # long enough on a busy machine; a mutant that never ends has a shorter limit


@dataclass(frozen=True)
class Reference:
    """A problem with a program for it: the reference solution, if the problem has one."""

    problem: Problem
    program: str

    @property
    def name(self) -> str:
        return self.problem.question_id

    def row(self) -> dict[str, Any]:
        response = f"```python\n{self.program}\n```"
        return {"id": self.name, "kind": "code", "tests": self.problem.tests, "response": response}


def leetcode(folder: Path) -> list[Reference]:
    found = _solved(folder / "leetcode_test.json")
    return [one for one in found if _needs_only_the_standard_library(one.program)]  # a sandbox has no other packages


def humaneval(folder: Path) -> list[Reference]:
    return _solved(folder / "humaneval.jsonl.gz")


def contests(folder: Path) -> list[Reference]:
    return [Reference(problem, "pass") for problem in read_problems(folder / "code_contests_test.json")]


def _solved(path: Path) -> list[Reference]:
    solved = ((problem, extract_program(problem.solutions[0].text)) for problem in read_problems(path))
    return [Reference(problem, program) for problem, program in solved if program]


def _needs_only_the_standard_library(program: str) -> bool:
    imports = (node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Import | ast.ImportFrom))
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    return all(module and module.partition(".")[0] in sys.stdlib_module_names for module in modules)


# --- mutants ---

_OPERATORS: dict[type[ast.AST], Callable[[], ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_RANKS = (ast.Compare, ast.AugAssign, ast.BinOp | ast.BoolOp, ast.Constant | ast.Call)


@dataclass(frozen=True)
class Mutant:
    """A program with one change; `change` describes its place and kind."""

    program: str
    change: str


def mutant(program: str, seed: str) -> Mutant | None:
    """Returns one mutant of the program, a function of the seed; None if no place can be changed."""
    tree = ast.parse(program)
    before = ast.unparse(tree)
    sites = list(_sites(tree))
    random.Random(seed).shuffle(sites)
    # Comparisons before arithmetic before constants: three examples of a problem detect few changes of constants.
    sites.sort(key=lambda site: _RANKS.index(next(kinds for kinds in _RANKS if isinstance(site[0], kinds))))
    for node, change in sites:
        undone = copy.copy(node)
        change()
        after = ast.unparse(tree)
        if after != before:
            return Mutant(after, _difference(before, after))
        node.__dict__.update(undone.__dict__)
    return None


def _sites(tree: ast.AST) -> Iterator[tuple[ast.AST, Callable[[], None]]]:
    """Yields each place that can be changed, with the function that changes it."""
    for node in _code(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in _OPERATORS:
            yield node, partial(setattr, node, "op", _OPERATORS[type(node.op)]())
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OPERATORS:
            yield node, partial(setattr, node, "ops", [_OPERATORS[type(node.ops[0])](), *node.ops[1:]])
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, partial(setattr, node, "value", not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield node, partial(setattr, node, "value", node.value + (1 if node.value < 1 else -1))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            yield node, partial(setattr, node, "args", _shorter(node.args))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Yields all nodes except annotations, which have no effect."""
    yield node
    for name, child in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for one in child if isinstance(child, list) else [child]:
                if isinstance(one, ast.AST):
                    yield from _code(one)


def _shorter(bounds: list[ast.expr]) -> list[ast.expr]:
    """Returns the bounds of a range that ends one earlier."""
    last = min(1, len(bounds) - 1)
    end = ast.BinOp(bounds[last], ast.Sub(), ast.Constant(1))
    return [*bounds[:last], end, *bounds[last + 1 :]]


def _difference(before: str, after: str) -> str:
    lines = zip(before.splitlines(), after.splitlines(), strict=True)
    return next(f"{old.strip()}  ->  {new.strip()}" for old, new in lines if old != new)


# --- the measurement ---


@dataclass
class Outcome:
    """The verdicts on one set of programs, and a line about each unexpected verdict."""

    title: str
    wanted: str
    statuses: Counter[str] = field(default_factory=Counter)
    others: dict[str, str] = field(default_factory=dict)
    faults: int = 0

    @property
    def share(self) -> float:
        return self.statuses[self.wanted] / max(1, self.statuses.total())

    def add(self, graded: Graded) -> None:
        verdict = graded.result.verdict
        self.statuses[verdict.status] += 1
        if verdict.status != self.wanted:
            self.others[str(graded.row_id)] = f"{verdict.status} {verdict.reason}".rstrip()


def measure(pool: Grading, title: str, wanted: str, problems: list[Reference]) -> Outcome:
    """Grades the program of each problem. An unexpected verdict counts as a fault of the verifier."""
    outcome = Outcome(title, wanted)
    with bar(title, len(problems)) as advance:
        for graded in pool.grade(json.dumps(one.row()).encode() for one in problems):
            outcome.add(graded)
            advance(f"{outcome.statuses[wanted]} {wanted}")
    outcome.faults = len(outcome.others)
    return outcome


def measure_mutants(pool: Grading, title: str, problems: list[Reference], seed: int) -> Outcome:
    """Grades one mutant for each problem whose program has a place to change."""
    found = {one.name: mutant(one.program, f"{seed}/{one.name}") for one in problems}
    changed = {name: one for name, one in found.items() if one is not None}
    programs = {one.name: replace(one, program=changed[one.name].program) for one in problems if one.name in changed}
    outcome = measure(pool, title, "wrong", list(programs.values()))
    outcome.faults = 0
    for name, verdict in outcome.others.items():
        passes = passes_plainly(programs[name])
        outcome.faults += not passes
        remark = "plain python passes it too" if passes else "PLAIN PYTHON NOTICES"
        outcome.others[name] = f"{verdict} ({remark})  {changed[name].change}"
    return outcome


def passes_plainly(reference: Reference) -> bool:
    """Returns True if a fresh Python that runs program and then test ends without an error."""
    tests = reference.problem.tests or {}
    call = f"check({tests['entry_point']})" if tests.get("entry_point") else ""
    code = "\n".join((PRELUDE, reference.program, tests["test"], call))
    command = [find_interpreter(""), "-I", "-S", "-c", code]
    try:
        return subprocess.run(command, capture_output=True, timeout=REFERENCE_TIMEOUT_S, env={}).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backend", default=SandboxConfig.backend, help="as for vt-tools verify --backend")
    options = parser.parse_args()
    patient = limits_of(REFERENCE_TIMEOUT_S, Limits.memory_mb, options.backend)
    usual = limits_of(Limits.test_timeout_s, Limits.memory_mb, options.backend)
    sets = {"leetcode": leetcode(options.data), "humaneval": humaneval(options.data)}
    with Grading(patient, options.workers) as pool:
        outcomes = [measure(pool, name, "correct", problems) for name, problems in sets.items()]
        outcomes.append(measure(pool, "contests, empty", "wrong", contests(options.data)))
        backend, _ = pool.backend()
    with Grading(usual, options.workers) as pool:
        for name, problems in sets.items():
            outcomes.append(measure_mutants(pool, f"{name} mutants", problems, options.seed))
    show(outcomes, f"reference solutions and their mutants; sandbox: {backend}")
    changed = [one for one in outcomes if one.title.endswith("mutants")]
    refused = sum(one.statuses["wrong"] for one in changed) / sum(one.statuses.total() for one in changed)
    summary = {"backend": backend, "seed": options.seed, "mutants_wrong": round(refused, 4)}
    print(json.dumps(summary | {one.title: _summary(one) for one in outcomes}))


def _summary(outcome: Outcome) -> dict[str, Any]:
    summary = {"wanted": outcome.wanted, "share": round(outcome.share, 4), "faults": outcome.faults}
    return summary | dict(outcome.statuses)


def show(outcomes: list[Outcome], title: str) -> None:
    console = Console(highlight=False)
    table = Table("programs", "should be", "are", "correct", "wrong", "unverified", "faults", title=title)
    for one in outcomes:
        counts = [str(one.statuses[status]) for status in ("correct", "wrong", "unverified")]
        table.add_row(one.title, one.wanted, f"{one.share:.1%}", *counts, str(one.faults))
    console.print(table)
    for one in outcomes:
        for name, line in one.others.items():
            console.print(f"{name}, not {one.wanted}: {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
