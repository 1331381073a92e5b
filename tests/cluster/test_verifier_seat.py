"""Killed verifiers of a cluster are replaced in their own places, and the other actors do not notice."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import ray
from pool_stress import worker_pids

from vt_ray.actors.failures import find_dead
from vt_ray.records import Completion, Problem, Rollouts

pytestmark = pytest.mark.slow

PROBLEM = Problem("q", "algebra", "math", "?", "42")
IDS, LOGPROBS = np.ones(1, np.int32), np.full(1, -0.1, np.float32)


def graded(verifier, groups=10):
    made = tuple(
        Completion(i, IDS, LOGPROBS, f"\\boxed{{{42 + i % 2}}}", "stop", ((0, len(IDS)),), 0.0) for i in range(4)
    )
    found = list(verifier.grade(ray.put(Rollouts(PROBLEM, (1,), made)) for _ in range(groups)))
    return [[verdict.status for verdict in group.verdicts] for group in found]


def living():
    """The node of each living verifier."""
    actors = ray._private.state.state.actor_table(None, None, None).values()
    return {a["Name"]: a["Address"]["NodeID"] for a in actors if a["State"] == "ALIVE" and "verifier_" in a["Name"]}


def bundle_cpus_left():
    """CPUs left in the run's bundle, {} if none: a verifier that was placed elsewhere would leave more."""
    return {name: cpus for name, cpus in ray.available_resources().items() if name.startswith("CPU_group_0")}


def log_of(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/fd/1"))


def test_a_killed_verifier_comes_back_into_its_seat(cluster):
    right = [["correct", "wrong"] * 2] * 10
    with cluster.verifier() as verifier:
        assert graded(verifier) == right
        before, left, counts = living(), bundle_cpus_left(), verifier.counts()
        assert len(before) == 2
        ray.kill(ray.get_actor("verifier_0"))
        # A kill of the process: Ray reports another cause than for ray.kill.
        for pid in worker_pids(cluster.log_folder):
            if log_of(pid) == "verifier_1.log":
                os.kill(pid, signal.SIGKILL)
        # The busy seconds of dead verifiers are still known.
        assert cluster.busy_seconds().keys() >= {"verifier_0", "verifier_1"}
        assert graded(verifier) == right
        verifier.wait_for_start()
        assert verifier.counts().respawns == counts.respawns + 2
        assert graded(verifier) == right
        assert living() == before
        deadline = time.monotonic() + 90
        while bundle_cpus_left() != left:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert find_dead(TimeoutError(), cluster._reservation, cluster._actors) is None
