"""The commit of a step of a stage, and the resume from the newest commit."""

from __future__ import annotations

from pathlib import Path

from vt_ray.run.checkpoint import CheckpointError, commit, newest, step_entries
from vt_ray.run.paths import step_name
from vt_ray.signal_phase.saved_models import drop_after
from vt_ray.signal_phase.stage_run import StageRun

TRACKER = "tracker.parquet"
LEARNER = "learner"


def commit_step(run: StageRun, done: int) -> None:
    """Save the learner and the tracker after `done` steps of the stage. The manifest is written last."""

    def write_state(folder: Path) -> None:
        run.learner.save_state(folder / LEARNER)
        run.tracker.save(folder / TRACKER)

    manifest = {
        "stage": run.stage.name,
        "step": done,
        "weight_version": run.first_version + done,
        # No random state is saved: every seed is a function of (seed, stage, step, question, sample).
        "seed": run.seed,
        "signal_seed": run.signal.seed,
        "metrics_offset": run.log.offset,
        "rollouts_end": run.paths.rollout_file(done).name,
    }
    folder = run.paths.checkpoints / step_name(done)
    commit(folder, manifest, write_state, keep=run.signal.keep_checkpoints)


def resume(run: StageRun) -> int:
    """Load the newest commit and return its number of steps. Later metrics, rollouts, saved models and held-out scores
    are deleted: their steps run again.

    Raises CheckpointError if the stage has metrics or rollouts but no commit is left, because it would start over.
    """
    found = newest(run.paths.checkpoints)
    if found is None:
        _refuse_lost_commits(run)
        # The start of the stage is committed too: its manifest has the offset at which the stage's metrics begin.
        commit_step(run, 0)
        done = 0
    else:
        folder, manifest = found
        done = manifest["step"]
        run.learner.load_state(folder / LEARNER)
        run.tracker.load(folder / TRACKER)
        run.log.cut(manifest["metrics_offset"])
    for file in step_entries(run.paths.rollouts):
        if file.suffix != ".parquet" or file.stem > step_name(done):
            file.unlink()
    drop_after(run, done)
    return done


def _refuse_lost_commits(run: StageRun) -> None:
    """Raise CheckpointError if the stage has results without a commit. Step 0 is committed before its first result."""
    lines = sum(line["stage"] == run.stage.name for line in run.log.lines())
    if not lines and not step_entries(run.paths.rollouts):
        return
    raise CheckpointError(
        f"{run.paths.checkpoints} has no whole checkpoint, but stage {run.stage.name} has {lines} steps in "
        f"{run.log.path} or rollouts in {run.paths.rollouts}. The stage is not started over: restore a copy of a "
        "checkpoint (a folder named .damaged failed its check), or give another run_name=..., which shares the phases "
        "before RL. To start this stage over in this run, move its rollouts and its lines in the metrics away"
    )
