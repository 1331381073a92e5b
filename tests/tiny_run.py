"""Runs of experiment=tiny in processes of their own, as a user starts them.

A run takes about a minute, so one finished run serves all tests that only read it, and runs whose spectrum phase does
not matter start from its finished phases.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

VT_RAY = [sys.executable, "-m", "vt_ray.main"]
TINY = [*VT_RAY, "experiment=tiny"]
ONE_STEP = "curriculum.stages=[{name: short, steps: 1, prompts_per_step: 4, group_size: 4, max_new_tokens: 32}]"


def run_tiny(runs: Path, *overrides: str, timeout_s: float = 500) -> subprocess.CompletedProcess:
    command = [*VT_RAY, *overrides, "experiment=tiny", f"runs_dir={runs}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


def copy_phases(finished: Path, runs: Path) -> None:
    """Gives the runs of the folder `runs` the phases that the run `finished` has completed: a run with the same
    settings continues with its first RL step."""
    shutil.copytree(finished.parent / "phases", runs / "phases")


def wait_for(process: subprocess.Popen, condition: Callable[[], object], timeout_s: float = 400) -> None:
    """Returns once `condition()` holds. Fails if the process ends before."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"the run ended before the condition held: {process.communicate()}"
        assert time.monotonic() < deadline, f"the condition did not hold within {timeout_s} s"
        time.sleep(0.02)
