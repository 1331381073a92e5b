"""A learner rank killed in mid-run: all ranks are started anew within the run, which goes on and ends well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from chaos_monkey import writers

pytestmark = pytest.mark.slow

VT_RAY = [sys.executable, "-m", "vt_ray.main", "experiment=tiny"]
RANKS = ["cluster.num_learners=2", "cluster.learner_threads=1"]


def test_a_killed_learner_rank_is_replaced_and_the_other_is_not_waited_for(tmp_path):
    with subprocess.Popen([*VT_RAY, f"runs_dir={tmp_path}", *RANKS], stdout=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 400
        while not list(tmp_path.glob("phases/sft-*/metrics.jsonl")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        (pid,) = writers(tmp_path / "tiny/logs/learner_1.log")
        os.kill(pid, signal.SIGKILL)
        shown, _ = run.communicate(timeout=300)
    assert run.returncode == 0
    assert "lost learner_1: replaced, the run goes on from" in shown
    (recovery,) = [json.loads(line) for line in (tmp_path / "tiny/recoveries.jsonl").read_text().splitlines()]
    assert "learner_1" in recovery["lost"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "tiny/sft/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))
