"""A pool of generators: each gets prompts while it has room, each group arrives exactly once."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time

import pytest
import ray
from pool_stress import worker_pids
from ray.exceptions import RayError
from sent_weights import Weights

from vt_ray.actors.generator_pool import MAX_DEATHS, GeneratorPool
from vt_ray.actors.generators import RayGenerator
from vt_ray.actors.watchdog import Watchdog
from vt_ray.engines.weights import SyncError
from vt_ray.interfaces import Acknowledgement
from vt_ray.planning.placement import ClusterError
from vt_ray.records import Problem, Prompt, Sampling

pytestmark = pytest.mark.slow

PROBLEM = Problem("q", "algebra", "math", "?")
SAMPLING = Sampling(1.0, 1.0, 0, 8)
ROOM = 8


@ray.remote(num_cpus=0, concurrency_groups={"streams": 4, "others": 1, "questions": 1})
class FakeGenerator:
    """A generator without an engine: a group is (step of the prompt, name of the generator, weight version). It writes
    the number of its prompts to `folder`. Files in `folder` order it to die, stop or hang at a given moment."""

    def __init__(self, name, folder, seconds):
        self.name, self.folder, self.seconds, self.version = name, folder, seconds, None
        self.stuck_since = None
        self.prompts, self.given = queue.Queue(), 0
        self._may_die("start")

    def _may_die(self, when):
        for order in self.folder.glob(f"{self.name}_dies_at_{when}*"):
            order.unlink()
            os._exit(1)
        for order in self.folder.glob(f"{self.name}_stops_at_{when}*"):
            order.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        for order in self.folder.glob(f"{self.name}_is_stuck_at_{when}*"):
            order.unlink()
            self.stuck_since = time.monotonic()
            time.sleep(600)

    def ready(self):
        return self.name

    def submit(self, call, prompts, sampling):
        self.given += len(prompts)
        (self.folder / f"given_{self.name}").write_text(str(self.given))
        for given in prompts:
            self.prompts.put(given)

    def end(self, call, sampling):
        self.prompts.put(None)

    @ray.method(concurrency_group="streams")
    def stream(self, call, sampling):
        for ticket, prompt in iter(self.prompts.get, None):
            self._may_die(f"group_{prompt.step}")
            time.sleep(self.seconds)
            yield prompt.step, self.name, self.version
            self._may_die(f"ticket_{prompt.step}")
            yield ticket

    @ray.method(concurrency_group="others")
    def load(self, version, fingerprint, arrivals):
        self._may_die("load")
        self.version = version
        flaws = list(self.folder.glob(f"{self.name}_garbles_{version}*"))
        for flaw in flaws[:1]:
            flaw.unlink()
        return Acknowledgement(self.name, version, {"w": sum(ray.get(arrivals)) + len(flaws)}, (-1.0,))

    def pause(self):
        """A real generator would stop sampling."""

    @ray.method(concurrency_group="others")
    def busy_seconds(self):
        return 1.0

    @ray.method(concurrency_group="questions")
    def stuck_seconds(self):
        return 0.0 if self.stuck_since is None else time.monotonic() - self.stuck_since


@pytest.fixture
def generator(cluster, tmp_path):
    """Opens one generator for each argument, which is its seconds per group."""
    opened = []

    def open_generators(*seconds):
        names = [f"fake_{i}" for i in range(len(seconds))]

        def spawn(name):
            opened.append(FakeGenerator.options(name=name).remote(name, tmp_path, seconds[names.index(name)]))
            return opened[-1]

        pool = GeneratorPool(names, spawn, lambda: None, startup_timeout_s=60)
        pool.wait_until_ready()
        return RayGenerator(pool, ROOM, logprob_tolerance=1e-3)

    yield open_generators
    for actor in opened:
        ray.kill(actor)


def weights(version, shown=None):
    return Weights(version, (ray.put(version),), {"w": version if shown is None else shown}, (-1.0,), 8)


def prompts(count, samples=1):
    return [Prompt(PROBLEM, (1,), tuple(range(samples)), step) for step in range(count)]


def kill_at(folder, name, when):
    (folder / f"{name}_dies_at_{when}").touch()


def test_a_slow_generator_delays_only_its_own_groups(generator):
    groups = [ray.get(handle) for handle in generator(0.6, 0.001).generate(prompts(60), SAMPLING)]
    assert sorted(step for step, _, _ in groups) == list(range(60))
    assert [name for _, name, _ in groups].count("fake_0") <= 1.5 * ROOM


def test_a_generator_gets_no_more_prompts_than_it_has_room_for_while_no_group_is_read(generator, tmp_path):
    groups = generator(0.0).generate(prompts(200), SAMPLING)
    first = ray.get(next(groups))
    time.sleep(0.5)
    assert int((tmp_path / "given_fake_0").read_text()) <= 1.5 * ROOM
    assert [first, *(ray.get(handle) for handle in groups)] == [(i, "fake_0", None) for i in range(200)]


class Feed:
    def __init__(self):
        self.ended, self.next, self.asked = False, [], 0

    def take(self):
        self.asked += 1
        taken, self.next = self.next, []
        return taken


def test_a_feed_is_asked_until_it_ends_and_weights_are_loaded_meanwhile(generator):
    feed, pool = Feed(), generator(0.01)
    groups = pool.generate(feed, SAMPLING)
    both_groups_received = threading.Event()

    def feed_and_load():
        feed.next = prompts(2)
        both_groups_received.wait(60)
        pool.load(weights(5), [1, 2])
        feed.next = prompts(3)[2:]
        time.sleep(0.5)
        feed.ended = True

    feeder = threading.Thread(target=feed_and_load)
    feeder.start()
    assert [ray.get(next(groups))[0] for _ in range(2)] == [0, 1]
    both_groups_received.set()
    assert ray.get(next(groups)) == (2, "fake_0", 5)
    before, began = feed.asked, time.monotonic()
    assert list(groups) == []
    # The pool polls every few milliseconds.
    assert feed.asked - before < 2 + (time.monotonic() - began) / 0.004
    feeder.join()


@pytest.mark.parametrize("when", ["group_5", "ticket_5"])
def test_a_lost_generator_is_replaced_with_the_newest_weights_and_each_group_comes_once(generator, tmp_path, when):
    pool = generator(0.02, 0.02)
    for version in (1, 2):
        assert {ack.version for ack in pool.load(weights(version), [1, 2])} == {version}
    # fake_1 gets the odd prompts.
    kill_at(tmp_path, "fake_1", when)
    groups = [ray.get(handle) for handle in pool.generate(prompts(80), SAMPLING)]
    assert sorted(step for step, _, _ in groups) == list(range(80))
    assert {version for _, _, version in groups} == {2}
    assert pool.respawns == 1
    pool.pool.wait_until_ready()
    assert pool.busy_seconds().keys() == {"fake_0", "fake_1"}


@pytest.mark.parametrize("when", ["group_5", "load"])
@pytest.mark.parametrize("how", ["stops", "is_stuck"])
def test_a_generator_that_hangs_is_replaced_too(generator, tmp_path, how, when):
    pool = generator(0.02, 0.02)
    pool.load(weights(1), [1, 2])
    watchdog = Watchdog(pool.pool, hang_timeout_s=2.0)
    (tmp_path / f"fake_1_{how}_at_{when}").touch()
    acks = pool.load(weights(2), [1, 2])
    groups = [ray.get(handle) for handle in pool.generate(prompts(40), SAMPLING)]
    pool.pool.wait_until_ready()
    watchdog.close()
    assert [ack.version for ack in acks] == [2, 2]
    assert sorted((step, version) for step, _, version in groups) == [(i, 2) for i in range(40)]
    assert pool.respawns == 1


def test_a_generator_lost_during_a_load_is_replaced_and_acknowledges(generator, tmp_path):
    pool = generator(0.0, 0.0)
    kill_at(tmp_path, "fake_1", "load")
    acks = pool.load(weights(3), [1, 2])
    assert sorted((ack.holder, ack.version) for ack in acks) == [("fake_0", 3), ("fake_1", 3)]
    assert pool.respawns == 1


def test_a_replacement_that_holds_other_weights_than_were_sent_is_refused(generator, tmp_path):
    pool = generator(0.01)
    pool.load(weights(1, shown=7), [1, 2])
    kill_at(tmp_path, "fake_0", "group_3")
    with pytest.raises(SyncError, match="fake_0 does not hold"):
        list(pool.generate(prompts(9), SAMPLING))


def test_a_replacement_with_corrupt_weights_gets_them_once_more(generator, tmp_path):
    pool = generator(0.01)
    pool.load(weights(1), [1, 2])
    (tmp_path / "fake_0_garbles_1").touch()
    kill_at(tmp_path, "fake_0", "group_3")
    groups = [ray.get(handle) for handle in pool.generate(prompts(9), SAMPLING)]
    assert [(step, version) for step, _, version in groups] == [(i, 1) for i in range(9)]
    assert pool.respawns == 1 and not list(tmp_path.glob("*garbles*"))


def test_a_prompt_that_kills_every_generator_ends_the_run(generator, tmp_path):
    pool = generator(0.01)
    for attempt in range(MAX_DEATHS):
        kill_at(tmp_path, "fake_0", f"group_3_{attempt}")
    with pytest.raises(ClusterError, match=f"fake_0 cannot be replaced: {MAX_DEATHS} of its actors died"):
        list(pool.generate(prompts(9), SAMPLING))


def test_a_generator_that_cannot_be_restarted_ends_the_run(generator, tmp_path):
    pool = generator(0.01)
    kill_at(tmp_path, "fake_0", "group_3")
    for attempt in range(MAX_DEATHS):
        kill_at(tmp_path, "fake_0", f"start_{attempt}")
    with pytest.raises(ClusterError, match=f"fake_0 cannot be replaced: {MAX_DEATHS} of its actors died"):
        list(pool.generate(prompts(9), SAMPLING))


@ray.remote(num_cpus=0)
class Owner:
    def put(self, value):
        return [ray.put(value)]


def test_lost_weights_of_a_replacement_are_reported(generator, tmp_path):
    pool, owner = generator(0.01), Owner.remote()
    (bucket,) = ray.get(owner.put.remote(4))
    pool.load(Weights(4, (bucket,), {"w": 4}, (-1.0,), 8), [1, 2])
    ray.kill(owner)
    # Ray keeps the object in shared memory until it has noticed the death of its owner.
    with pytest.raises(RayError):
        for _ in range(300):
            ray.get(bucket)
            time.sleep(0.1)
    kill_at(tmp_path, "fake_0", "group_3")
    with pytest.raises(RayError, match="owner|lost"):
        list(pool.generate(prompts(9), SAMPLING))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_engine_is_replaced_and_completions_stay_the_same(
    cluster, base_model, encoder, problems, how
):
    # Three waves of 256 sequences (cluster.max_num_seqs): after the first group the engine has work for seconds.
    sent, sampling = encoder.prompts(problems.train[:40], 20, ("killed",)), Sampling(1.0, 1.0, 0, 48)

    def completions_by_question(groups):
        return sorted((r.problem.question_id, [c.token_ids.tolist() for c in r.completions]) for r in groups)

    with cluster.generator(base_model) as generator:
        undisturbed = completions_by_question(ray.get(list(generator.generate(sent, sampling))))
        assert "watchdog" in [thread.name for thread in threading.enumerate()]
        watchdog, respawns = Watchdog(generator.pool, hang_timeout_s=5.0), generator.respawns
        stream = generator.generate(sent, sampling)
        first = ray.get(next(stream))
        for pid in worker_pids(cluster.log_folder):
            if os.readlink(f"/proc/{pid}/fd/1").endswith("generator_0.log"):
                os.kill(pid, how)
        rest = ray.get(list(stream))
        watchdog.close()
        assert completions_by_question([first, *rest]) == undisturbed
        assert generator.respawns == respawns + 1
