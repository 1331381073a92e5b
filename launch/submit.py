#!/usr/bin/env python3
"""Submit a vt-ray command to a running Ray cluster, print its log, and exit with the status of the job.

    RAY_ADDRESS=http://head:8265 VT_RAY_RUNS=/shared/runs launch/submit.py experiment=tiny run_name=mine

The job's working directory is a copy of this checkout, so every node runs the code as it is edited here. The Python of
the cluster must have the packages of `pip install .[gpu]`. Give problem files and models as absolute paths on storage
that every node sees.

RAY_ADDRESS     the cluster's dashboard
VT_RAY_RUNS     absolute folder of the runs; the job's own folder is temporary, and a run in it would be lost
RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH    the cluster's token, as `ray get-auth-token` prints it on the head node;
                default: the file ~/.ray/auth_token

Start the nodes of the cluster with RAY_worker_niceness=0: Ray's default is a low priority for its workers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# Not sent to the cluster, in addition to the files in .gitignore.
LEFT_HERE = [".git", ".venv", "runs", "multirun", "dist", "build", "tests"]
AGENT_TIMEOUT_S = 60
FOLLOW_AGAIN = "it continues; `ray job logs --follow {job}` prints its log again, `ray job stop {job}` stops it"


def main() -> None:
    address = _given("RAY_ADDRESS", "the cluster's dashboard, http://head:8265")
    runs = _given("VT_RAY_RUNS", "an absolute folder on storage that every node sees")
    if not runs.startswith("/"):
        sys.exit(f"error: VT_RAY_RUNS={runs} is relative, and a job's own folder is temporary: give an absolute one")
    # Ray reads this variable when it is imported. Without it, Ray 2.60 sends no token.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobStatus, JobSubmissionClient

    logging.disable(logging.WARNING)
    command = ["python", "-m", "vt_ray.main", "cluster.ray_address=auto", f"runs_dir={runs}", *sys.argv[1:]]
    try:
        client = JobSubmissionClient(address)
        job = _submit(client, shlex.join(command))
    except AuthenticationError as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        sys.exit(
            f"error: no access to {address}: {reason}\n       `ray get-auth-token` prints the token on the head node: "
            "set RAY_AUTH_TOKEN to it, or RAY_AUTH_TOKEN_PATH to a file that holds it"
        )
    except ConnectionError as error:
        sys.exit(f"error: {error} RAY_ADDRESS must be the dashboard's address: http://head:8265")
    print(f"job {job}: {shlex.join(command)}", flush=True)
    try:
        status = asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        sys.exit(f"no longer following job {job}: " + FOLLOW_AGAIN.format(job=job))
    except Exception as error:
        sys.exit(f"error: lost job {job} ({type(error).__name__}: {error}): " + FOLLOW_AGAIN.format(job=job))
    if status is not JobStatus.SUCCEEDED:
        sys.exit(f"error: job {job} {status.lower()}: its log is above")
    print(f"job {job} succeeded")


def _submit(client, entrypoint: str) -> str:
    """Submit the job and return its id. Waits for the agent of a head node that has just been started."""
    deadline = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            return client.submit_job(
                entrypoint=entrypoint, runtime_env={"working_dir": str(CHECKOUT), "excludes": LEFT_HERE}
            )
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline:
                sys.exit(
                    f"error: the head node has had no agent to start the job for {AGENT_TIMEOUT_S} s: see "
                    "dashboard_agent.log in the logs of its Ray folder; another process may use the agent's port "
                    "(`ray start --dashboard-agent-listen-port`)"
                )
            time.sleep(1)


def _given(name: str, what: str) -> str:
    return os.environ.get(name) or sys.exit(f"error: {name} is not set: give {what}")


async def _follow(client, job: str):
    """Print the log of the job until the job ends, and return its status."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
    return client.get_job_status(job)


if __name__ == "__main__":
    main()
