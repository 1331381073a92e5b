"""A generator with two tensor-parallel workers on the CPU: both get weights, whose parts add up to the learner's."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace

import pytest
import ray
from existing_actors import generator_from
from pool_stress import worker_pids
from test_weight_sync import SHIPPED, WRONG, Tampering, train_once

from vt_ray.actors.generator_pool import GeneratorPool
from vt_ray.actors.generators import GeneratorActor, RayGenerator
from vt_ray.config import SyncConfig
from vt_ray.engines.weights import SyncError
from vt_ray.records import Sampling
from vt_ray.signal_phase.sync import sync_weights

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def learner(cluster, base_model):
    with cluster.learner(base_model, SHIPPED, total_steps=10) as learner:
        yield learner


@pytest.fixture(scope="module")
def generator(cluster, base_model, tmp_path_factory):
    spec = replace(cluster._engine_spec(base_model), tensor_parallel_size=2, threads=1)
    actor = GeneratorActor.options(num_cpus=0.1).remote("generator_0", spec, tmp_path_factory.mktemp("logs"))
    yield generator_from(actor)
    ray.kill(actor)


@pytest.fixture(scope="module")
def fingerprint(encoder, problems):
    return encoder.fingerprint(problems.train[0], 32)


def test_two_workers_hold_what_the_learner_sent(learner, generator, fingerprint, encoder, problems):
    for version in (1, 2):
        train_once(learner, encoder, problems)
        report = sync_weights(learner, generator, version, fingerprint, SyncConfig(logprob_tolerance=1e-3))
        assert not report.retried
        assert report.logprob_gap < 1e-5


@pytest.mark.parametrize("tamper", WRONG)
def test_what_goes_wrong_in_a_part_is_refused_by_name(learner, generator, fingerprint, encoder, problems, tamper):
    train_once(learner, encoder, problems)
    with pytest.raises(SyncError, match=rf"version 3: generator_0.*{WRONG[tamper]}.*twice"):
        sync_weights(learner, Tampering(generator, tamper, 2), 3, fingerprint, SyncConfig(logprob_tolerance=10.0))
    train_once(learner, encoder, problems)
    assert sync_weights(
        learner, Tampering(generator, tamper, 1), 4, fingerprint, SyncConfig(logprob_tolerance=1e-3)
    ).retried


def test_two_workers_generate(learner, generator, fingerprint, encoder, problems):
    sync_weights(learner, generator, 5, fingerprint, SyncConfig(logprob_tolerance=1e-3))
    prompts = encoder.prompts(problems.train[:2], 2, ("pair",))
    rollouts = ray.get(list(generator.generate(prompts, Sampling(1.0, 1.0, 0, 8))))
    assert sorted(len(r.completions) for r in rollouts) == [2, 2]
    assert all(c.version_runs[0][0] == 5 for r in rollouts for c in r.completions)


def test_one_that_loses_a_worker_is_replaced_and_each_group_comes_once(
    cluster, base_model, learner, fingerprint, encoder, problems, tmp_path
):
    spec, spawned = replace(cluster._engine_spec(base_model), tensor_parallel_size=2, threads=1), []

    def spawn(name):
        spawned.append(GeneratorActor.options(num_cpus=0.1).remote(name, spec, tmp_path))
        return spawned[-1]

    pool = RayGenerator(GeneratorPool(["generator_0"], spawn, lambda: None, 300), 32, logprob_tolerance=1e-3)
    pool.pool.wait_until_ready()
    sync_weights(learner, pool, 6, fingerprint, SyncConfig(logprob_tolerance=1e-3))
    stream = pool.generate(encoder.prompts(problems.train[:40], 4, ("lost",)), Sampling(1.0, 1.0, 0, 48))
    groups = [ray.get(next(stream))]
    os.kill(next(pid for pid in worker_pids(tmp_path) if _is_worker(pid)), signal.SIGKILL)
    groups += ray.get(list(stream))
    respawns = pool.respawns
    for actor in spawned:
        ray.kill(actor)
    assert sorted(g.problem.question_id for g in groups) == sorted(p.question_id for p in problems.train[:40])
    assert {version for g in groups for c in g.completions for version, _ in c.version_runs} == {6}
    assert respawns == 1


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/comm").read().startswith("VLLM")
    return False
