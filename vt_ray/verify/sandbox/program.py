"""What happens in the process of one test: it is confined, runs the program, writes out the result.

    request --confine--> limits, own session, three descriptors --run_stdio | run_call--> exit code

Imported by the broker (standard library only) and executed in a child that it forked. Nothing in here knows
what is expected, so that a program which takes it apart, and it can, learns and gains nothing.
"""

from __future__ import annotations

import atexit
import builtins
import collections
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import sys
import threading
import types
from typing import Any

RESULT_FD = 3
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_OUT_OF_THE_WAY = 32
_MAX_DESCRIPTOR = 65_536
_MAX_FILE_MB = 16
_MAX_OPEN_FILES = 64
_MAX_PROCESSES = 4_096  # counts every thread of the user on the machine, so it cannot be small
_MAX_RESULT_DEPTH = 64
_MAX_RESULT_ITEMS = 200_000

# What LeetCode-style programs rely on without importing it.
_PRELUDE = """
from typing import *
from collections import *
from itertools import *
from functools import *
from heapq import *
from bisect import *
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string
from math import gcd, inf, sqrt, ceil, floor, comb, factorial, isqrt
"""
_prelude_names: dict[str, Any] = {}
exec(_PRELUDE, _prelude_names)  # once, in the broker: a forked child has it for nothing
_prelude_names.pop("__builtins__")

# Compiled once in the broker: the first compilation in a process costs a millisecond of page faults, and each
# test is the first of its process.
_WARM_UP = """
import sys
class A:
    def f(self, n: int) -> list:
        return [i ** 2 for i in range(n) if i % 2 == 0 and i not in {3: 4}] if n > 0 else []
def main(*args, **kwargs):
    a, b = map(int, "1 2".split())
    try:
        while a < b:
            a += 1; d = {k: v for k, v in zip("ab", (1, 2))}
    except (ValueError, KeyError) as error:
        raise
    with open(f"{a!r:>3}") as lines:
        return sum(int(line.strip()[1:]) for line in lines), lambda x: -x
if __name__ == "__main__":
    print(main(), *[1, 2], sep=" ")
"""
for _ in range(2):
    compile(_WARM_UP, "warm_up.py", "exec")

_libc = ctypes.CDLL(None, use_errno=True)
# Kept here, where a program that patches the json module or the builtins does not reach by accident.
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode


class UnsupportedResult(Exception):
    """The function returned something that is not plain data."""


def confine(directory: str, descriptors: list[int], memory_mb: int, cpu_s: int) -> None:
    """Own session, streams, limits and directory; no other descriptor. Dies with the broker."""
    os.setsid()
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    # First up and out of the way: the target of one dup2 may be the source of another.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for descriptor in descriptors]
    for target, descriptor in enumerate(high):
        os.dup2(descriptor, target)
    os.closerange(len(high), _MAX_DESCRIPTOR)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(HOME=directory, TMPDIR=directory)
    for name, limit in (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, _MAX_FILE_MB << 20),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        *([(resource.RLIMIT_NPROC, _MAX_PROCESSES)] if os.getuid() else []),
    ):
        hard = resource.getrlimit(name)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(name, (value, value))


def run(request: dict[str, Any]) -> int:
    """Run the program of a request as `__main__`, call its function if asked to, and return the exit code."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    sys.argv = ["main.py"]
    builtins.exit = builtins.quit = _exit  # type: ignore[assignment]  # -S leaves them out
    code = 0
    try:
        if request["type"] == "call":
            main.__dict__.update(_prelude_names)
            _call(main.__dict__, request)
        else:
            exec(compile(request["program"], "main.py", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    return _finished(code)


def _finished(code: int) -> int:
    """What the interpreter does at its end: waits for threads, runs atexit, flushes."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        return code or 120
    with contextlib.suppress(BaseException):
        sys.stderr.flush()
    return code


def _exit(code: object = None) -> None:
    raise SystemExit(code)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _call(namespace: dict[str, Any], request: dict[str, Any]) -> None:
    arguments = json.loads(request["args"])
    exec(compile(request["program"], "main.py", "exec", dont_inherit=True), namespace)
    owner = request.get("class")
    name = request["function"]
    function = getattr(namespace[owner](), name) if owner else namespace[name]
    text = _encode(plain(function(*arguments))).encode()
    while text:
        text = text[os.write(RESULT_FD, text) :]


def plain(value: Any) -> Any:
    """The value rebuilt from exact types of plain data, tuples as lists. Else raises UnsupportedResult.

    A subclass could answer one thing to the encoder and hold another, so that only the types themselves are
    let through (and the dictionaries of `collections`, read as dictionaries).
    """
    return _plain(value, 0, [0])


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    kind = type(value)
    count[0] += 1
    if depth > _MAX_RESULT_DEPTH or count[0] > _MAX_RESULT_ITEMS:
        raise UnsupportedResult(f"more than {_MAX_RESULT_DEPTH} levels or {_MAX_RESULT_ITEMS} items")
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    if kind is list or kind is tuple:
        return [_plain(item, depth + 1, count) for item in value]
    if (
        kind is dict
        or kind is collections.defaultdict
        or kind is collections.Counter
        or kind is collections.OrderedDict
    ):
        items = {_key(key): _plain(item, depth + 1, count) for key, item in dict.items(value)}
        if len(items) != dict.__len__(value):
            raise UnsupportedResult("two keys of the returned dict are the same as strings")
        return items
    raise UnsupportedResult("the function returned neither a number, a string, None, a list, a tuple nor a dict")


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    if type(key) is int:  # as JSON writes it
        return str(key)
    raise UnsupportedResult("a key of the returned dict is neither a string nor an integer")
