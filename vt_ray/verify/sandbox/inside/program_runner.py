"""Runs a program in the process of one test: as a script, or as a module whose function is called.

    request --run_stdio--> stdout, exit code          request --run_call--> result on descriptor 0, exit code

A script's `__name__` is "__main__". A loaded module has another name, so that a `__main__` guard does not run, as in an
import. The program can read the memory of this process, which therefore holds no expected value. The process has only
the descriptors 0, 1 and 2.
"""

from __future__ import annotations

import _thread
import atexit
import builtins
import contextlib
import ctypes
import io
import json
import os
import random
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from vt_ray.verify.sandbox.inside.plain_data import plain

CHANNEL_FD = 0
MODULE_NAME = "main"
_M_ARENA_MAX = -8
_libc = ctypes.CDLL(None)
_MAX_STACK_BYTES = 128 << 20

# Names that LeetCode-style programs rely on without importing them.
PRELUDE = """
from typing import *
from collections import *
from itertools import *
from functools import *
from heapq import *
from bisect import *
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string
from math import ceil, comb, cos, exp, factorial, floor, gcd, hypot, inf, isqrt
from math import lcm, log, log10, log2, pi, prod, sin, sqrt
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
"""
prelude_names: dict[str, Any] = {}
exec(PRELUDE, prelude_names)  # once, in the broker: each child inherits it
prelude_names.pop("__builtins__")

# Compiled once in the broker: the first compilation in a process costs a millisecond of page faults, and each test has
# a new process.
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

# References kept here, so that a program that patches the json module or the builtins does not change them.
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode


def set_up_process() -> None:
    """Configure the broker's children: integers of any length, and one heap for all threads of a program.

    Otherwise each thread's heap in glibc would take 64 MiB of the memory limit.
    """
    if hasattr(sys, "set_int_max_str_digits"):  # early releases of Python 3.9 have neither the limit nor the function
        sys.set_int_max_str_digits(0)
    with contextlib.suppress(AttributeError):  # another C library may have no such setting
        _libc.mallopt(_M_ARENA_MAX, 1)


def run_stdio(source: str) -> int:
    """Run the program with its input on descriptor 0. Returns its exit code."""
    return run_as("__main__", lambda names: execute(source, names))


def run_call(request_text: str) -> int:
    """Load the program, call its function, and write the result as JSON to the channel. Returns the exit code."""
    request = json.loads(request_text)
    source, owner, name = request.pop("program"), request.get("class"), request["function"]

    def call(names: dict[str, Any]) -> None:
        arguments = json.loads(request["args"])
        load(source, names)
        function = getattr(names[owner](), name) if owner else names[name]
        write_result(plain(function(*arguments)))

    return run_as(MODULE_NAME, call)


def load(source: str, names: dict[str, Any], given: dict[str, Any] | None = None) -> None:
    """Run the program as an imported module without input. The prelude and `given` are available as builtins.

    If a program fails because it reads its input while it is loaded, the functions defined before that are kept.
    """
    builtins.__dict__.update(prelude_names | (given or {}))  # `names` holds only the program's own definitions
    sys.stdin = stdin = _NoInput()
    try:
        execute(source, names)
    except Exception:
        if not stdin.was_read:
            raise


class _NoInput(io.StringIO):
    """An empty standard input that records whether it was read."""

    was_read = False

    def readline(self, *args: Any) -> str:  # type: ignore[override]
        self.was_read = True
        return super().readline(*args)

    def read(self, *args: Any) -> str:
        self.was_read = True
        return super().read(*args)

    def __next__(self) -> str:  # type: ignore[override]
        self.was_read = True
        return super().__next__()


def execute(source: str, names: dict[str, Any]) -> None:
    """Compile and run the program with `names` as its globals."""
    if "random" in source:
        random.seed()  # all programs start as copies of one process
    exec(compile(source, "main.py", "exec", dont_inherit=True), names)


def write_result(value: Any) -> None:
    """Write the plain data that a function returned to the channel, as JSON."""
    write_all(CHANNEL_FD, _encode(value).encode())


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def run_as(module_name: str, body: Callable[[dict[str, Any]], None]) -> int:
    """Call `body` with the globals of a new module, and end as the interpreter does. Returns the exit code."""
    main = types.ModuleType(module_name)
    main.__dict__.update(__builtins__=builtins, __file__="main.py")
    sys.modules["__main__"] = sys.modules[module_name] = main
    sys.argv = ["main.py"]
    builtins.exit = builtins.quit = _exit  # type: ignore[assignment]  # -S leaves them out
    threading.stack_size = _stack_size
    code = 0
    try:
        body(main.__dict__)
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    return _finished(code, main.__dict__)


def _finished(code: int, names: dict[str, Any]) -> int:
    """End as the interpreter does: wait for threads, run atexit functions, flush, release objects."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush(sys.stdout)
    except BaseException:
        code = code or 120
    with contextlib.suppress(BaseException):
        for name in [name for name in names if name != "__builtins__"]:
            names[name] = None  # this flushes a file that the program opened
        for stream in (sys.__stdout__, sys.stdout, sys.stderr):
            _flush(stream)
        _libc.fflush(None)  # a program may have printed through the C library's own buffer
    return code


def _flush(stream: Any) -> None:
    if stream is not None and not getattr(stream, "closed", False):
        stream.flush()


def _stack_size(size: int = 0) -> int:
    """As `threading.stack_size`, but bounded: some programs ask for more than the memory limit."""
    return _thread.stack_size(min(size, _MAX_STACK_BYTES))


def _exit(code: object = None) -> None:
    raise SystemExit(code)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    print(code, file=sys.stderr)
    return 1
