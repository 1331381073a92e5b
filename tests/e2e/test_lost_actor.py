"""A learner rank is killed during a run: the run replaces all ranks, continues and finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from chaos_monkey import pids_writing_to
from tiny_run import ONE_STEP, TINY, wait_for

pytestmark = pytest.mark.slow

RANKS = ["cluster.num_learners=2", "cluster.learner_threads=1"]
LONG_SFT = ["spectrum.sft.steps=120", "spectrum.sft.checkpoint_every=60"]


def test_a_killed_learner_rank_is_replaced_and_the_other_is_not_waited_for(tmp_path):
    # 120 steps take several seconds: the rank is killed while it trains.
    command = [*TINY, f"runs_dir={tmp_path}", *RANKS, ONE_STEP, *LONG_SFT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        # The file is made before the ranks have started; its first line comes from them.
        wait_for(run, lambda: any(file.stat().st_size for file in tmp_path.glob("phases/sft-*/metrics.jsonl")))
        (pid,) = pids_writing_to(tmp_path / "tiny/logs/learner_1.log")
        os.kill(pid, signal.SIGKILL)
        shown, _ = run.communicate(timeout=300)
    assert run.returncode == 0
    assert "lost learner_1: replaced, the run continues from" in shown
    (recovery,) = [json.loads(line) for line in (tmp_path / "tiny/recoveries.jsonl").read_text().splitlines()]
    assert "learner_1" in recovery["lost"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "tiny/sft/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 121))
