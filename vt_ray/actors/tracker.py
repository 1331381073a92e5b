"""The accuracy tracker on Ray: a thin shell around `algorithms.tracker`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ray

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.logs import redirect_output
from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import TrackerConfig
from vt_ray.records import GradedGroup, GroupWeight, Weighing


@ray.remote
class TrackerActor:
    def __init__(self, tracker: TrackerConfig, log_folder: Path):
        redirect_output(log_folder / "tracker.log")
        self.busy = BusyTime()
        self.tracker = AccuracyTracker(tracker)

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def weigh(self, groups: list[GradedGroup], version: int, weighing: Weighing) -> list[GroupWeight]:
        with self.busy:
            return self.tracker.weigh(groups, version, weighing)

    def save(self, path: Path) -> None:
        self.tracker.save(path)

    def load(self, path: Path) -> None:
        self.tracker.load(path)


class RayTracker:
    """Implements `interfaces.Tracker`."""

    def __init__(self, actor):
        self.actor = actor

    def weigh(self, groups: Sequence[GradedGroup], version: int, weighing: Weighing) -> list[GroupWeight]:
        # The tracker needs verdicts only: the handles of the tokens stay with the driver.
        return ray.get(self.actor.weigh.remote([replace(g, rollouts=None) for g in groups], version, weighing))

    def save(self, path: Path) -> None:
        ray.get(self.actor.save.remote(path))

    def load(self, path: Path) -> None:
        ray.get(self.actor.load.remote(path))
