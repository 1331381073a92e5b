"""The Ray cluster: starts or joins Ray, gives each actor its seat, and keeps the actors warm between phases.

    RayCluster --generator()--> RayGenerator --learner()--> RayLearner --verifier()--> VerifierPool ...

Actors start in the background when the cluster is entered, and are waited for where they are first used. A lost
generator, verifier, tracker or recorder is replaced by the holder of its handle, and its work is done again. `recover`
puts new learner ranks in the place of lost ones: the run then goes on from the newest commit. A lost node ends the run
with a ClusterError that names it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from vt_ray.actors.failures import find_the_lost
from vt_ray.actors.generator_pool import CHECK_EVERY_S, GeneratorSeats
from vt_ray.actors.generators import GeneratorActor, RayGenerator
from vt_ray.actors.gpu_sharing import Turns, TurnTakingGenerator, TurnTakingLearner
from vt_ray.actors.learners import LearnerActor, RayLearner
from vt_ray.actors.process import own_sigterm_handler
from vt_ray.actors.recorder import RayRecorder, RecorderActor
from vt_ray.actors.reservation import Reservation
from vt_ray.actors.tracker import RayTracker, TrackerActor
from vt_ray.actors.verifier_pool import HANGS_AFTER_S, VerifierPool
from vt_ray.actors.verifiers import VerifierActor
from vt_ray.actors.watchdog import Watchdog
from vt_ray.config import ClusterConfig, Config, ConfigError, OptimizerConfig, TrackerConfig
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.vllm.engine import EngineSpec
from vt_ray.interfaces import Hardware
from vt_ray.planning.placement import ClusterError, asked, gpus_asked, place
from vt_ray.planning.resource_plan import generator_share
from vt_ray.progress import console

# How long Ray may take to forget the name of a lost actor.
NAME_FREE_S = 30.0


# Learner ranks that are lost again and again while they start.
MAX_RESTARTS = 5


class RayCluster:
    """Implements `interfaces.Cluster`."""

    def __init__(self, config: Config, log_folder: Path):
        self.config = config
        self.log_folder = log_folder.resolve()
        self._turns = Turns(shared=config.cluster.colocate)
        self._generator_share = config.cluster.gpu_memory_utilization
        self._reservation: Reservation | None = None
        self._actors: dict[str, ActorHandle] = {}
        self._learners: list[ActorHandle] = []
        self._learner: RayLearner | None = None
        self._verifiers: VerifierPool | None = None
        self._generator: RayGenerator | None = None
        self._generator_spec: EngineSpec | None = None
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> RayCluster:
        cluster = self.config.cluster
        _start_ray(cluster)
        try:
            _refuse_too_few_gpus(cluster)
            self._reservation = Reservation(cluster, place(cluster), lambda text: console.print(text, soft_wrap=True))
            self._verifiers = self._start_verifiers()
            try:
                self._learners = self._start_learners()
            except RayActorError as error:
                if error.actor_init_failed:
                    raise
                self._restart_learners()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        lost = None
        if error is not None and self._reservation is not None:
            lost = find_the_lost(error, self._reservation, self._actors)
        if self._watchdog is not None:
            self._watchdog.close()
        ray.shutdown()
        if lost:
            raise ClusterError(f"{lost}. The same command continues after the newest committed step") from error

    @contextmanager
    def generator(self, model_path: Path) -> Iterator[TurnTakingGenerator]:
        if self._generator is None and self.config.cluster.colocate:
            self._decide_turns(model_path)
        spec = self._engine_spec(model_path)
        if self._generator is None:
            self._turns.vacate()
            self._generator, self._generator_spec = self._start_generators(spec), spec
            self._turns.opened(self._generator)
        elif spec != self._generator_spec:
            raise ValueError(
                f"the generators were opened with {self._generator_spec.model_path}, not {model_path}: a run opens one "
                "engine a seat; other weights come by load_checkpoint"
            )
        yield TurnTakingGenerator(self._generator, self._turns)

    @contextmanager
    def learner(
        self, model_path: Path, optimizer: OptimizerConfig, total_steps: int, with_reference: bool = False
    ) -> Iterator[TurnTakingLearner]:
        spec = LearnerSpec(
            model_path=str(model_path.resolve()),
            model=self.config.model,
            optimizer=optimizer,
            learner=self.config.learner,
            total_steps=total_steps,
            seed=self.config.seed,
            with_reference=with_reference,
        )
        self._turns.vacate()
        ray.get([actor.open.remote(spec) for actor in self._learners])
        cluster = self.config.cluster
        self._learner = learner = RayLearner(
            self._learners,
            self.config.learner.sequence_parallel_size,
            self.config.weight_transport,
            cluster.num_generators * cluster.tensor_parallel_size,
            lambda: self._generator.receiving_group(),
        )
        self._turns.opened(learner)
        yield TurnTakingLearner(learner, self._turns)
        ray.get([actor.close.remote() for actor in self._learners])
        self._turns.closed(learner)

    def _decide_turns(self, model_path: Path) -> None:
        """Before the generators are opened: whether they and the learner ranks on their GPUs both stay awake."""
        gpu_gb = min(ray.get([actor.gpu_gb.remote() for actor in self._learners]))
        turns, self._generator_share = generator_share(self.config, model_path, gpu_gb)
        if not turns:
            self._turns.spare()
            console.print(
                f"no turns on the GPU: its {gpu_gb:.0f} GB hold the learner beside a generator with "
                f"{self._generator_share:.0%} of them (cluster.take_turns)",
                soft_wrap=True,
            )

    def recover(self, error: BaseException) -> str:
        """Put others in the place of the actors whose loss raised `error`, and name them. What was open is to be opened
        again. Raises ClusterError where a node is gone, and `error` itself where nothing was lost."""
        lost = find_the_lost(error, self._reservation, self._actors)
        if lost is None:
            raise error
        if lost.nodes:
            raise ClusterError(str(lost)) from error
        for name in ("tracker", "recorder"):
            if name in self._actors:
                ray.kill(self._actors.pop(name))
        if any(name.startswith("learner") for name in lost.actors):
            self._turns.closed(self._learner)
            self._restart_learners()
        return ", ".join(lost.actors)

    def _restart_learners(self) -> None:
        """All ranks: the surviving ranks hold a broken process group."""
        for attempt in range(1, MAX_RESTARTS + 1):
            for name in _names("learner", self.config.cluster.num_learners):
                ray.kill(self._actors[name])
            try:
                self._learners = self._start_learners()
                return
            except RayActorError as error:
                if attempt == MAX_RESTARTS:
                    raise ClusterError(
                        f"the learner ranks were lost {attempt} times while they started anew"
                    ) from error

    @contextmanager
    def verifier(self) -> Iterator[VerifierPool]:
        self._verifiers.wait_for_start()
        yield self._verifiers

    @contextmanager
    def tracker(self, tracker: TrackerConfig) -> Iterator[RayTracker]:
        yield RayTracker(lambda: self._start(TrackerActor, "tracker", tracker, self.log_folder))
        ray.kill(self._actors.pop("tracker"))

    @contextmanager
    def recorder(self) -> Iterator[RayRecorder]:
        yield RayRecorder(lambda: self._start(RecorderActor, "recorder", self.log_folder))
        ray.kill(self._actors.pop("recorder"))

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
            can_sleep=self._turns.shared,
            enforce_eager=cluster.enforce_eager,
            weight_transfer="" if self.config.weight_transport == "object_store" else self.config.weight_transport,
        )

    def _start(self, actor_class, name: str, *arguments) -> ActorHandle:
        """Start an actor in its seat; if it is lost, it is known by `name`."""
        deadline = time.monotonic() + NAME_FREE_S
        while True:
            try:
                self._actors[name] = self._seat(actor_class, name, *arguments)
                return self._actors[name]
            except ValueError:  # Ray still knows the name of the one before
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _seat(self, actor_class, name: str, *arguments) -> ActorHandle:
        """Raises ValueError where Ray still knows the name of the actor that sat there before."""
        return actor_class.options(**self._reservation.options(name)).remote(*arguments)

    def _start_verifiers(self) -> VerifierPool:
        cluster, limits = self.config.cluster, self.config.verify
        return VerifierPool(
            _names("verifier", cluster.num_verifiers),
            lambda name: self._seat(VerifierActor, name, name, limits, self.log_folder),
            self._reservation.refuse_lost_nodes,
            cluster.startup_timeout_s,
            HANGS_AFTER_S + limits.completion_timeout_s + limits.math_timeout_s,
        )

    def _start_generators(self, spec: EngineSpec) -> RayGenerator:
        cluster = self.config.cluster
        seats = GeneratorSeats(
            _names("generator", cluster.num_generators),
            lambda name: self._seat(GeneratorActor, name, name, spec, self.log_folder),
            self._reservation.refuse_lost_nodes,
            cluster.startup_timeout_s,
        )
        try:
            self._wait_for(seats.starting, "generators")
        except RayActorError as error:
            # An actor that cannot start has an error that says more; a killed actor is replaced.
            if error.actor_init_failed:
                raise
            seats.wait()
        self._watchdog = Watchdog(seats, cluster.hang_timeout_s)
        return RayGenerator(seats, cluster.max_num_seqs, self.config.signal.sync.logprob_tolerance)

    def busy_seconds(self) -> dict[str, float]:
        asked = {name: actor.busy_seconds.remote() for name, actor in self._actors.items()}
        seconds = self._verifiers.busy_seconds()
        if self._generator is not None:
            seconds |= self._generator.busy_seconds()
        for name, answer in asked.items():
            # One that is lost is missed where it is needed, not here.
            with contextlib.suppress(RayActorError):
                seconds[name] = ray.get(answer)
        return seconds

    def hardware(self) -> Hardware:
        cluster = self.config.cluster
        # A Ray that the run starts itself counts as many CPUs as its actors ask for, also on a machine with fewer.
        cores = os.cpu_count() or 1 if cluster.ray_address is None else int(ray.cluster_resources()["CPU"])
        return Hardware(cores, gpus_asked(cluster))

    def _start_learners(self) -> list[ActorHandle]:
        cluster = self.config.cluster
        actors = [
            self._start(LearnerActor, name, rank, cluster.learner_threads, self.log_folder)
            for rank, name in enumerate(_names("learner", cluster.num_learners))
        ]
        (address, port) = self._wait_for([actors[0].address.remote()], "learner rank 0")[0]
        self._wait_for([actor.join.remote(cluster.num_learners, address, port) for actor in actors], "learner ranks")
        return actors

    def _wait_for(self, refs: list, what: str) -> list:
        timeout_s = self.config.cluster.startup_timeout_s
        deadline, waiting = time.monotonic() + timeout_s, refs
        while waiting and time.monotonic() < deadline:
            ready, waiting = ray.wait(waiting, timeout=min(CHECK_EVERY_S, max(deadline - time.monotonic(), 0)))
            # The loss of an actor is raised at once: the other actors may wait for it for ever.
            ray.get(ready)
            if not ready:
                # An actor whose node is gone stays pending for ever and raises no error.
                self._reservation.refuse_lost_nodes()
        if waiting:
            raise TimeoutError(
                f"{len(waiting)} of {len(refs)} {what} did not start within {timeout_s:g} s "
                f"(see {self.log_folder}): raise cluster.startup_timeout_s"
            )
        return ray.get(refs)


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}_{i}" for i in range(count)]


def _start_ray(cluster: ClusterConfig) -> None:
    # Ray hides the GPUs from actors that ask for no GPU only with this setting.
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray gives its workers a low priority: any other process on the machine would stall the training.
    os.environ.setdefault("RAY_worker_niceness", "0")
    arguments = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.ray_address is None:
        arguments |= {"include_dashboard": False, "object_store_memory": int(cluster.object_store_gb * 2**30)}
        # On one machine actors take turns and their threads are set in the config: none waits for a core to be free.
        arguments["num_cpus"] = max(os.cpu_count() or 1, math.ceil(place(cluster).cpus))
    # On SIGTERM Ray would keep its processes for half a minute, to drain services that a run does not have.
    os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    with own_sigterm_handler():
        ray.init(address=cluster.ray_address or "local", **arguments)


def _refuse_too_few_gpus(cluster: ClusterConfig) -> None:
    """No node can join a Ray that the run started itself: the run would wait in vain for missing resources."""
    there = int(ray.cluster_resources().get("GPU", 0))
    if cluster.ray_address is None and gpus_asked(cluster) > there:
        raise ConfigError(
            f"cluster asks for {asked(cluster)}, but Ray has {there}: lower cluster.num_generators or "
            "cluster.num_learners, or set cluster.ray_address to a Ray that has more"
        )
