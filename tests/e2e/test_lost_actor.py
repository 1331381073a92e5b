"""An actor killed in mid-run: the run ends soon, says which one, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

VT_RAY = [sys.executable, "-m", "vt_ray.main", "experiment=tiny"]
RANKS = ["cluster.num_learners=2", "cluster.learner_threads=1"]


def pids_writing(log: Path) -> list[int]:
    """The processes whose output goes to `log`: each actor has a log of its own."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if output.readlink() == log:
                found.append(int(output.parts[2]))
        except OSError:
            continue
    return found


def test_a_killed_learner_rank_is_named_and_the_other_is_not_waited_for(tmp_path):
    with subprocess.Popen([*VT_RAY, f"runs_dir={tmp_path}", *RANKS], stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 400
        while not list(tmp_path.glob("phases/sft-*/metrics.jsonl")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        (pid,) = pids_writing(tmp_path / "tiny/logs/learner_1.log")
        os.kill(pid, signal.SIGKILL)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert errors.startswith("error: lost learner_1: killed, or out of memory")
    assert "The same command continues" in errors
    assert not pids_writing(tmp_path / "tiny/logs/learner_0.log")
