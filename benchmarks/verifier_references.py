"""Does the verifier accept right programs, and refuse programs that are wrong in one place?

    python benchmarks/verifier_references.py --data FOLDER [--seed 0] [--workers N] [--backend auto]

FOLDER holds leetcode_test.json, humaneval.jsonl.gz and code_contests_test.json. The reference solution of each
problem must be `correct`. The same solution with one operator or constant changed should be `wrong`: those that
are not are listed with what was changed, so that a reader sees whether the change makes no difference or the
tests do not notice it. Contest problems come without solutions: there a program that does nothing must be
`wrong`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vt_ray.progress import bar
from vt_ray.verify.grading import Graded, Grading, limits_of
from vt_ray.verify.limits import Limits, SandboxConfig

TEST_TIMEOUT_S = 10.0  # one test is all of a problem's: a mutant that never ends costs as long


@dataclass(frozen=True)
class Reference:
    """A problem's tests, in the form that a row's `tests` has, and a program: its solution, where it has one."""

    name: str
    tests: dict[str, Any]
    program: str

    def row(self, program: str) -> dict[str, Any]:
        return {"id": self.name, "kind": "code", "tests": self.tests, "response": f"```python\n{program}\n```"}


# --- the data ---


def leetcode(folder: Path) -> list[Reference]:
    rows = json.loads((folder / "leetcode_test.json").read_text())
    return [
        Reference(f"leetcode/{n}", _check(row["tests"]["functional"]), row["solutions"]) for n, row in enumerate(rows)
    ]


def humaneval(folder: Path) -> list[Reference]:
    with gzip.open(folder / "humaneval.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Reference(
            row["task_id"],
            _check(f"{row['test']}\ncheck({row['entry_point']})"),
            row["prompt"] + row["canonical_solution"],
        )
        for row in rows
    ]


def _check(test: str) -> dict[str, Any]:
    """Test code that ends in `check(name)` or `check(Solution().name)`."""
    called = test.rstrip().rpartition("check(")[2].removesuffix(")")
    return {"type": "check", "entry_point": called.rpartition(".")[2], "test": test}


def contests(folder: Path) -> list[Reference]:
    rows = json.loads((folder / "code_contests_test.json").read_text())
    return [Reference(f"contest/{n}", _stdio(row["tests"]), "pass") for n, row in enumerate(rows)]


def _stdio(tests: dict[str, list[str]]) -> dict[str, Any]:
    cases = [{"input": i, "output": o} for i, o in zip(tests["inputs"], tests["outputs"], strict=True)]
    return {"type": "stdio", "cases": cases}


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
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    """A program that differs from another in one place; `change` says where and how."""

    program: str
    change: str


def mutant(program: str, seed: str) -> Mutant | None:
    """One of the program's mutants, the same for the same seed; None where there is nothing to change."""
    tree = ast.parse(program)
    before = ast.unparse(tree)
    sites = list(_sites(tree))
    random.Random(seed).shuffle(sites)
    for node, change in sites:
        undone = copy.copy(node)
        change()
        after = ast.unparse(tree)
        if after != before:
            return Mutant(after, _difference(before, after))
        node.__dict__.update(undone.__dict__)
    return None


def _sites(tree: ast.AST) -> Iterator[tuple[ast.AST, Callable[[], None]]]:
    """Each place with what changes it there."""
    for node in _code(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in _OPERATORS:
            yield node, lambda node=node: setattr(node, "op", _OPERATORS[type(node.op)]())
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OPERATORS:
            yield node, lambda node=node: setattr(node, "ops", [_OPERATORS[type(node.ops[0])](), *node.ops[1:]])
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, lambda node=node: setattr(node, "value", not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield node, lambda node=node: setattr(node, "value", node.value + (1 if node.value < 1 else -1))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            yield node, lambda node=node: setattr(node, "args", _shorter(node.args))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, which change nothing."""
    yield node
    for name, child in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for one in child if isinstance(child, list) else [child]:
                if isinstance(one, ast.AST):
                    yield from _code(one)


def _shorter(bounds: list[ast.expr]) -> list[ast.expr]:
    """The bounds of a range that ends one earlier."""
    last = min(1, len(bounds) - 1)
    end = ast.BinOp(bounds[last], ast.Sub(), ast.Constant(1))
    return [*bounds[:last], end, *bounds[last + 1 :]]


def _difference(before: str, after: str) -> str:
    lines = zip(before.splitlines(), after.splitlines(), strict=True)
    return next(f"{old.strip()}  ->  {new.strip()}" for old, new in lines if old != new)


# --- the measurement ---


@dataclass
class Outcome:
    """The verdicts on one set of programs, and those that are not what they should be."""

    title: str
    wanted: str
    statuses: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.statuses[self.wanted] / max(1, self.statuses.total())

    def add(self, graded: Graded, note: str) -> None:
        verdict = graded.examination.verdict
        self.statuses[verdict.status] += 1
        if verdict.status != self.wanted:
            self.others.append(f"{graded.row_id}: {verdict.status} {verdict.reason}  {note}".rstrip())


def measure(pool: Grading, title: str, wanted: str, rows: list[dict[str, Any]], notes: list[str]) -> Outcome:
    outcome = Outcome(title, wanted)
    with bar(title, len(rows)) as advance:
        for graded, note in zip(pool.grade(json.dumps(row).encode() for row in rows), notes, strict=True):
            outcome.add(graded, note)
            advance(f"{outcome.statuses[wanted]} {wanted}")
    return outcome


def references(pool: Grading, name: str, problems: list[Reference]) -> Outcome:
    return measure(pool, name, "correct", [one.row(one.program) for one in problems], [""] * len(problems))


def mutants(pool: Grading, name: str, problems: list[Reference], seed: int) -> Outcome:
    pairs = [(one, mutant(one.program, f"{seed}/{one.name}")) for one in problems]
    made = [(one, changed) for one, changed in pairs if changed is not None]
    rows = [one.row(changed.program) for one, changed in made]
    return measure(pool, f"{name} mutants", "wrong", rows, [changed.change for _, changed in made])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--backend", default=SandboxConfig.backend, help="as vt-tools verify --backend takes it")
    options = parser.parse_args()
    limits = limits_of(TEST_TIMEOUT_S, Limits.memory_mb, options.backend)
    with Grading(limits, options.workers) as pool:
        outcomes = []
        for name, problems in (("leetcode", leetcode(options.data)), ("humaneval", humaneval(options.data))):
            outcomes.append(references(pool, name, problems))
            outcomes.append(mutants(pool, name, problems, options.seed))
        empty = contests(options.data)
        rows = [one.row(one.program) for one in empty]
        outcomes.append(measure(pool, "contests, no answer", "wrong", rows, [""] * len(rows)))
        backend = pool.backend
    show(outcomes, f"reference solutions and their mutants; programs: {backend}")
    print(json.dumps({"backend": backend, "seed": options.seed} | {one.title: _summary(one) for one in outcomes}))


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {"wanted": outcome.wanted, "share": round(outcome.share, 4), **dict(outcome.statuses)}


def show(outcomes: list[Outcome], title: str) -> None:
    console = Console(highlight=False)
    table = Table("programs", "should be", "are", "correct", "wrong", "unverified", title=title)
    for one in outcomes:
        counts = [str(one.statuses[status]) for status in ("correct", "wrong", "unverified")]
        table.add_row(one.title, one.wanted, f"{one.share:.1%}", *counts)
    console.print(table)
    for one in outcomes:
        for line in one.others:
            console.print(f"{one.title}, not {one.wanted}: {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
