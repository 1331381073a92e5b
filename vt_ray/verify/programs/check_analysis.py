"""Analysis of the code of a `check` test. It reads the text of the test alone, so that no program can change it.

    test code --ast--> names of the program, names of the test's tools, whether changes of arguments count

A name that the test neither defines nor imports belongs to the program. If a builtin or the prelude has the same name,
the name belongs to the program only if an assertion would otherwise test nothing of the program.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from vt_ray.verify.sandbox.inside.program_runner import prelude_names

_BUILTINS = {*dir(builtins), "exit", "quit"}
_EXCEPTIONS = {n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)}
_PRELUDE = {name for name, value in prelude_names.items() if callable(value) and not isinstance(value, ModuleType)}
_KNOWN = _BUILTINS | prelude_names.keys()
_MAX_CHARS = 1_000_000  # a syntax tree takes about a hundred times the memory of its text
_PARAMETER = "()"  # in place of a name: a parameter of a test's function, treated as an object of the program


class UnreadableTest(ValueError):
    """The code of the test is not valid Python, or has no name that a program could define."""


@dataclass(frozen=True, slots=True)
class CheckAnalysis:
    """The names that a test uses, by their owner.

    `names` belong to the program only. None if the test is too long to be read here: the sandbox then finds them.
    `subjects` are names of the prelude or of builtins that the test tests in the program.
    `classes` are defined by the test. A program may use them without defining them (`ListNode`).
    `sees_changes` is False if the test compares a result with a value that it computes from the same argument, as in
    `f(xs) == sorted(xs)`: the program must not be able to change that argument.
    """

    names: tuple[str, ...] | None
    subjects: tuple[str, ...]
    sees_changes: bool
    classes: tuple[str, ...] = ()


@lru_cache(maxsize=512)
def analyse_check(test: str, entry_point: str) -> CheckAnalysis:
    """Analyse the code of a test. Raises UnreadableTest."""
    if len(test) > _MAX_CHARS:
        return CheckAnalysis(None, (), sees_changes=False)
    try:
        tree = ast.parse(test)
        missing = sorted(set(_imported(tree)) - sys.stdlib_module_names)
        if missing:
            raise UnreadableTest(f"it imports {missing[0]}, but a sandbox has only the standard library")
        return _Reader(tree, re.split(r"\W", entry_point)[0]).plan()
    except (SyntaxError, ValueError) as error:
        raise UnreadableTest(str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise UnreadableTest("nested too deep") from error


class _Reader:
    def __init__(self, tree: ast.Module, root: str) -> None:
        self._tree = tree
        self._sources: dict[str, set[str]] = {}  # variable of the test -> names from which its values come
        self._bound: set[str] = set()
        self._callable: set[str] = set()  # the program's functions, and their results
        self._bind()
        loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        free = {name for name in loaded - self._bound if not (name.startswith("__") and name.endswith("__"))}
        self._program = (free - _KNOWN) | ({root} if root and (root in loaded or "check" in self._bound) else set())
        self._shared = free & (_BUILTINS | _PRELUDE) - _EXCEPTIONS - self._program

    def plan(self) -> CheckAnalysis:
        subjects = self._subjects()
        if not self._program | subjects:
            raise UnreadableTest("it names nothing that a program could define")
        self._program |= subjects
        classes = tuple(node.name for node in self._tree.body if isinstance(node, ast.ClassDef))
        names = tuple(sorted(self._program - subjects))
        return CheckAnalysis(names, tuple(sorted(subjects)), self._sees_changes(), classes)

    # --- variables ---

    def _bind(self) -> None:
        for node in ast.walk(self._tree):
            for names, value in _bindings(node):
                binds = not isinstance(node, (ast.Call, ast.Expr))
                self._bound |= names if binds else set()
                for name in names:
                    self._sources.setdefault(name, set()).update(value - {name})

    def _origins(self, nodes: Iterable[ast.AST]) -> set[str]:
        """Returns the free names from which these expressions take their values, also through variables of the test."""
        found: set[str] = set()
        waiting = [name for node in nodes for name in _loaded(node)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._sources.get(name, ()))
        return found

    # --- the names that the test tests ---

    def _subjects(self) -> set[str]:
        """Returns names shared with a builtin or the prelude, in assertions without another name of the program."""
        subjects, tools = set(), set()
        for assertion in _assertions(self._tree):
            origins = self._origins([assertion])
            shared = origins & self._shared
            if origins & self._program or _PARAMETER in origins:
                tools |= shared & _BUILTINS
            else:
                subjects |= (shared - _BUILTINS) or self._innermost(shared)
        subjects -= tools
        if subjects or self._program:
            return subjects
        return (self._shared & _PRELUDE) or self._innermost(self._shared)

    def _innermost(self, names: set[str]) -> set[str]:
        """Returns the names whose calls contain no call of another name, such as `pow` in `abs(pow(2, 3) - 8)`."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call) and _name(node.func) in names]
        outer = {_name(c.func) for c in calls if any(names & set(_called(part)) for part in _arguments(c))}
        return {_name(call.func) for call in calls} - outer

    # --- whether the program may change its arguments ---

    def _sees_changes(self) -> bool:
        callables = self._program | {name for name, sources in self._sources.items() if _PARAMETER in sources}
        results = {name for name, sources in self._sources.items() if sources & callables}
        self._callable = callables | results
        calls = self._program_calls(self._tree)
        given = {name for call in calls for argument in _arguments(call) for name in _loaded(argument)}
        given -= _KNOWN | self._program
        skipped = {id(call) for call in calls}  # a call of the program is not a comparison of the test
        for parts in _compared(self._tree, skipped):
            sides = [self._side(part, given, results - given) for part in parts]
            if (True, False) in sides and (False, True) in sides:
                return False
        return True

    def _side(self, node: ast.AST, given: set[str], results: set[str]) -> tuple[bool, bool]:
        """Whether an expression contains a result of the program, and whether it contains one of its arguments."""
        calls = self._program_calls(node)
        inside = {id(part) for call in calls for argument in _arguments(call) for part in ast.walk(argument)}
        outside = [n for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in inside]
        has_result = bool(calls) or any(n.id in results for n in outside)
        rest = [n for n in outside if n.id not in results and n.id not in self._callable - given]
        return has_result, bool(self._origins(rest) & given)

    def _program_calls(self, tree: ast.AST) -> list[ast.Call]:
        return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and self._callable & set(_loaded(n.func))]


def _imported(node: ast.AST) -> Iterator[str]:
    """Yields the packages that the code imports. Imports inside a `try` are left out: the code may not need them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.partition(".")[0]
        elif not isinstance(child, ast.Try):
            yield from _imported(child)


def _bindings(node: ast.AST) -> Iterator[tuple[set[str], set[str]]]:
    """Yields (names that a node binds, names from which the values come)."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield _stored(target), set(_loaded(node.value))
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
        yield _stored(node.target), set(_loaded(node.value)) if node.value else set()
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield _stored(node.target), set(_loaded(node.iter))
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield _stored(node.optional_vars), set(_loaded(node.context_expr))
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            everything = prelude_names.keys() if alias.name == "*" else {(alias.asname or alias.name).split(".")[0]}
            yield set(everything), set()
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        yield {argument.arg for argument in every if argument is not None}, {_PARAMETER}
        if not isinstance(node, ast.Lambda):
            yield {node.name}, {name for part in node.body for name in _loaded(part)}
    elif isinstance(node, ast.ClassDef):
        yield {node.name}, {name for part in node.body for name in _loaded(part)}
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield set(_loaded(node.func.value)), {name for part in _arguments(node) for name in _loaded(part)}
    elif isinstance(node, ast.Expr) and not (isinstance(node.value, ast.Call) and _asserts(node.value.func)):
        # A function called for its effects changes its arguments: `heappush(found, f(x))`.
        for call in (part for part in ast.walk(node.value) if isinstance(part, ast.Call)):
            given = {name for part in _arguments(call) for name in _loaded(part)}
            yield given, given | set(_loaded(call.func)) - _BUILTINS
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield {node.name}, set()


def _loaded(node: ast.AST) -> list[str]:
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]


def _stored(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _called(node: ast.AST) -> list[str]:
    return [_name(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]


def _arguments(call: ast.Call) -> list[ast.AST]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _assertions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.test
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _asserts(node.value.func):
            yield ast.Tuple([a for a in node.value.args], ast.Load())


def _asserts(function: ast.AST) -> bool:
    return isinstance(function, ast.Attribute) and function.attr.startswith("assert")


def _compared(tree: ast.AST, skipped: set[int]) -> Iterator[list[ast.AST]]:
    """Yields groups of expressions that meet: the sides of a comparison, the arguments of a call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and id(node) not in skipped:
            yield _arguments(node)
        elif isinstance(node, ast.BinOp):
            yield [node.left, node.right]
