"""The committed records of a run, read from its files while they grow.

metrics.jsonl, evaluation/ --up to the newest manifest--> Record, Record, ... --None: nothing new yet--> Record, ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vt_ray.evaluation.milestones import milestone_summaries
from vt_ray.run.checkpoint import MANIFEST, CheckpointError, committed
from vt_ray.run.metrics_log import Tail
from vt_ray.run.milestone_names import (
    SELF_DISTIL,
    SFT_CONTINUED,
    before_rl,
    phases,
    planned,
    rl_stages,
    spectrum_stages,
)
from vt_ray.run.paths import DONE, RunPaths, SftPaths
from vt_ray.run.run_folder import working_folder
from vt_ray.tracking.sinks import Record, flat

# Numbers in a line that are not metrics: the step itself, and the digest for the audit.
NO_FIGURES = ("step", "consumed_digest")


def committed_records(paths: RunPaths, config: Mapping[str, Any]) -> Iterator[Record | None]:
    """All committed records of the run, in order. Yields None when there is no new record yet.

    SFT steps have their own count, RL steps are counted through all stages, and milestones are counted from 0 (base).
    """
    stages = [stage["name"] for stage in rl_stages(config)]
    milestones = planned(config)
    first_step = 0
    for stage in spectrum_stages(config) if "sft" in phases(config) else ():
        for record in _sft(paths, stage.sft, first_step):
            first_step = record.step if record else first_step
            yield record
    for name in before_rl(config):
        yield from _milestone(paths, name, milestones, config["evaluation"]["k"])
    tail, step = Tail(paths.metrics), 0
    for number, stage in enumerate(stages, 1):
        evaluated = False
        while not evaluated:
            evaluated = paths.scores(stage).exists()
            for line in tail.read(_committed_bytes(paths.stage(stage).checkpoints))[step:]:
                step += 1
                rollouts = paths.stage(stage).rollout_file(line["step"])
                yield _record("rl", step, {**line, "stage": number, "stage_step": line["step"]}, rollouts)
            if not evaluated:
                yield None
        yield from _milestone(paths, stage, milestones, config["evaluation"]["k"])
    for name in milestones:
        if name in (SFT_CONTINUED, SELF_DISTIL):
            yield from _milestone(paths, name, milestones, config["evaluation"]["k"])


def _sft(paths: RunPaths, phase: str, first_step: int) -> Iterator[Record | None]:
    """Records of the steps of an SFT: from the shared folder while it runs, then from the run's own folder. The steps
    are counted on from `first_step`."""
    step, finished, tail = 0, False, Tail(Path())
    while not finished:
        finished = (paths.root / phase / DONE).exists()
        shared = None if finished else working_folder(paths, phase)
        sft = SftPaths(shared or paths.root / phase)
        if tail.path != sft.metrics:
            tail = Tail(sft.metrics)
        for line in tail.read(None if finished else _committed_bytes(sft.states))[step:]:
            step += 1
            yield _record("sft", first_step + step, line)
        if not finished:
            yield None


def _milestone(paths: RunPaths, name: str, milestones: list[str], k: int) -> Iterator[Record | None]:
    path = paths.scores(name)
    while not path.exists():
        yield None
    (found,) = milestone_summaries([path], k)
    passes = ("pass_at_1", f"pass_at_{k}")
    by_subdomain = {d: {p: scores[p]["mean"] for p in passes} for d, scores in found["by_subdomain"].items()}
    yield _record("eval", milestones.index(name), {**{p: found[p] for p in passes}, **by_subdomain})


def _record(series: str, step: int, values: Mapping[str, Any], rollouts: Path | None = None) -> Record:
    """A record of the numbers in `values`; nested keys become `part/name`, and p_c becomes a share for each value."""
    numbers = {k: float(v) for k, v in flat(values, "/").items() if isinstance(v, (int, float)) and k not in NO_FIGURES}
    return Record(series, step, numbers | p_c_shares(values.get("p_c_histogram") or []), rollouts)


def p_c_shares(counts: Sequence[int]) -> dict[str, float]:
    """{`p_c/3_of_8`: share of the step's questions with 3 correct answers of 8}. The names sort by the count."""
    group, questions = len(counts) - 1, sum(counts)
    width = len(str(group))
    return {f"p_c/{right:0{width}}_of_{group}": n / questions for right, n in enumerate(counts) if questions}


def _committed_bytes(folder: Path) -> int:
    """The length in bytes of the committed metrics, from the newest manifest in `folder`."""
    try:
        steps = committed(folder)
        return json.loads((steps[-1] / MANIFEST).read_text())["metrics_offset"] if steps else 0
    except (OSError, CheckpointError):
        # The manifest was just replaced by a newer one, or the storage did not answer: the next call tries again.
        return 0
