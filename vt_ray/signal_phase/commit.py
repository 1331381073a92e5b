"""Where a stage stands: the commit of a step, and the resume from the newest one."""

from __future__ import annotations

from pathlib import Path

from vt_ray.run.checkpoint import CheckpointError, commit, newest, step_entries
from vt_ray.signal_phase.stage_run import StageRun

TRACKER = "tracker.parquet"
LEARNER = "learner"


def commit_step(run: StageRun, done: int) -> None:
    """`done` steps of the stage are done: all that belongs to the last of them, its manifest written last."""

    def write_state(folder: Path) -> None:
        run.learner.save_state(folder / LEARNER)
        run.tracker.save(folder / TRACKER)

    manifest = {
        "stage": run.stage.name,
        "step": done,
        "weight_version": run.first_version + done,
        # No random state: every seed follows from (seed, stage, step, question, sample).
        "seed": run.seed,
        "signal_seed": run.signal.seed,
        "metrics_offset": run.log.offset,
        "rollouts_end": run.rollout_file(done - 1).name,
    }
    folder = run.checkpoints / f"step_{done:06d}"
    commit(folder, manifest, write_state, keep=run.signal.keep_checkpoints)


def resume(run: StageRun) -> int:
    """The step to go on from. Metrics and rollouts beyond the newest commit are cut off: they will come again.

    Raises CheckpointError where the stage has metrics or rollouts and no commit is left: it would start anew.
    """
    found = newest(run.checkpoints)
    if found is None:
        _refuse_lost_commits(run)
        # The stage's start is a commit too: it knows where the metrics of the stage begin.
        commit_step(run, 0)
        done = 0
    else:
        folder, manifest = found
        done = manifest["step"]
        run.learner.load_state(folder / LEARNER)
        run.tracker.load(folder / TRACKER)
        run.log.cut(manifest["metrics_offset"])
    for file in step_entries(run.rollouts):
        if file.suffix != ".parquet" or file.stem > f"step_{done:06d}":
            file.unlink()
    return done


def _refuse_lost_commits(run: StageRun) -> None:
    """The commit of step 0 comes before every rollout and every line of the metrics."""
    lines = sum(line["stage"] == run.stage.name for line in run.log.lines())
    if not lines and not step_entries(run.rollouts):
        return
    raise CheckpointError(
        f"{run.checkpoints} holds no whole checkpoint, but stage {run.stage.name} has {lines} steps in {run.log.path} "
        f"and rollouts in {run.rollouts}. The stage is not started anew over them: put a copy of a checkpoint back (a "
        "folder named .damaged did not pass the check), or give another run_name=..., which shares the phases before "
        "RL. To begin this stage anew in place, move its rollouts and its lines in the metrics away"
    )
