"""MLflow: one run in the experiment `tracking.project`, continued under its id."""

from __future__ import annotations

import csv
import io
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vt_ray.config import TrackingConfig
from vt_ray.run.paths import step_name
from vt_ray.tracking.completions import COLUMNS
from vt_ray.tracking.sinks import Numbered, RunInfo, flat

MAX_METRICS, MAX_PARAMS = 1000, 100  # limits of one request
MAX_NAME = 250


class MlflowSink:
    """Sends metrics, completions as CSV files (MLflow shows them as tables), and the report as artifacts."""

    def __init__(self, tracking: TrackingConfig, run: RunInfo):
        # The default is to retry for 15 minutes if the server does not answer.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient
        from mlflow.entities import RunTag

        self._client = MlflowClient(tracking.mlflow_uri or f"sqlite:///{run.root / 'mlflow.db'}")
        self.run_id = run.run_id or self._create(tracking, run)
        self._client.update_run(self.run_id, status="RUNNING")
        groups = {"group": tracking.group, "job_type": tracking.job_type}
        tags = run.tags | {name: value for name, value in groups.items() if value}
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _create(self, tracking: TrackingConfig, run: RunInfo) -> str:
        from mlflow.entities import Param

        known = self._client.get_experiment_by_name(tracking.project)
        # Without this, artifacts of the run's own database would go into the working directory.
        place = None if tracking.mlflow_uri else (run.root / "mlflow").as_uri()
        experiment = known.experiment_id if known else self._client.create_experiment(tracking.project, place)
        run_id = self._client.create_run(experiment, run_name=run.run_name).info.run_id
        params = {mlflow_name(key): str(value) for key, value in flat(run.config, ".").items()}
        for some in _chunks([Param(*param) for param in params.items()], MAX_PARAMS):
            self._client.log_batch(run_id, params=some)
        return run_id

    def send(self, records: Numbered) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(mlflow_name(f"{record.series}/{name}"), value, now, record.step)
            for _, record in records
            for name, value in record.values.items()
        ]
        for some in _chunks(metrics, MAX_METRICS):
            self._client.log_batch(self.run_id, metrics=some)
        for _, record in records:
            if record.completions:
                self._client.log_text(
                    self.run_id, _csv(record.completions), f"completions/{step_name(record.step)}.csv"
                )

    def send_report(self, report: Path) -> None:
        self._client.log_artifact(self.run_id, str(report))

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")


def mlflow_name(name: str) -> str:
    """`name` with `_` in place of characters that MLflow refuses, such as in the name of a subdomain."""
    parts = [re.sub(r"[^\w\-. :]", "_", part) for part in name.split("/")]
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)[:MAX_NAME]


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    return text.getvalue()


def _chunks(items: list, size: int) -> Iterator[list]:
    return (items[start : start + size] for start in range(0, len(items), size))
