"""SFT: one trajectory on worked solutions of every style, a checkpoint every k steps (section 2).

problems --solutions--> sequences --seeded batches--> learner --every k steps--> checkpoints/step_000120/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.checkpoint import commit, newest, write_folder
from vt_ray.config import ConfigError, SftConfig
from vt_ray.data.stream import batch_indices
from vt_ray.interfaces import Cluster, Learner
from vt_ray.progress import bar
from vt_ray.skipped_steps import SkippedSteps
from vt_ray.tracking import MetricsLog


def run_sft(
    cluster: Cluster, base: Path, examples: Sequence[TrainSequence], sft: SftConfig, seed: int, folder: Path
) -> None:
    """Train from `base`, or from the newest commit in `folder`; write checkpoints/, state/ and metrics.jsonl.

    Raises TrainingDiverged after several steps in a row without an update.
    """
    examples = [e for e in examples if len(e) <= sft.max_tokens]
    if not examples:
        raise ConfigError(
            f"no worked solution of styles {sft.styles} fits in spectrum.sft.max_tokens={sft.max_tokens}: raise it, "
            "or give training problems with solutions"
        )
    log = MetricsLog(folder / "metrics.jsonl")
    with cluster.learner(base, sft.optimizer, sft.steps) as learner:
        start, skipped = _resume(learner, log, folder), SkippedSteps()
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
    return sorted(p for p in (folder / "checkpoints").glob("step_*") if p.suffix != ".partial")


def _weighted(batch: Sequence[TrainSequence]) -> list[TrainSequence]:
    """Token mean over the whole batch: each completion token weighs 1 / (completion tokens of the batch)."""
    tokens = sum(len(s.completion_ids) for s in batch)
    return [replace(s, token_weight=1 / tokens) for s in batch]


def _save(learner: Learner, log: MetricsLog, folder: Path, step: int) -> None:
    name = f"step_{step:06d}"
    model = folder / "checkpoints" / name
    write_folder(model, learner.save_hf)
    manifest = {"step": step, "metrics_offset": log.offset, "model": str(model.relative_to(folder))}
    commit(folder / "state" / name, manifest, learner.save_state, keep=1)


def _resume(learner: Learner, log: MetricsLog, folder: Path) -> int:
    """The step to go on from; metrics beyond it are cut off."""
    found = newest(folder / "state")
    if found is None:
        log.cut(0)
        return 0
    state, manifest = found
    learner.load_state(state)
    log.cut(manifest["metrics_offset"])
    return manifest["step"]
