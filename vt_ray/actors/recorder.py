"""Writes rollouts to parquet in a Ray task, so that tokens and texts do not pass through the driver.

The write is idempotent: if the task's process dies, Ray runs the task again and the second run writes the same file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vt_ray.actors.process import begin_process
from vt_ray.evaluation.traces import is_readable
from vt_ray.records import GradedGroup, GroupAdvantages, Rollouts

MAX_RETRIES = 3


@ray.remote(num_cpus=0, max_retries=MAX_RETRIES)
def write_rollouts(
    log: Path,
    path: Path,
    stage: str,
    step: int,
    groups: list[GradedGroup],
    weights: list[GroupAdvantages],
    fates: list[tuple[str, ...]],
    *rollouts: Rollouts,
) -> None:
    """Writes `path` under another name first, so that it is complete or absent."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin_process(log)
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
) -> list[dict[str, Any]]:
    """The rows of one group in `rollouts/*.parquet`: one row per completion.

    `withheld`: the problem is of GPQA or has a canary, so that no report and no tracker shows its texts.
    """
    withheld = not is_readable(rollouts.problem)
    return [
        {
            "stage": stage,
            "step": step,
            "question_id": group.question_id,
            "subdomain": group.subdomain,
            "sample": c.sample,
            "seed": seed,
            "weight_version": c.version_runs[0][0],
            "weight_versions": np.repeat([v for v, _ in c.version_runs], [n for _, n in c.version_runs]),
            "question": rollouts.problem.question,
            "withheld": withheld,
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
    """Implements `interfaces.Recorder`. The tasks run on the driver's node."""

    def __init__(self, log_folder: Path):
        self._log = log_folder / "recorder.log"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._write = write_rollouts.options(scheduling_strategy=here)

    def write(
        self,
        path: Path,
        stage: str,
        step: int,
        groups: Sequence[GradedGroup],
        advantages: Sequence[GroupAdvantages],
        fates: Sequence[Sequence[str]],
    ) -> None:
        handles = [group.rollouts for group in groups]
        without_handles = [replace(group, rollouts=None) for group in groups]
        all_fates = [tuple(of_group) for of_group in fates]
        ray.get(
            self._write.remote(self._log, path, stage, step, without_handles, list(advantages), all_fates, *handles)
        )
