"""`Worker` without Ray: starts, pauses and counts of one replaceable actor; the limits that a pool is given."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from vt_ray.actors import worker as module
from vt_ray.actors.cluster import RayCluster
from vt_ray.actors.failures import DeadActors
from vt_ray.actors.worker import Worker
from vt_ray.config import Config
from vt_ray.planning.placement import ClusterError
from vt_ray.verify.limits import Limits


class Clock:
    """A clock that only `sleep` moves; it also notes the actors that are killed."""

    def __init__(self):
        self.now = 100.0
        self.killed = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    # The real one would start a Ray.
    monkeypatch.setattr(module.ray, "kill", clock.killed.append)
    return clock


def spawn_after(refusals):
    """Ray holds the name for the first `refusals` calls."""
    left = iter(range(refusals))

    def spawn():
        if next(left, None) is not None:
            raise ValueError("the name is taken")
        return object()

    return spawn


def test_a_replacement_has_another_id_and_every_start_counts(clock):
    worker = Worker("generator_0", object)
    assert worker.start() and worker.running
    first, actor = worker.id, worker.actor
    worker.ready = True
    worker.discard(RuntimeError("killed\nby the kernel"))
    assert not worker.running and not worker.ready and worker.failures == 1 and clock.killed == [actor]
    assert worker.why == ". Last error: by the kernel"
    with pytest.raises(RuntimeError, match="generator_0 has no actor"):
        worker.actor  # noqa: B018
    assert worker.start() and worker.id != first and worker.actor is not actor
    assert worker.starts == 2


def test_a_start_waits_for_the_pause_after_a_failure(clock):
    worker = Worker("verifier_0", object)
    worker.start()
    worker.discard(pause_s=4.0)
    assert not worker.start()
    clock.sleep(4.0)
    assert worker.start()
    worker.discard(is_failure=False)
    assert worker.failures == 1 and worker.start()


def test_a_name_that_ray_still_holds_is_waited_for(clock):
    worker = Worker("learner_0", spawn_after(5))
    assert not worker.start()
    assert worker.start_now() is worker.actor
    assert worker.starts == 1


def test_a_name_that_ray_never_releases_ends_the_wait(clock):
    with pytest.raises(ClusterError, match="still holds the name learner_0"):
        Worker("learner_0", spawn_after(10_000)).start_now()


def test_an_error_without_text_is_named_by_its_class(clock):
    worker = Worker("tracker", object)
    worker.start()
    assert worker.why == ""
    worker.discard(TimeoutError())
    assert worker.why == ". Last error: TimeoutError"


def test_a_verifier_that_waits_for_a_slow_function_does_not_hang(monkeypatch, tmp_path):
    monkeypatch.setattr("vt_ray.actors.cluster.VerifierPool", lambda *arguments: arguments)
    limits = Limits(function_timeout_s=3600, kinds={"essay": "judge:ask"})
    cluster = RayCluster(replace(Config(), verify=limits), tmp_path)
    cluster._reservation = SimpleNamespace(refuse_lost_nodes=None)
    *_, hangs_after_s = cluster._start_verifiers()
    assert hangs_after_s > 3600 + limits.completion_timeout_s


@pytest.mark.parametrize("in_constructor", [True, False])
def test_a_learner_whose_constructor_fails_is_not_started_again_and_again(monkeypatch, tmp_path, in_constructor):
    """The ranks start in the background, so the error of a constructor comes with the first phase that trains."""
    dead, started = DeadActors(actors=("learner_0",)), []
    monkeypatch.setattr("vt_ray.actors.cluster.find_dead", lambda *arguments: dead)
    cluster = RayCluster(Config(), tmp_path)
    cluster._reservation = None
    monkeypatch.setattr(cluster, "_start_learners", lambda: started.append("learner_0"))
    error = RayActorError(actor_init_failed=in_constructor)
    if in_constructor:
        with pytest.raises(RayActorError):
            cluster.recover(error)
    else:
        assert cluster.recover(error) == "learner_0"
    assert bool(started) == (not in_constructor)
