"""The Ray cluster: starts or joins Ray, places the actors, and keeps them warm between phases.

    RayCluster --generator()--> RayGenerator --learner()--> RayLearner --verifier()--> VerifierPool ...

Verifiers and learner ranks start in the background when the cluster is entered. Generators start when they are first
opened. The handle of generators, verifiers or tracker replaces a dead actor and repeats its work. `recover` replaces
dead learner ranks: the run then continues from the newest commit. A dead node ends the run with a ClusterError that
names it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.failures import find_dead
from vt_ray.actors.generator_pool import NODE_CHECK_S, GeneratorPool
from vt_ray.actors.generators import GeneratorActor, RayGenerator
from vt_ray.actors.gpu_sharing import SharedGpu
from vt_ray.actors.learners import LearnerActor, RayLearner
from vt_ray.actors.monitoring import LineExporter
from vt_ray.actors.recorder import RayRecorder
from vt_ray.actors.reservation import Reservation
from vt_ray.actors.start_ray import refuse_too_few_gpus, start_ray
from vt_ray.actors.tracker import RayTracker, TrackerActor
from vt_ray.actors.verifier_pool import HANGS_AFTER_S, VerifierPool
from vt_ray.actors.verifiers import VerifierActor
from vt_ray.actors.watchdog import Watchdog
from vt_ray.actors.worker import Worker
from vt_ray.config import Config, OptimizerConfig, TrackerConfig
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.interfaces import Hardware
from vt_ray.planning.placement import ClusterError, gpus_asked, place
from vt_ray.planning.resource_plan import generator_share
from vt_ray.progress import console

# Starts of the learner ranks that fail one after the other.
MAX_LEARNER_RESTARTS = 5


class RayCluster:
    """Implements `interfaces.Cluster`."""

    # From `__enter__` on.
    _reservation: Reservation
    _verifiers: VerifierPool

    def __init__(self, config: Config, log_folder: Path):
        self.config = config
        self.log_folder = log_folder.resolve()
        self._gpu = SharedGpu(shared=config.cluster.colocate)
        self._generator_share = config.cluster.gpu_memory_utilization
        threads = config.cluster.learner_threads
        self._learners = [
            Worker(name, partial(self._spawn, LearnerActor, name, rank, threads, self.log_folder))
            for rank, name in enumerate(_names("learner", config.cluster.num_learners))
        ]
        self._tracker: Worker | None = None
        self._learner: RayLearner | None = None
        self._generator: RayGenerator | None = None
        self._generator_spec: EngineSpec | None = None
        self._watchdog: Watchdog | None = None
        self._lines = LineExporter(config.run_name)

    def __enter__(self) -> RayCluster:
        cluster = self.config.cluster
        start_ray(cluster)
        try:
            refuse_too_few_gpus(cluster)
            self._reservation = Reservation(cluster, place(cluster), lambda text: console.print(text, soft_wrap=True))
            self._verifiers = self._start_verifiers()
            for rank in self._learners:
                rank.start_now()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        dead = None
        if error is not None and hasattr(self, "_reservation"):
            dead = find_dead(error, self._reservation, self._actors)
        if self._watchdog is not None:
            self._watchdog.close()
        self._lines.close()
        ray.shutdown()
        if dead:
            raise ClusterError(f"{dead}. The same command continues after the newest committed step") from error

    @contextmanager
    def generator(self, model_path: Path) -> Iterator[RayGenerator]:
        if self._generator is None and self.config.cluster.colocate:
            self._decide_sharing(model_path)
        spec = self._engine_spec(model_path)
        if self._generator is None:
            self._gpu.vacate()
            self._generator, self._generator_spec = self._start_generators(spec), spec
            self._gpu.opened(self._generator)
        elif self._generator_spec is not None and spec != self._generator_spec:
            raise ValueError(
                f"the generators were opened with {self._generator_spec.model_path}, not {model_path}: a run opens its "
                "engines once and loads other weights with load_checkpoint"
            )
        yield self._generator

    @contextmanager
    def learner(
        self, model_path: Path, optimizer: OptimizerConfig, total_steps: int, with_reference: bool = False
    ) -> Iterator[RayLearner]:
        spec = LearnerSpec(
            model_path=str(model_path.resolve()),
            model=self.config.model,
            optimizer=optimizer,
            learner=self.config.learner,
            total_steps=total_steps,
            seed=self.config.seed,
            with_reference=with_reference,
        )
        if not all(rank.ready for rank in self._learners):
            self._start_learners()
        self._gpu.vacate()
        actors = [rank.actor for rank in self._learners]
        ray.get([actor.open.remote(spec) for actor in actors])
        cluster = self.config.cluster
        self._learner = learner = RayLearner(
            actors,
            self.config.learner.sequence_parallel_size,
            self.config.weight_transport,
            cluster.num_generators * cluster.tensor_parallel_size,
            lambda: self._generator.receiving_group() if self._generator else None,
            self._gpu,
        )
        self._gpu.opened(learner)
        yield learner
        ray.get([actor.close.remote() for actor in actors])
        self._gpu.closed(learner)

    def _decide_sharing(self, model_path: Path) -> None:
        """Before the generators are opened: whether they and the learner ranks on their GPUs can both stay awake."""
        gpu_gb: float = min(self._wait_for([rank.actor.gpu_gb.remote() for rank in self._learners], "learner ranks"))
        take_turns, self._generator_share = generator_share(self.config, model_path, gpu_gb)
        if not take_turns:
            self._gpu.stop_sharing()
            console.print(
                f"generator and learner both stay awake: the GPU's {gpu_gb:.0f} GB hold the learner beside a generator "
                f"with {self._generator_share:.0%} of them (cluster.take_turns)",
                soft_wrap=True,
            )

    def recover(self, error: BaseException) -> str:
        """Replaces the actors whose death raised `error`, and returns their names. The caller opens generator, learner
        and tracker again. Raises ClusterError if a node has died, and `error` itself if nothing has died."""
        dead = find_dead(error, self._reservation, self._actors)
        if dead is None:
            raise error
        if dead.nodes:
            raise ClusterError(str(dead)) from error
        if isinstance(error, RayActorError) and error.actor_init_failed:
            raise error  # the constructor would fail again
        if self._tracker is not None:
            self._tracker.discard(error)
            self._tracker = None
        if any(name.startswith("learner") for name in dead.actors):
            self._gpu.closed(self._learner)
            self._discard_learners(error)
            self._start_learners()
        return ", ".join(dead.actors)

    @contextmanager
    def verifier(self) -> Iterator[VerifierPool]:
        self._verifiers.wait_for_start()
        yield self._verifiers

    @contextmanager
    def tracker(self, tracker: TrackerConfig) -> Iterator[RayTracker]:
        self._tracker = Worker("tracker", partial(self._spawn, TrackerActor, "tracker", tracker, self.log_folder))
        yield RayTracker(self._tracker)
        self._tracker.discard()
        self._tracker = None

    @contextmanager
    def recorder(self) -> Iterator[RayRecorder]:
        yield RayRecorder(self.log_folder)

    def _engine_spec(self, model_path: Path) -> EngineSpec:
        cluster, model = self.config.cluster, self.config.model
        return EngineSpec(
            model_path=str(model_path.resolve()),
            dtype=model.dtype,
            context_tokens=self.config.context_tokens,
            max_num_seqs=cluster.max_num_seqs,
            gpus=cluster.gpus_per_generator,
            tensor_parallel_size=cluster.tensor_parallel_size,
            kv_cache_gb=cluster.kv_cache_gb,
            gpu_memory_utilization=self._generator_share,
            threads=cluster.generator_threads,
            seed=self.config.seed,
            can_sleep=self._gpu.shared,
            enforce_eager=cluster.enforce_eager,
            weight_transfer="" if self.config.weight_transport == "object_store" else self.config.weight_transport,
            engine=cluster.generation_engine,
            engine_args=cluster.engine_args,
        )

    @property
    def _actors(self) -> dict[str, ActorHandle]:
        """The actors that this class replaces itself; the pools replace generators and verifiers."""
        workers = [*self._learners, *([self._tracker] if self._tracker else [])]
        return {worker.name: worker.actor for worker in workers if worker.running}

    def _spawn(self, actor_class: Any, name: str, *arguments: Any) -> ActorHandle:
        """Starts an actor where the reservation places it. Raises ValueError while Ray still holds the name of the
        previous actor."""
        actor: ActorHandle = actor_class.options(**self._reservation.options(name)).remote(*arguments)
        return actor

    def _start_verifiers(self) -> VerifierPool:
        cluster, limits = self.config.cluster, self.config.verify
        return VerifierPool(
            _names("verifier", cluster.num_verifiers),
            lambda name: self._spawn(VerifierActor, name, name, limits, self.log_folder),
            self._reservation.refuse_lost_nodes,
            cluster.startup_timeout_s,
            HANGS_AFTER_S + limits.longest_completion_s,
        )

    def _start_generators(self, spec: EngineSpec) -> RayGenerator:
        cluster = self.config.cluster
        pool = GeneratorPool(
            _names("generator", cluster.num_generators),
            lambda name: self._spawn(GeneratorActor, name, name, spec, self.log_folder, self.config.run_name),
            self._reservation.refuse_lost_nodes,
            cluster.startup_timeout_s,
        )
        try:
            self._wait_for(pool.starting, "generators")
        except RayActorError as error:
            # The error of a failed constructor names the fault; a killed actor is replaced.
            if error.actor_init_failed:
                raise
            pool.wait_until_ready()
        self._watchdog = Watchdog(pool, cluster.hang_timeout_s)
        return RayGenerator(pool, cluster.max_num_seqs, self.config.signal.sync.logprob_tolerance, self._gpu)

    def busy_seconds(self) -> dict[str, float]:
        asked: dict[str, Any] = {name: actor.busy_seconds.remote() for name, actor in self._actors.items()}
        seconds = self._verifiers.busy_seconds()
        if self._generator is not None:
            seconds |= self._generator.busy_seconds()
        for name, answer in asked.items():
            # A dead actor is replaced where it is used, not here.
            with contextlib.suppress(RayActorError):
                seconds[name] = float(ray.get(answer))
        return seconds

    def engine_counters(self) -> dict[str, dict[str, Any]]:
        return self._generator.engine_counters() if self._generator is not None else {}

    def publish(self, line: Mapping[str, Any]) -> None:
        self._lines.publish(line)

    def hardware(self) -> Hardware:
        cluster = self.config.cluster
        # A Ray that the run starts itself counts the CPUs that its actors ask for, even if the machine has fewer.
        cores = os.cpu_count() or 1 if cluster.ray_address is None else int(ray.cluster_resources()["CPU"])
        return Hardware(cores, gpus_asked(cluster))

    def _start_learners(self) -> None:
        """Starts all ranks and joins them, if the run has ranks; starts them again if one dies meanwhile. Raises
        ClusterError after MAX_LEARNER_RESTARTS, and the error of a constructor that fails at the first start."""
        while self._learners:
            try:
                self._join_learners()
                break
            except RayActorError as error:
                if error.actor_init_failed and not any(rank.failures for rank in self._learners):
                    raise
                self._discard_learners(error)
        for rank in self._learners:
            rank.ready, rank.failures = True, 0

    def _join_learners(self) -> None:
        cluster = self.config.cluster
        actors = [rank.actor if rank.running else rank.start_now() for rank in self._learners]
        (address, port) = self._wait_for([actors[0].address.remote()], "learner rank 0")[0]
        self._wait_for([actor.join.remote(cluster.num_learners, address, port) for actor in actors], "learner ranks")

    def _discard_learners(self, error: BaseException) -> None:
        """Discards all ranks: the surviving ranks hold a broken process group."""
        for rank in self._learners:
            rank.discard(error)
        if self._learners[0].failures > MAX_LEARNER_RESTARTS:
            raise ClusterError(
                f"the learner ranks died in {MAX_LEARNER_RESTARTS} starts one after the other (see logs/learner_*.log)"
            ) from error

    def _wait_for(self, calls: list[ray.ObjectRef[Any]], what: str) -> list[Any]:
        timeout_s = self.config.cluster.startup_timeout_s
        deadline, waiting = time.monotonic() + timeout_s, calls
        while waiting and time.monotonic() < deadline:
            ready, waiting = ray.wait(waiting, timeout=min(NODE_CHECK_S, max(deadline - time.monotonic(), 0)))
            # Raises the death of an actor at once: the other actors may wait for it without end.
            ray.get(ready)
            if not ready:
                # An actor on a dead node stays pending and raises no error.
                self._reservation.refuse_lost_nodes()
        if waiting:
            raise TimeoutError(
                f"{len(waiting)} of {len(calls)} {what} did not start within {timeout_s:g} s "
                f"(see {self.log_folder}): raise cluster.startup_timeout_s"
            )
        return ray.get(calls)


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}_{i}" for i in range(count)]
