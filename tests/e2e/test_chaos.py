"""A run whose processes are killed at random finishes, passes its audit, and asks the same questions."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path

import pytest
from chaos_monkey import run_with_kills
from coin_problems import coin_overrides
from tiny_run import TINY

pytestmark = pytest.mark.slow

CHAOS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "chaos.py"))
VICTIMS = ["generator_0", "verifier_0", "tracker", "recorder", "learner_0"]
# Enough steps for several kills.
STAGE = "{name: coins, steps: 80, prompts_per_step: 4, group_size: 4, max_new_tokens: 16}"


def test_kills_of_every_kind_lose_nothing_and_the_order_of_the_data_stays(coin_runs):
    command = [*TINY, f"runs_dir={coin_runs}", *coin_overrides(coin_runs / "problems", STAGE)]
    calm = subprocess.run([*command, "run_name=calm"], capture_output=True, text=True)
    assert calm.returncode == 0, calm.stderr
    chaos = run_with_kills([*command, "run_name=chaos"], coin_runs / "chaos", 8, 1.5, 0, [*VICTIMS, "driver"])
    assert chaos.returncode == 0, chaos.errors
    assert chaos.kills.total() >= 4, chaos
    found = CHAOS["compared"](coin_runs / "calm", coin_runs / "chaos")
    assert found["audit_faults"] == []
    assert found["steps"] == [80, 80]
    assert found["same_questions"]
    assert json.loads((coin_runs / "chaos/summary.json").read_text())["milestones"]
