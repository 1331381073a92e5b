"""SFT: one trajectory on worked solutions of every style, a checkpoint every k steps (arXiv 2511.06221, section 3.3).

examples on disk (examples.py) --seeded batches--> learner --every k steps--> checkpoints/step_000120/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import SftConfig
from vt_ray.data.stream import batch_indices
from vt_ray.interfaces import Cluster, Learner
from vt_ray.progress import bar
from vt_ray.run.checkpoint import CheckpointError, commit, exists, newest, step_folders, were_set_aside, write_folder
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.skipped_steps import SkippedSteps

# The states to resume from: where the newest is damaged, the one before it is taken.
KEPT_STATES = 2


def run_sft(
    cluster: Cluster, base: Path, examples: Sequence[TrainSequence], sft: SftConfig, seed: int, folder: Path
) -> None:
    """Train from `base`, or from the newest commit in `folder`; write checkpoints/, state/ and metrics.jsonl.

    Raises TrainingDiverged after several steps in a row without an update.
    """
    log = MetricsLog(folder / "metrics.jsonl")
    with cluster.learner(base, sft.optimizer, sft.steps) as learner:
        start, skipped = _resume(learner, log, folder), SkippedSteps()
        for line in log.lines():
            skipped.note(line)
        with bar("sft", sft.steps, start) as advance:
            for step in range(start, sft.steps):
                began = time.monotonic()
                chosen = batch_indices(len(examples), sft.batch_size, step, (seed, "sft"))
                metrics = learner.sft_step(_weighted([examples[i] for i in chosen]))
                seconds = time.monotonic() - began
                log.write({"phase": "sft", "step": step + 1, **metrics, **skipped.note(metrics), "seconds": seconds})
                skipped.refuse_many(f"sft: step {step + 1}", metrics, "spectrum.sft")
                advance(f"loss {metrics['loss']:.3f}  {metrics['tokens'] / seconds:,.0f} tokens/s", 1)
                if (step + 1) % sft.checkpoint_every == 0 or step + 1 == sft.steps:
                    _save(learner, log, folder, step + 1)


def sft_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of the trajectory, oldest first."""
    return step_folders(folder / "checkpoints")


def _weighted(batch: Sequence[TrainSequence]) -> list[TrainSequence]:
    """Token mean over the whole batch: each completion token weighs 1 / (completion tokens of the batch)."""
    tokens = sum(len(s.completion_ids) for s in batch)
    return [replace(s, token_weight=1 / tokens) for s in batch]


def _save(learner: Learner, log: MetricsLog, folder: Path, step: int) -> None:
    """The state first: a checkpoint of the model proves that a state was committed."""
    name = f"step_{step:06d}"
    commit(folder / "state" / name, {"step": step, "metrics_offset": log.offset}, learner.save_state, keep=KEPT_STATES)
    write_folder(folder / "checkpoints" / name, learner.save_hf)


def _resume(learner: Learner, log: MetricsLog, folder: Path) -> int:
    """The step to go on from; metrics beyond it are cut off.

    Raises CheckpointError where a state was committed and none is left: the trajectory would start anew.
    """
    found = newest(folder / "state")
    if found is None:
        _refuse_lost_state(folder)
        log.cut(0)
        return 0
    state, manifest = found
    learner.load_state(state)
    log.cut(manifest["metrics_offset"])
    model = folder / "checkpoints" / state.name
    if not exists(model):
        # The run broke off between the two.
        write_folder(model, learner.save_hf)
    return manifest["step"]


def _refuse_lost_state(folder: Path) -> None:
    if lost := [*sft_checkpoints(folder), *were_set_aside(folder / "state")]:
        raise CheckpointError(
            f"{folder / 'state'} holds no whole checkpoint, but there is {lost[-1]}. SFT is not started anew over it: "
            f"put a copy of the state back, or move {folder} away to begin SFT anew"
        )
