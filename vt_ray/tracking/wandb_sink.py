"""Weights & Biases: one run, continued under its id."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from vt_ray.config import TrackingConfig
from vt_ray.tracking.completions import COLUMNS
from vt_ray.tracking.sinks import Numbered, RunInfo

START_S, FINISH_S = 30, 20


class WandbSink:
    """Each series is drawn over its own step. The run has an id of this project: W&B resumes it under this id."""

    def __init__(self, tracking: TrackingConfig, run: RunInfo):
        import wandb

        mode: Any = tracking.wandb_mode
        self.run_id = run.run_id or uuid.uuid4().hex[:12]
        self._run = wandb.init(
            project=tracking.project,
            name=run.run_name,
            id=self.run_id,
            resume="allow",
            mode=mode,
            dir=str(run.root),
            group=tracking.group or None,
            job_type=tracking.job_type or None,
            config=dict(run.config),
            tags=[f"{key}={value}" if value else key for key, value in run.tags.items()],
            settings=wandb.Settings(init_timeout=START_S, finish_timeout=FINISH_S, silent=True, console="off"),
        )
        for series in ("sft", "rl", "eval"):
            self._run.define_metric(f"{series}/*", step_metric=f"{series}/step")

    def send(self, records: Numbered) -> None:
        import wandb

        for number, record in records:
            values: dict[str, Any] = {f"{record.series}/{name}": value for name, value in record.values.items()}
            if record.completions:
                rows = [list(row) for row in record.completions]
                values[f"{record.series}/completions"] = wandb.Table(columns=list(COLUMNS), data=rows)
            # W&B ignores step numbers up to its last one, so that records sent again after a crash are not duplicated.
            self._run.log({**values, f"{record.series}/step": record.step}, step=number)

    def send_report(self, report: Path) -> None:
        """A report with the same content as the last one makes no new version of the artifact."""
        import wandb

        artifact = wandb.Artifact(f"report-{self.run_id}", type="report")
        artifact.add_file(str(report))
        self._run.log_artifact(artifact)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
