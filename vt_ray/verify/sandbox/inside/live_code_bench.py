"""Runs a program by LiveCodeBench's rules, in the process of one test.

The program has the names of 18 modules without an import, a recursion limit of 50,000, and numpy if the verifier found
it (https://github.com/LiveCodeBench/LiveCodeBench, lcb_runner/evaluation/testing_util.py). The other parts of a process
are those of `program_runner`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from vt_ray.verify.sandbox.inside import program_runner
from vt_ray.verify.sandbox.inside.plain_data import plain

RECURSION_LIMIT = 50_000
_MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
# The order decides which name wins: `pow` is the builtin, `datetime` the module.
IMPORTS = "\n".join(
    [f"from {name} import *" for name in (*_MODULES, "builtins", "typing")] + [f"import {name}" for name in _MODULES]
)
_imported: dict[str, Any] = {}
exec(IMPORTS, _imported)  # once, in the broker: each child inherits the modules
_imported.pop("__builtins__")

numpy_folder = ""  # the folder of the package, set by the broker


def run_stdio(source: str) -> int:
    """Run the program with its input on descriptor 0. SystemExit is the end of the program, with any exit code."""

    def body(names: dict[str, Any]) -> None:
        _give_names(names)
        with contextlib.suppress(SystemExit):
            program_runner.execute(source, names)

    return program_runner.run_as("__main__", body)


def run_call(request_text: str) -> int:
    """Load the program, call its function, and write the result as JSON to the channel. Returns the exit code.

    The function is a method of `Solution` if the program has that class, else a function of the module.
    """
    request = json.loads(request_text)
    source, name = request.pop("program"), request["function"]

    def body(names: dict[str, Any]) -> None:
        arguments = json.loads(request["args"])
        _give_names(names)
        sys.stdin = io.StringIO()
        program_runner.execute(source, names)
        function: Callable[..., Any]
        function = getattr(names["Solution"](), name) if "class Solution" in source else names[name]
        program_runner.write_result(plain(function(*arguments), lenient=False))

    return program_runner.run_as(program_runner.MODULE_NAME, body)


def _give_names(names: dict[str, Any]) -> None:
    names.update((name, value) for name, value in _imported.items() if name not in names)
    sys.setrecursionlimit(RECURSION_LIMIT)
    if numpy_folder:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        sys.meta_path.append(_NumpyFinder())  # type: ignore[arg-type]


class _NumpyFinder:
    """Finds numpy. Its parent folder is not on the path, because a program must not see the other packages."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != "numpy":
            return None
        file = f"{numpy_folder}/__init__.py"
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[numpy_folder])
