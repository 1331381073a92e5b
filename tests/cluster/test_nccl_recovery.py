"""Loss of a generator under NCCL, without GPUs: the real actors around fake engines whose model is one number.

Files in a folder stand for the broadcast: each member of a group writes a file and waits for the others' files.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayActorError

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.generator_pool import GeneratorPool
from vt_ray.actors.generators import GeneratorActor, RayGenerator
from vt_ray.actors.learners import LearnerActor, RayLearner
from vt_ray.config import SyncConfig
from vt_ray.engines.vllm.transfer import Notice
from vt_ray.signal_phase.sync import sync_weights

pytestmark = pytest.mark.slow
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROBE = [1, 2]
NAMES = ["generator_0", "generator_1"]


@dataclass
class OneNumber:
    """A bucket whose only tensor, `w`, has the learner's step as its checksum."""

    step: int
    num_bytes: int = 8

    @property
    def entries(self):
        return [SimpleNamespace(name="w", checksum=self.step)]


def wait_for_all_members(folder: Path, transfer: str, member: str) -> None:
    (folder / f"{transfer}_{member}").touch()
    deadline = time.monotonic() + 120
    while len(list(folder.glob(f"{transfer}_*"))) < 1 + len(NAMES):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class Sender:
    engine: SimpleNamespace
    folder: Path
    opened: int
    sent: int = 0

    def begin(self) -> Notice:
        self.sent += 1
        self.transfer = f"{self.opened}.{self.sent}"
        self.source = SimpleNamespace(checksums={"w": self.engine.step_count}, num_bytes=8)
        update = {"transfer": self.transfer, "w": self.engine.step_count}
        return Notice({"group": self.opened} if self.sent == 1 else None, update)

    def finish(self) -> None:
        wait_for_all_members(self.folder, self.transfer, "learner")

    def close(self) -> None:
        (self.folder / f"closed_{self.opened}").touch()


class Learner(LearnerActor.__ray_metadata__.modified_class):
    def __init__(self, folder: Path):
        opened = iter(range(1, 100))
        module = ModuleType("transfer_gpu")
        module.open_sender = lambda transport, engine, *_: Sender(engine, folder, next(opened))
        sys.modules["vt_ray.engines.vllm.transfer_gpu"] = module
        self.rank, self.busy = 0, BusyTime()
        self.sender, self.sender_group, self.sent_at = None, 0, None
        self._engine = SimpleNamespace(
            step_count=0,
            num_buckets=lambda _: 1,
            export_weights=lambda _: iter([OneNumber(self.engine.step_count)]),
            token_logprobs=lambda fingerprint: [-1.0],
        )

    def step(self, seconds: float = 0) -> None:
        time.sleep(seconds)
        self.engine.step_count += 1


@dataclass
class Engine:
    """A fake engine. `loads` lists each load as ("nccl group n" or "bucket", the learner's step)."""

    name: str
    folder: Path
    group: int | None = None
    proven: bool = True
    lost_a_worker: bool = False
    loads: list = field(default_factory=list)

    def load_weights(self, arrivals, version, place):
        for arrival in arrivals:
            if isinstance(arrival, Notice):
                if (self.folder / f"{self.name}_dies").exists():
                    os._exit(1)
                if arrival.init is not None:
                    self.group = arrival.init["group"]
                if self.group is None:
                    raise RuntimeError("NCCL weight transfer not initialized. Call init_transfer_engine() first.")
                wait_for_all_members(self.folder, arrival.update["transfer"], self.name)
                self.loads.append((f"nccl group {self.group}", arrival.update["w"]))
            else:
                self.loads.append(("bucket", arrival.step))
        self.weight_version = version
        return {"w": self.loads[-1][1]}

    def token_logprobs(self, fingerprint):
        return [-1.0]

    def pause(self):
        """A fake engine samples nothing."""


class OneGenerator(GeneratorActor.__ray_metadata__.modified_class):
    def __init__(self, name: str, folder: Path):
        self.name, self.engine = name, Engine(name, folder)

    @ray.method(concurrency_group="questions")
    def loads(self):
        return self.engine.loads


@dataclass
class Parts:
    learner: RayLearner
    generator: RayGenerator
    actors: list

    def sync(self, version: int):
        return sync_weights(self.learner, self.generator, version, PROBE, SyncConfig())

    def step(self, seconds: float = 0) -> ray.ObjectRef:
        return self.learner.actors[0].step.remote(seconds)

    def kill(self, name: str) -> None:
        self.generator.pool.report_death(self.kill_unnoticed(name), None)

    def kill_unnoticed(self, name: str) -> int:
        """Waits until the actor is dead, without a call of the pool. Returns the id of its worker."""
        worker = next(worker for worker in self.generator.pool.ready_workers() if worker.name == name)
        ray.kill(worker.actor)
        with pytest.raises(RayActorError):
            # The actor may answer once more: ray.kill returns before the process ends.
            while True:
                ray.get(worker.actor.ready.remote())
        return worker.id

    def loads(self) -> dict[str, list]:
        return self.generator.pool.ask_all(lambda actor: actor.loads.remote())


@pytest.fixture
def parts(cluster, tmp_path):
    groups = {"streams": 4, "weights": 1, "questions": 1}
    spawned = []

    def spawn(name):
        actor = ray.remote(num_cpus=0, concurrency_groups=groups)(OneGenerator).options(name=f"{name}_{tmp_path.name}")
        spawned.append(actor.remote(name, tmp_path))
        return spawned[-1]

    pool = GeneratorPool(NAMES, spawn, lambda: None, startup_timeout_s=60)
    pool.wait_until_ready()
    generator = RayGenerator(pool, 8, logprob_tolerance=1e-3)
    learner = ray.remote(num_cpus=0)(Learner).remote(tmp_path)
    spawned.append(learner)
    yield Parts(RayLearner([learner], 1, "nccl", len(NAMES), generator.receiving_group), generator, spawned)
    for actor in spawned:
        ray.kill(actor)


def test_a_replacement_loads_buckets_and_the_next_sync_opens_a_new_group(parts, tmp_path):
    parts.sync(1)
    ray.get(parts.step())
    parts.sync(2)
    parts.kill("generator_1")
    parts.generator.pool.wait_until_ready()
    assert parts.loads()["generator_1"] == [("bucket", 1)]
    ray.get(parts.step())
    parts.sync(3)
    assert parts.loads() == {
        "generator_0": [("nccl group 1", 0), ("nccl group 1", 1), ("nccl group 2", 2)],
        "generator_1": [("bucket", 1), ("nccl group 2", 2)],
    }
    assert (tmp_path / "closed_1").exists() and not (tmp_path / "closed_2").exists()


def test_a_generator_lost_unnoticed_before_a_sync_is_no_member_of_its_group(parts):
    """The generator dies during the learner's step, and no call has noticed it before the sync."""
    parts.sync(1)
    parts.kill_unnoticed("generator_1")
    ray.get(parts.step())
    parts.sync(2)
    assert parts.loads() == {"generator_0": [("nccl group 1", 0), ("bucket", 1)], "generator_1": [("bucket", 1)]}


def test_a_replacement_that_comes_after_the_next_step_waits_for_the_next_sync(parts):
    """The learner no longer has the weights of step 0: weights of step 1 under that version would be wrong."""
    parts.sync(1)
    stepped = parts.step(seconds=3)
    parts.kill("generator_1")
    started = len(parts.actors)
    while len(parts.actors) == started:
        parts.generator.pool.replace_dead()
        time.sleep(0.05)
    both = [stepped, parts.actors[-1].ready.remote()]
    while ray.wait(both, num_returns=2, timeout=0.05)[1]:
        parts.generator.pool.replace_dead()
    for _ in range(40):
        parts.generator.pool.replace_dead()
        time.sleep(0.05)
    assert [worker.name for worker in parts.generator.pool.ready_workers()] == ["generator_0"]
    parts.sync(2)
    assert parts.loads()["generator_1"] == [("bucket", 1)]


def test_a_generator_lost_between_the_offer_and_the_transfer_is_not_waited_for(parts):
    """The learner has opened the group for both generators before the loss is noticed, and waits for both in NCCL."""
    parts.sync(1)
    weights = parts.learner.export_weights(2, PROBE, 1 << 20)
    parts.kill("generator_1")
    began = time.monotonic()
    with pytest.raises(RayActorError):
        parts.generator.load(weights, PROBE)
    assert time.monotonic() - began < 60


def test_a_generator_lost_within_a_transfer_is_not_waited_for(parts, tmp_path):
    """The learner and the other generator wait for it in NCCL: all are killed, and the run recovers as from a lost
    learner."""
    parts.sync(1)
    (tmp_path / "generator_1_dies").touch()
    began = time.monotonic()
    with pytest.raises(RayActorError):
        parts.sync(2)
    assert time.monotonic() - began < 60
    with pytest.raises(RayActorError):
        ray.get(parts.step())
    assert parts.generator.pool.ready_workers() == []
