"""Where a stage stands: the commit of a step, and the resume from the newest one."""

from __future__ import annotations

from pathlib import Path

from vt_ray.checkpoint import commit, newest
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
    """The step to go on from. Metrics and rollouts beyond the newest commit are cut off: they will come again."""
    found = newest(run.checkpoints)
    if found is None:
        # The stage's start is a commit too: it knows where the metrics of the stage begin.
        run.log.keep(lambda line: line["stage"] != run.stage.name)
        commit_step(run, 0)
        done = 0
    else:
        folder, manifest = found
        done = manifest["step"]
        run.learner.load_state(folder / LEARNER)
        run.tracker.load(folder / TRACKER)
        run.log.cut(manifest["metrics_offset"])
    for file in run.rollouts.glob("step_*"):
        if file.suffix != ".parquet" or file.stem > f"step_{done:06d}":
            file.unlink()
    return done
