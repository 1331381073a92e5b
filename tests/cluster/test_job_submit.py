"""launch/submit.py against a real Ray head with token authentication: success, failure, and refused tokens."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from own_ray import ROOT, environment, own_ray
from tiny_run import ONE_STEP, copy_phases

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head():
    with own_ray() as ray:
        yield ray


def submit(head, runs, *overrides: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "launch/submit.py", *overrides]
    env = environment(RAY_ADDRESS=head.dashboard, VT_RAY_RUNS=str(runs), **env)
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=env)


def test_submitted_job_runs_this_checkout_and_its_log_is_followed(head, finished_run, tmp_path):
    copy_phases(finished_run[0], tmp_path)
    done = submit(head, tmp_path, "experiment=tiny", ONE_STEP, RAY_AUTH_TOKEN=head.token)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {tmp_path}/tiny/report.html" in done.stdout and "succeeded" in done.stdout
    assert (tmp_path / "tiny/report.html").stat().st_size > 100_000
    command = json.loads((tmp_path / "tiny/run.json").read_text())["command"]
    assert "/working_dir_files/" in command[0] and ONE_STEP in command


def test_job_that_fails_shows_its_error_and_fails(head, tmp_path):
    failed = submit(head, tmp_path, "signal.mgpo.lam=-1", RAY_AUTH_TOKEN=head.token)
    assert failed.returncode == 1
    assert "error: signal.mgpo.lam=-1.0 must be finite and >= 0" in failed.stdout
    assert "failed" in failed.stderr and "Traceback" not in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("token", "said"),
    [({"RAY_AUTH_TOKEN": "0" * 64}, "Invalid authentication token"), ({}, "find an authentication token")],
)
def test_wrong_or_missing_token_is_refused(head, tmp_path, token, said):
    """HOME is another one: a token in the tester's own ~/.ray/auth_token would not be missing."""
    refused = submit(head, tmp_path, "experiment=tiny", HOME=str(tmp_path), **token)
    assert refused.returncode == 1 and refused.stdout == ""
    assert "error: no access to" in refused.stderr and said in refused.stderr and "RAY_AUTH_TOKEN" in refused.stderr
    assert len(refused.stderr.splitlines()) <= 3
