"""The tracker's actor on a real Ray, killed between calls and during a call: its answers stay the same."""

from __future__ import annotations

import random
import threading
import time

import pytest
import ray
from ray.exceptions import RayActorError

from vt_ray.actors.tracker import RayTracker, TrackerActor
from vt_ray.actors.worker import Worker
from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, Verdict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

HISTORY = TrackerConfig(estimator="history", decay=0.9)
ADVANTAGES = AdvantageConfig(1.0, "std", 0.2)


def batch(dice):
    return [
        GradedGroup(
            f"q{dice.randrange(6)}",
            "algebra",
            tuple(Verdict(dice.choice(("correct", "wrong", "unverified"))) for _ in range(5)),
            3,
            tuple(dice.randrange(1, 40) for _ in range(5)),
            (False,) * 5,
            None,
        )
        for _ in range(4)
    ]


def calls(tracker, folder, between=lambda step: None):
    """All that a tracker answers through 8 steps with a save after the third, whose folder is renamed as a step's is,
    and a load of it after the sixth."""
    dice, answers = random.Random(0), []
    for step in range(8):
        answers.append(tracker.compute_advantages(batch(dice), step, ADVANTAGES))
        between(step)
        tracker.note(batch(dice), step - 1)
        answers.append(tracker.expected_weights([f"q{i}" for i in range(7)], step, ADVANTAGES))
        if step == 3:
            (folder / "step.partial").mkdir(parents=True)
            tracker.save(folder / "step.partial" / "tracker.parquet")
            (folder / "step.partial").rename(folder / "step")
        if step == 6:
            tracker.load(folder / "step" / "tracker.parquet")
    tracker.save(folder / "end.parquet")
    return answers, (folder / "end.parquet").read_bytes()


def test_a_tracker_killed_between_calls_answers_as_one_never_lost(tmp_path):
    spawned = []

    def spawn():
        spawned.append(TrackerActor.options(num_cpus=0).remote(HISTORY, tmp_path))
        return spawned[-1]

    tracker = RayTracker(Worker("tracker", spawn))
    found = calls(tracker, tmp_path / "lost", lambda step: step in (1, 4, 7) and ray.kill(spawned[-1]))
    expected = calls(AccuracyTracker(HISTORY), tmp_path / "straight")
    assert len(spawned) == 4
    assert found == expected


def test_a_tracker_killed_in_the_midst_of_its_calls_counts_each_once(tmp_path):
    spawned = []

    def spawn():
        spawned.append(TrackerActor.options(num_cpus=0).remote(HISTORY, tmp_path))
        return spawned[-1]

    tracker, groups = RayTracker(Worker("tracker", spawn)), batch(random.Random(1)) * 100
    tracker.note(groups, 0)
    # An error of a call's own is no loss, and costs the tracker nothing of its memory.
    with pytest.raises(FileNotFoundError):
        tracker.load(tmp_path / "nothing.parquet")
    killer = threading.Thread(target=lambda: (time.sleep(0.05), ray.kill(spawned[-1])))
    killer.start()
    for version in range(1, 40):
        tracker.note(groups, version)
    killer.join()
    tracker.save(tmp_path / "found.parquet")
    straight = AccuracyTracker(HISTORY)
    for version in range(40):
        straight.note(groups, version)
    straight.save(tmp_path / "expected.parquet")
    assert len(spawned) == 2
    assert (tmp_path / "found.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


def test_a_tracker_that_cannot_be_started_is_given_up_with_rays_own_error(tmp_path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    tracker = RayTracker(Worker("tracker", lambda: TrackerActor.options(num_cpus=0).remote(HISTORY, tmp_path / "logs")))
    with pytest.raises(RayActorError, match="logs"):
        tracker.note([], 0)
