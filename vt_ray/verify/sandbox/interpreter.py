"""Finds the Python interpreter that runs the programs. The sandbox's user must be able to read it and its libraries."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache

from vt_ray.verify.sandbox.inside.confinement import can_leave_root

_NOBODY = 65_534
_START_S = 20.0
_TRIAL = (
    "import ctypes, fcntl, heapq, json, math, random, select, socket, struct, sys, typing\n"
    "sys.exit(0 if sys.version_info >= (3, 9) else 'older than 3.9')"
)
_NUMPY_TRIAL = """
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("numpy", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["numpy"] = numpy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(numpy)
sys.exit(0 if numpy.arange(3).sum() == 3 else "a wrong sum")
"""


class NoInterpreter(Exception):
    """No Python interpreter can be run as the sandbox's user."""


@cache
def find_interpreter(configured: str) -> str:
    """Returns the configured interpreter; for "" the interpreter of this process, else the system's.

    Raises NoInterpreter. Started by root, a broker runs as a user without files. That user cannot read an interpreter
    below a home folder of mode 0700.
    """
    if configured:
        candidates = [configured]
    else:
        own = os.path.realpath(sys.executable)
        names = [f"python3.{sys.version_info[1]}", "python3"]
        on_path = (shutil.which(name, path=path) for path in ("/usr/bin:/usr/local/bin", None) for name in names)
        candidates = list(dict.fromkeys([own, *(os.path.realpath(path) for path in on_path if path)]))
    failures = []
    for python in candidates:
        failure = _failure(python)
        if not failure:
            return python
        failures.append(f"{python}: {failure}")
    raise NoInterpreter(
        "no Python that the sandbox's user can run (" + "; ".join(failures) + "): "
        "set verify.sandbox.python to one of version 3.9 or newer, with its libraries in folders open to all"
    )


@cache
def find_numpy(python: str) -> str:
    """Returns the folder of this process's numpy, "" if `python` cannot import it as the sandbox's user."""
    found = importlib.util.find_spec("numpy")
    folders = list(found.submodule_search_locations or []) if found else []
    return folders[0] if folders and not _failure(python, _NUMPY_TRIAL, folders[0]) else ""


def _failure(python: str, trial: str = _TRIAL, *arguments: str) -> str:
    """Returns why the interpreter cannot run the trial as the sandbox's user, "" if it can."""
    as_nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if can_leave_root() else {}
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", trial, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_S,
            cwd="/",
            env={"OPENBLAS_NUM_THREADS": "1"},
            **as_nobody,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")
