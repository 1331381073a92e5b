"""The pool of verifiers on a real Ray: its workers are killed, hang, get fatal completions, or cannot start."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from hostile_rows import code_rows, math_rows
from pool_stress import close_pool, open_pool, stress
from ray import cloudpickle

from vt_ray.actors.verifier_pool import MAX_OPEN_GROUPS
from vt_ray.actors.verifiers import Grader
from vt_ray.planning.placement import ClusterError
from vt_ray.records import Completion, Problem, Rollouts, Verdict
from vt_ray.verify.limits import Limits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

LIMITS = Limits(test_timeout_s=1.0, completion_timeout_s=2.0)
PROBLEM = Problem("q", "algebra", "math", "?", "42")
IDS, LOGPROBS = np.ones(1, np.int32), np.full(1, -0.1, np.float32)


class ScriptedVerifier(Grader):
    """Follows the text of the completion: "sleep 3" and "die" are orders, all other texts are correct.

    With an output limit of 1 KiB a worker whose name ends with 0 can verify nothing.
    """

    def __init__(self, name, limits, log_folder):
        super().__init__(name, limits, log_folder)
        self.blind = limits.output_kb == 1 and name.endswith("0")
        self.verifier = SimpleNamespace(verify=self.follow, backend="stand-in", backend_notes=())

    def follow(self, problem, text):
        what, _, seconds = text.partition(" ")
        if self.blind:
            return Verdict("unverified", "the sandbox broker was lost", retry=True)
        if what == "die":
            os._exit(1)
        if what == "sleep":
            time.sleep(float(seconds))
        return Verdict("correct", "", float(seconds or 0))


class FailingVerifier(Grader):
    def __init__(self, name, limits, log_folder):
        raise OSError("no space left on the device")


class SlowVerifier(Grader):
    def ready(self):
        time.sleep(60)


@contextmanager
def pool_of(worker, tmp_path, workers=2, limits=LIMITS, **changes):
    pool = open_pool(workers, limits, tmp_path, ray.remote(max_restarts=0)(worker), **changes)
    try:
        yield pool
    finally:
        close_pool(pool)


def group(*texts, number=0):
    made = [Completion(i, IDS, LOGPROBS, text, "stop", ((0, len(IDS)),), 0.0) for i, text in enumerate(texts)]
    return ray.put(Rollouts(PROBLEM, (0,) * number, tuple(made)))


def statuses(graded):
    return [verdict.status for verdict in graded.verdicts]


@pytest.mark.timeout(300)
def test_hostile_rows_are_each_answered_once_while_workers_are_killed(tmp_path):
    pool, rng = open_pool(3, LIMITS, tmp_path), random.Random(0)
    try:
        pool.wait_for_start()
        groups = code_rows(70, rng) + math_rows(80, rng)
        found = stress(pool, groups, tmp_path, kill_every_s=1.0)
    finally:
        close_pool(pool)
    assert found["answered_once"] and found["alive_afterwards"], found
    assert found["controls"] == found["controls_as_expected"] > 60, found
    assert found["wrongly_correct"] == 0, found
    assert found["killed"] >= found["respawns"] >= 1, found
    assert found["left_of_the_killed"] == found["zombies_after"] == 0, found
    assert found["workers_after"] == 3
    assert found["driver_mib_after"] - found["driver_mib_before"] < 50, found
    assert found["largest_worker_mib_after"] - found["largest_worker_mib_before"] < 50, found


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_benchmark_ends_well():
    script = Path(__file__).parents[2] / "benchmarks" / "verifier_pool.py"
    done = subprocess.run([sys.executable, script, "--rows", "300"], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["passed"] and figures["code"]["killed"] > 5


def test_the_jobs_of_killed_actors_are_done_again_exactly_once(tmp_path):
    with pool_of(ScriptedVerifier, tmp_path) as pool:
        pool.wait_for_start()
        groups, graded = 20, []
        # Eight texts: equal texts of a group would be verified once.
        texts = [f"sleep 0.05{i}" for i in range(8)]
        for found in pool.grade(group(*texts, number=i) for i in range(groups)):
            graded.append(found)
            if len(graded) in (3, 9):
                ray.kill(pool._workers[len(graded) % 2].actor)
        assert sorted(found.prompt_tokens for found in graded) == list(range(groups))
        assert all(statuses(found) == ["correct"] * 8 for found in graded)
        pool.wait_for_start()
        counts = pool.counts()
        assert counts.respawns == 2
        assert 1 <= counts.retries <= 16
        assert counts.backends == {"stand-in": 2}
        assert pool.busy_seconds().keys() == {"stressed_0", "stressed_1"}
        assert sum(pool.busy_seconds().values()) >= 0.05 * 8 * groups - 1


def test_a_poisonous_completion_takes_no_neighbour_with_it(tmp_path):
    with pool_of(ScriptedVerifier, tmp_path) as pool:
        poisoned, *others = sorted(
            pool.grade([group("right", "die", "right", number=0), *(group("right", number=i) for i in (1, 2))]),
            key=lambda found: found.prompt_tokens,
        )
        assert poisoned.verdicts[1] == Verdict("unverified", "worker lost")
        assert statuses(poisoned) == ["correct", "unverified", "correct"]
        assert all(statuses(found) == ["correct"] for found in others)


def test_a_long_completion_holds_nothing_back_and_may_be_abandoned(tmp_path):
    with pool_of(ScriptedVerifier, tmp_path) as pool:
        pool.wait_for_start()
        begin = time.monotonic()
        graded = pool.grade([group("sleep 20", *["right"] * 7), *(group(*["right"] * 8, number=1) for _ in range(30))])
        assert [next(graded).prompt_tokens for _ in range(30)] == [1] * 30
        assert time.monotonic() - begin < 10
        graded.close()
        # The other worker continues with the next groups; the late answer of an abandoned group is dropped.
        assert [statuses(found) for found in pool.grade([group("right"), group("sleep 0.1")])] == [["correct"]] * 2


def test_a_worker_that_hangs_is_replaced(tmp_path):
    with pool_of(ScriptedVerifier, tmp_path, workers=1, hangs_after_s=1.0) as pool:
        (found,) = pool.grade([group("right", "sleep 3600")])
        assert statuses(found) == ["correct", "unverified"]
        assert found.verdicts[1].reason == "worker lost"
        assert [statuses(found) for found in pool.grade([group("right")])] == [["correct"]]


def test_a_completion_that_one_worker_cannot_verify_goes_to_another(tmp_path):
    with pool_of(ScriptedVerifier, tmp_path, limits=Limits(output_kb=1)) as pool:
        pool.wait_for_start()
        graded = list(pool.grade(group(*["sleep 0.02"] * 4, number=i) for i in range(10)))
        assert all(statuses(found) == ["correct"] * 4 for found in graded)
        assert pool.counts().retries > 0


@pytest.mark.timeout(120)
def test_a_pool_that_cannot_start_says_why(tmp_path):
    with (
        pool_of(FailingVerifier, tmp_path) as pool,
        pytest.raises(ClusterError, match="no verifier can start.*no space left"),
    ):
        pool.wait_for_start()
    too_slow = pytest.raises(ClusterError, match="no verifier has started within 3 s")
    with pool_of(SlowVerifier, tmp_path, startup_timeout_s=3.0) as pool, too_slow:
        list(pool.grade([group("right")]))


def test_rollouts_are_not_read_without_bound_while_the_verifiers_are_far_behind(tmp_path):
    read = []
    with pool_of(ScriptedVerifier, tmp_path, workers=1) as pool:
        graded = pool.grade(read.append(i) or group("sleep 0.5", number=i) for i in range(1000))
        next(graded)
        deadline = time.monotonic() + 60
        while len(read) < MAX_OPEN_GROUPS:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        # The open groups, two groups at the worker, and one group that the reader has not delivered yet.
        assert len(read) <= MAX_OPEN_GROUPS + 4
        graded.close()
