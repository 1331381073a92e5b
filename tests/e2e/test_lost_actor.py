"""An actor that dies breaks the run off with a word on the screen, a traceback in the logs, and a status of 1."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.slow


def kill_learner(driver: subprocess.Popen, timeout_s: float = 240) -> None:
    """kill -9 the first learner among the driver's descendants, as soon as there is one."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and driver.poll() is None:
        for process in psutil.Process(driver.pid).children(recursive=True):
            if process.name().startswith("ray::Learner"):
                return process.kill()
        time.sleep(0.1)
    driver.kill()
    raise AssertionError(f"no learner was started: {driver.stderr.read()}")


def test_killed_learner_ends_the_run_in_short(tmp_path):
    command = [sys.executable, "-m", "vt_ray.main", "experiment=tiny", f"runs_dir={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        kill_learner(driver)
        _, errors = driver.communicate(timeout=300)
    assert driver.returncode == 1
    assert "ActorDiedError" in errors and "LearnerActor" in errors and "logs/driver.log" in errors
    assert "Traceback" not in errors and len(errors.splitlines()) <= 3
    assert "Traceback" in (tmp_path / "tiny/logs/driver.log").read_text()
