"""Ctrl-C and SIGTERM (preemption) end a run within 20 s. It names the committed step and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tiny_run import TINY, run_tiny, wait_for

pytestmark = pytest.mark.slow

# After 15 s the run exits without cleaning up.
ENDS_WITHIN_S = 20
# Ray's processes notice that the run is gone.
CHILDREN_END_WITHIN_S = 60
MARK = "VT_RAY_TEST_RUN"


def descendants(mark: str) -> list[str]:
    """The command of each living process that has `mark` in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def interrupted(runs: Path, number: int, due: Callable[[str], bool], *overrides: str) -> str:
    """Starts a run, sends it the signal `number` once `due(mark)` holds, and checks how it ends. Returns its stderr.
    `mark` is in the environment of all processes of the run."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [*TINY, f"runs_dir={runs}", *overrides],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
        # A shell starts its background jobs with SIGINT ignored, and their children inherit this.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as run:
        wait_for(run, lambda: due(mark))
        run.send_signal(number)
        began = time.monotonic()
        _, errors = run.communicate(timeout=60)
        seconds = time.monotonic() - began
    assert run.returncode == 1
    assert seconds < ENDS_WITHIN_S
    assert "Abort" not in errors and "Traceback" not in errors, errors
    while left := descendants(mark):
        assert time.monotonic() - began < CHILDREN_END_WITHIN_S, left
        time.sleep(0.2)
    return errors


def appears(runs: Path, pattern: str) -> Callable[[str], bool]:
    return lambda _: any(runs.glob(pattern))


def ray_starts(mark: str) -> bool:
    return any("gcs_server" in command for command in descendants(mark))


@pytest.mark.parametrize("moment", ["before Ray", "while Ray starts"])
def test_sigterm_before_anything_is_committed(tmp_path, moment):
    due = ray_starts if moment == "while Ray starts" else appears(tmp_path, "tiny/logs/driver.log")
    errors = interrupted(tmp_path, signal.SIGTERM, due)
    assert "interrupted: nothing is committed yet" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_sft_names_the_committed_step(tmp_path, number):
    errors = interrupted(tmp_path, number, appears(tmp_path, "phases/sft-*/state/step_*/manifest.json"))
    assert re.search(r"interrupted: the same command continues after sft step_\d{6}, which is committed", errors)


@pytest.mark.nightly
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("schedule", ["on_policy", "pipelined"])
def test_sigterm_in_a_stage_and_in_the_report(tmp_path, schedule):
    stage = f"signal.schedule={schedule}"
    errors = interrupted(tmp_path, signal.SIGTERM, appears(tmp_path, "tiny/rl/math_short/checkpoints/*/m*.json"), stage)
    assert re.search(r"continues after math_short step_\d{6}, which is committed", errors)
    errors = interrupted(tmp_path, signal.SIGTERM, appears(tmp_path, "tiny/evaluation/code.json"), stage)
    assert "continues after code step_000002" in errors
    done = run_tiny(tmp_path, stage)
    assert done.returncode == 0, done.stdout + done.stderr
