"""The message after Ctrl-C and SIGTERM, and the hard exit if the shutdown hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from vt_ray.config import Config
from vt_ray.main import interruption_message
from vt_ray.run.run_folder import newest_result

# A process in which a library swallows the KeyboardInterrupt and then hangs.
SWALLOWS = """
import os, signal, sys, time
from vt_ray import main
from vt_ray.config import Config
main.TERMINATION_S = 0.5
main._interrupt_on_sigterm(Config(run_name="swallowed", runs_dir=sys.argv[1]))
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
except KeyboardInterrupt:
    print("swallowed", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


def finish(folder, when):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "DONE.json").write_text("{}")
    os.utime(folder / "DONE.json", (when, when))


def test_the_newest_step_or_finished_phase_is_found(tmp_path):
    assert newest_result(tmp_path) == ""
    finish(tmp_path / "sft", 2)
    finish(tmp_path / "base", 1)
    assert newest_result(tmp_path) == "the phase sft"
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/fused.json").write_text("{}")
    assert newest_result(tmp_path) == "the evaluation of fused"
    step = tmp_path / "rl/math_short/checkpoints/step_000012"
    step.mkdir(parents=True)
    (step / "manifest.json").write_text("{}")
    assert newest_result(tmp_path) == "math_short step_000012"


def test_the_message_says_how_the_same_command_continues(tmp_path):
    config = Config(run_name="run", runs_dir=str(tmp_path))
    assert interruption_message(None) == interruption_message(config)
    assert interruption_message(config) == "interrupted: nothing is committed yet; the same command starts over"
    finish(tmp_path / "run/base", 1)
    message = interruption_message(config)
    assert message == "interrupted: the same command continues after the phase base, which is committed"


@pytest.mark.timeout(60)
def test_a_swallowed_interrupt_still_ends_the_process(tmp_path):
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SWALLOWS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and time.monotonic() - start < 40
    assert done.stdout.startswith("swallowed\ninterrupted: nothing is committed yet")
