"""SFT: one trajectory on worked solutions of every style, a checkpoint every k steps (arXiv 2511.06221, section 3.3).

examples on disk (examples.py) --seeded batches--> learner --every k steps--> checkpoints/step_000120/
held-out examples ----------- forward pass only ----------- every k steps --> checkpoints/heldout.json
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vt_ray.algorithms.flops import COUNTS, throughput
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import SftConfig
from vt_ray.data.stream import batch_indices
from vt_ray.interfaces import Cluster, Learner
from vt_ray.progress import bar
from vt_ray.run.checkpoint import (
    CheckpointError,
    commit,
    damaged_folders,
    exists,
    newest,
    step_folders,
    write_folder,
    write_json,
)
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.paths import SftPaths, step_name
from vt_ray.run.skipped_steps import SkippedSteps
from vt_ray.spectrum_phase.examples import Examples

# Number of states to keep. If the newest one is damaged, SFT resumes from the state before it.
KEPT_STATES = 2


def run_sft(
    cluster: Cluster,
    base: Path,
    examples: Sequence[TrainSequence],
    sft: SftConfig,
    seed: int,
    folder: Path,
    heldout: Sequence[TrainSequence] = (),
    section: str = "spectrum.sft",
) -> None:
    """Train from `base`, or from the newest commit in `folder`. Writes checkpoints/, state/ and metrics.jsonl there.

    The loss on `heldout`, which SFT does not learn, is measured at every checkpoint. `section` has the settings of
    this SFT, for messages. Raises TrainingDiverged after
    several steps in a row without an update.
    """
    paths, name = SftPaths(folder), section.rpartition(".")[2]
    log = MetricsLog(paths.metrics)
    mixture = examples.mixture if isinstance(examples, Examples) else None
    with cluster.learner(base, sft.optimizer, sft.steps) as learner:
        start, skipped = _resume(learner, log, paths), SkippedSteps()
        for line in log.lines():
            skipped.count(line)
        with bar(name, sft.steps, start) as advance:
            for step in range(start, sft.steps):
                start_time = time.monotonic()
                chosen = batch_indices(len(examples), sft.batch_size, step, (seed, "sft"), mixture)
                metrics = learner.sft_step(_weighted([examples[i] for i in chosen]))
                seconds = time.monotonic() - start_time
                line = {"phase": "sft", "step": step + 1, **_figures(metrics, seconds), **skipped.count(metrics)}
                is_checkpoint = (step + 1) % sft.checkpoint_every == 0 or step + 1 == sft.steps
                if is_checkpoint and heldout:
                    line["heldout_loss"] = heldout_loss(learner, heldout, sft.batch_size)
                line["seconds"] = seconds
                log.write(line)
                cluster.publish(line)
                skipped.raise_if_diverged(f"{name}: step {step + 1}", metrics, section)
                advance(f"loss {metrics['loss']:.3f}  {metrics['tokens'] / seconds:,.0f} tokens/s", 1)
                if is_checkpoint:
                    _save(learner, log, paths, step + 1)


def heldout_loss(learner: Learner, heldout: Sequence[TrainSequence], batch_size: int) -> float:
    """The mean over the completion tokens of `heldout` of their negative log-likelihood, in nats: the training loss on
    examples that SFT does not learn."""
    total, tokens = 0.0, 0
    for start in range(0, len(heldout), batch_size):
        batch = heldout[start : start + batch_size]
        for sequence, nll in zip(batch, learner.completion_nll(batch), strict=True):
            total += nll * len(sequence.completion_ids)
            tokens += len(sequence.completion_ids)
    return total / tokens


def _figures(metrics: Mapping[str, float], seconds: float) -> dict[str, float | None]:
    """The learner's metrics, with speed, padding and MFU in place of its counts."""
    return {**{k: v for k, v in metrics.items() if k not in COUNTS}, **throughput(metrics, seconds)}


def sft_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of the trajectory in `folder`, oldest first."""
    return step_folders(SftPaths(folder).checkpoints)


def _weighted(batch: Sequence[TrainSequence]) -> list[TrainSequence]:
    """Mean over the tokens of the batch: each completion token has weight 1 / (completion tokens of the batch)."""
    tokens = sum(len(s.completion_ids) for s in batch)
    return [replace(s, token_weight=1 / tokens) for s in batch]


def _save(learner: Learner, log: MetricsLog, paths: SftPaths, step: int) -> None:
    """Save the state, then the model. In this order, a checkpoint of the model proves that a state was committed."""
    manifest = {"step": step, "metrics_offset": log.offset}
    commit(paths.states / step_name(step), manifest, learner.save_state, keep=KEPT_STATES)
    write_folder(paths.checkpoints / step_name(step), learner.save_hf)
    _write_heldout(log, paths)


def _write_heldout(log: MetricsLog, paths: SftPaths) -> None:
    """Writes the held-out losses in the metrics beside the checkpoints, for the choice of checkpoints by loss."""
    losses = {step_name(line["step"]): line["heldout_loss"] for line in log.lines() if "heldout_loss" in line}
    if losses:
        write_json(paths.heldout, {"heldout_loss": losses})


def _resume(learner: Learner, log: MetricsLog, paths: SftPaths) -> int:
    """Load the newest state and return its number of steps. Later metrics are deleted.

    Raises CheckpointError if a state was committed and none is left, because the trajectory would start over.
    """
    found = newest(paths.states)
    if found is None:
        _refuse_lost_state(paths)
        log.cut(0)
        return 0
    state, manifest = found
    learner.load_state(state)
    log.cut(manifest["metrics_offset"])
    model = paths.checkpoints / state.name
    if not exists(model):
        # The run was interrupted between the state and the model.
        write_folder(model, learner.save_hf)
    _write_heldout(log, paths)
    return manifest["step"]


def _refuse_lost_state(paths: SftPaths) -> None:
    if results := [*step_folders(paths.checkpoints), *damaged_folders(paths.states)]:
        raise CheckpointError(
            f"{paths.states} has no whole checkpoint, but {results[-1]} exists. SFT is not started over: restore a "
            f"copy of the state, or move {paths.folder} away to start SFT over"
        )
