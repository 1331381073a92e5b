"""Writes rollouts to parquet, so that tokens and texts never pass through the driver."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import ray
from ray.actor import ActorHandle

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.process import begin_process
from vt_ray.actors.replaceable import Replaceable
from vt_ray.records import GradedGroup, GroupAdvantages, Rollouts


@ray.remote
class RecorderActor:
    def __init__(self, log_folder: Path):
        begin_process(log_folder / "recorder.log")
        self.busy = BusyTime()

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def write(
        self,
        path: Path,
        stage: str,
        step: int,
        groups: list[GradedGroup],
        weights: list[GroupAdvantages],
        fates: list[tuple[str, ...]],
        *rollouts: Rollouts,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self.busy:
            rows = [
                row
                for group, weight, fate, rollout in zip(groups, weights, fates, rollouts, strict=True)
                for row in rollout_rows(stage, step, group, weight, fate, rollout)
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            pq.write_table(pa.Table.from_pylist(rows), partial)
            os.replace(partial, path)


def rollout_rows(
    stage: str, step: int, group: GradedGroup, weight: GroupAdvantages, fates: Sequence[str], rollouts: Rollouts
) -> list[dict]:
    """One row a completion, as `rollouts/*.parquet` has them."""
    return [
        {
            "stage": stage,
            "step": step,
            "question_id": group.question_id,
            "subdomain": group.subdomain,
            "sample": c.sample,
            "seed": seed,
            "weight_version": c.version_runs[0][0],
            "weight_versions": np.repeat(*zip(*c.version_runs, strict=True)),
            "question": rollouts.problem.question,
            "text": c.text,
            "tokens": c.token_ids,
            "rollout_logprobs": c.rollout_logprobs,
            "finish_reason": c.finish_reason,
            "verdict": verdict.status,
            "reason": verdict.reason,
            "p_c": weight.accuracy,
            "weight": weight.weight,
            "advantage": advantage,
            "fate": fate,
            "generation_seconds": c.seconds,
            "seconds": c.seconds + verdict.seconds,
        }
        for c, seed, verdict, advantage, fate in zip(
            rollouts.completions, rollouts.seeds, group.verdicts, weight.advantages, fates, strict=True
        )
    ]


class RayRecorder:
    """Implements `interfaces.Recorder`."""

    def __init__(self, spawn: Callable[[], ActorHandle]):
        self._seat = Replaceable(spawn)

    def write(
        self,
        path: Path,
        stage: str,
        step: int,
        groups: Sequence[GradedGroup],
        weights: Sequence[GroupAdvantages],
        fates: Sequence[Sequence[str]],
    ) -> None:
        bare = [replace(g, rollouts=None) for g in groups]
        handles = [g.rollouts for g in groups]
        told = [tuple(of_group) for of_group in fates]
        # Written once more by another one, it is the same file.
        self._seat.call(lambda actor: actor.write.remote(path, stage, step, bare, list(weights), told, *handles))
