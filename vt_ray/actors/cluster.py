"""The Ray cluster: starts or joins Ray, places the actors, and keeps them warm between phases.

    RayCluster --generator()--> RayGenerator --learner()--> RayLearner --verifier()--> RayVerifier ...

Actors start in the background when the cluster is entered, and are waited for where they are first used.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from vt_ray.actors.generators import GeneratorActor, RayGenerator
from vt_ray.actors.learners import LearnerActor, RayLearner
from vt_ray.actors.recorder import RayRecorder, RecorderActor
from vt_ray.actors.tracker import RayTracker, TrackerActor
from vt_ray.actors.verifiers import RayVerifier, VerifierActor
from vt_ray.config import ClusterConfig, Config, ConfigError, OptimizerConfig
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.training import LearnerSpec
from vt_ray.interfaces import Hardware


class RayCluster:
    """Implements `interfaces.Cluster`."""

    def __init__(self, config: Config, log_folder: Path):
        self.config = config
        self.log_folder = log_folder.resolve()
        self._generators: dict[EngineSpec, list] = {}
        self._learners: list = []
        self._verifiers: list = []
        self._books: dict[str, Any] = {}

    def __enter__(self) -> RayCluster:
        _start_ray(self.config)
        try:
            _refuse_too_few_gpus(self.config)
            self._verifiers = self._start_verifiers()
            self._learners = self._start_learners()
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *exc) -> None:
        ray.shutdown()

    @contextmanager
    def generator(self, model_path: Path) -> Iterator[RayGenerator]:
        cluster, model = self.config.cluster, self.config.model
        spec = EngineSpec(
            model_path=str(model_path.resolve()),
            dtype=model.dtype,
            context_tokens=self.config.context_tokens,
            max_num_seqs=cluster.max_num_seqs,
            gpus=cluster.gpus_per_generator,
            tensor_parallel_size=cluster.tensor_parallel_size,
            kv_cache_gb=cluster.kv_cache_gb,
            gpu_memory_utilization=cluster.gpu_memory_utilization,
            threads=cluster.generator_threads,
            seed=self.config.seed,
        )
        if spec not in self._generators:
            self._generators[spec] = [self._start_generator(i, spec) for i in range(cluster.num_generators)]
        actors = self._generators[spec]
        _wait_for([actor.ready.remote() for actor in actors], "generators", cluster.startup_timeout_s)
        yield RayGenerator(actors)

    @contextmanager
    def learner(self, model_path: Path, optimizer: OptimizerConfig, total_steps: int) -> Iterator[RayLearner]:
        spec = LearnerSpec(
            model_path=str(model_path.resolve()),
            model=self.config.model,
            optimizer=optimizer,
            learner=self.config.learner,
            total_steps=total_steps,
            seed=self.config.seed,
        )
        ray.get([actor.open.remote(spec) for actor in self._learners])
        yield RayLearner(self._learners)
        ray.get([actor.close.remote() for actor in self._learners])

    @contextmanager
    def verifier(self) -> Iterator[RayVerifier]:
        ready = [actor.ready.remote() for actor in self._verifiers]
        _wait_for(ready, "verifiers", self.config.cluster.startup_timeout_s)
        yield RayVerifier(self._verifiers)

    @contextmanager
    def tracker(self, lam: float) -> Iterator[RayTracker]:
        actor = TrackerActor.options(num_cpus=self.config.cluster.cpus_per_actor).remote(lam, self.log_folder)
        self._books["tracker"] = actor
        yield RayTracker(actor)
        ray.kill(self._books.pop("tracker"))

    @contextmanager
    def recorder(self) -> Iterator[RayRecorder]:
        actor = RecorderActor.options(num_cpus=self.config.cluster.cpus_per_actor).remote(self.log_folder)
        self._books["recorder"] = actor
        yield RayRecorder(actor)
        ray.kill(self._books.pop("recorder"))

    def busy_seconds(self) -> dict[str, float]:
        pools = {
            "generator": [actor for pool in self._generators.values() for actor in pool],
            "learner": self._learners,
            "verifier": self._verifiers,
        }
        actors = {f"{kind}_{i}": actor for kind, pool in pools.items() for i, actor in enumerate(pool)} | self._books
        seconds = ray.get([actor.busy_seconds.remote() for actor in actors.values()])
        return dict(zip(actors, seconds, strict=True))

    def hardware(self) -> Hardware:
        cluster = self.config.cluster
        # A Ray that the run starts itself counts as many CPUs as its actors ask for, whatever the machine has.
        cores = os.cpu_count() or 1 if cluster.ray_address is None else int(ray.cluster_resources()["CPU"])
        return Hardware(cores, _gpus_asked_for(cluster))

    def _start_generator(self, index: int, spec: EngineSpec):
        cluster = self.config.cluster
        options = {"num_cpus": cluster.cpus_per_actor, "num_gpus": cluster.gpus_per_generator}
        return GeneratorActor.options(**options).remote(f"generator_{index}", spec, self.log_folder)

    def _start_learners(self) -> list:
        cluster = self.config.cluster
        options = {"num_cpus": cluster.cpus_per_actor, "num_gpus": cluster.gpus_per_learner}
        actors = [
            LearnerActor.options(**options).remote(rank, cluster.learner_threads, self.log_folder)
            for rank in range(cluster.num_learners)
        ]
        (address, port) = _wait_for([actors[0].address.remote()], "learner rank 0", cluster.startup_timeout_s)[0]
        joins = [actor.join.remote(cluster.num_learners, address, port) for actor in actors]
        _wait_for(joins, "learner ranks", cluster.startup_timeout_s)
        return actors

    def _start_verifiers(self) -> list:
        cluster, limits = self.config.cluster, self.config.verify
        options = {"num_cpus": cluster.cpus_per_actor}
        return [
            VerifierActor.options(**options).remote(f"verifier_{i}", limits, self.log_folder)
            for i in range(cluster.num_verifiers)
        ]


def _start_ray(config: Config) -> None:
    cluster = config.cluster
    # Tell Ray not to hide GPUs from actors that ask for none, and not to speak on the user's screen.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray gives its workers a low priority: any other process on the machine would stall the training.
    os.environ.setdefault("RAY_worker_niceness", "0")
    arguments = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.ray_address is None:
        arguments |= {"include_dashboard": False, "object_store_memory": int(cluster.object_store_gb * 2**30)}
        # On one machine actors take turns and their threads are set in the config: none waits for a core to be free.
        actors = cluster.num_generators + cluster.num_learners + cluster.num_verifiers + 2
        arguments["num_cpus"] = max(os.cpu_count() or 1, math.ceil(actors * cluster.cpus_per_actor))
    ray.init(address=cluster.ray_address or "local", **arguments)


def _gpus_asked_for(cluster: ClusterConfig) -> int:
    return cluster.num_generators * cluster.gpus_per_generator + cluster.num_learners * cluster.gpus_per_learner


def _refuse_too_few_gpus(config: Config) -> None:
    cluster = config.cluster
    asked = _gpus_asked_for(cluster)
    there = int(ray.cluster_resources().get("GPU", 0))
    if asked > there:
        raise ConfigError(
            f"cluster asks for {cluster.num_generators} generators x {cluster.gpus_per_generator} GPU and "
            f"{cluster.num_learners} learner ranks x {cluster.gpus_per_learner} GPU = {asked}, but Ray has {there}: "
            "lower cluster.num_generators or cluster.num_learners, or add a node"
        )


def _wait_for(refs: list, what: str, timeout_s: float) -> list:
    ready, waiting = ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
    if waiting:
        raise TimeoutError(
            f"{len(waiting)} of {len(refs)} {what} did not start within {timeout_s:g} s "
            f"(Ray has {ray.available_resources()} free): raise cluster.startup_timeout_s or add resources"
        )
    return ray.get(ready)
