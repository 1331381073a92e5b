"""The recorder's task on a real Ray: if its process dies, Ray writes the same file again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray import cloudpickle

from vt_ray.actors.recorder import RayRecorder
from vt_ray.records import Completion, GradedGroup, GroupAdvantages, Problem, Rollouts, Verdict

pytestmark = pytest.mark.slow
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def exit_once(marker: Path, rollouts: Rollouts) -> Rollouts:
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return rollouts


class DeadlyOnce:
    """Rollouts whose first reader dies."""

    def __init__(self, marker: Path, rollouts: Rollouts):
        self.arguments = marker, rollouts

    def __reduce__(self):
        return exit_once, self.arguments


def test_a_recorder_that_dies_while_it_reads_writes_the_same_file(cluster, tmp_path):
    made = tuple(
        Completion(i, np.arange(3, dtype=np.int32), np.full(3, -0.5, np.float32), "4", "stop", ((2, 1), (3, 2)), 0.5)
        for i in range(2)
    )
    rollouts = Rollouts(Problem("q", "algebra", "math", "2+2?", "4"), (1, 2), made, 7, (11, 12))
    verdicts = Verdict("correct"), Verdict("wrong", "wrong_answer")
    marker = tmp_path / "died"
    with cluster.recorder() as recorder:
        assert isinstance(recorder, RayRecorder)
        for name, handle in (("plain", ray.put(rollouts)), ("died", ray.put(DeadlyOnce(marker, rollouts)))):
            group = GradedGroup("q", "algebra", verdicts, 2, (3, 3), (False, False), handle)
            weight = GroupAdvantages(0.5, 1.0, (1.0, -1.0))
            path = tmp_path / "rollouts" / f"{name}.parquet"
            recorder.write(path, "stage", 1, [group], [weight], [["consumed", "consumed"]])
    assert marker.exists()
    plain, died = (pq.read_table(tmp_path / "rollouts" / f"{name}.parquet").to_pylist() for name in ("plain", "died"))
    assert plain == died and [row["sample"] for row in plain] == [0, 1]
    assert plain[0]["weight_versions"] == [2, 3, 3] and plain[1]["advantage"] == -1.0
    assert plain[0]["withheld"] is False
    assert not list((tmp_path / "rollouts").glob("*.partial"))
