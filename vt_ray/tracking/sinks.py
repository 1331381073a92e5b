"""The tracking sinks: TensorBoard, Weights & Biases and MLflow.

A sink receives every record once, in order; when a run resumes, its sink continues. Records are numbered through the
whole run. `step` counts within a series and is the x axis of its charts.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vt_ray.config import TrackingConfig
from vt_ray.run.paths import RunPaths

# The modules that each sink imports. `pip install "vt-ray[tracking]"` installs them all.
MODULES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
WANDB_START_S, WANDB_FINISH_S = 30, 20
MLFLOW_METRICS, MLFLOW_PARAMS = 1000, 100  # limits of one request


@dataclass(frozen=True)
class Record:
    """Figures of one SFT step, RL step or milestone. `series` is sft, rl or eval; `step` rises within it."""

    series: str
    step: int
    values: dict[str, float]


Numbered = Sequence[tuple[int, Record]]


@dataclass(frozen=True)
class RunInfo:
    """Name, tags and config of the run. `run_id` is the sink's id of the run, "" before the sink is first opened."""

    root: Path
    run_name: str
    tags: dict[str, str]
    config: Mapping[str, Any]
    run_id: str


class Sink(Protocol):
    """Sends records to one service. `run_id` is passed back when the sink is opened again for the same run."""

    run_id: str

    def send(self, records: Numbered) -> None: ...

    def close(self, finished: bool) -> None: ...


def open_sink(name: str, tracking: TrackingConfig, run: RunInfo) -> Sink:
    if name == "tensorboard":
        return TensorBoardSink(run)
    if name == "wandb":
        return WandbSink(tracking, run)
    return MlflowSink(tracking, run)


def target(name: str, tracking: TrackingConfig) -> str:
    """Identifies the destination of a sink. A new destination receives all records from the start."""
    details = {"wandb": (tracking.wandb_mode, tracking.project), "mlflow": (tracking.mlflow_uri, tracking.project)}
    return " ".join((name, *details.get(name, ())))


class TensorBoardSink:
    """Writes event files into tensorboard/ of the run folder, and the config as hyper-parameters."""

    def __init__(self, run: RunInfo):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.run_id = run.run_name
        self._writer = SummaryWriter(str(RunPaths(run.root).tensorboard))
        if not run.run_id:
            # Not `add_hparams`, which would create a second run.
            values = {key: str(v) if isinstance(v, list) else v for key, v in flat(run.config, ".").items()}
            for summary in hparams({**values, **run.tags}, {"eval/pass_at_1/mean": 0.0, "rl/reward_mean": 0.0}):
                self._writer._get_file_writer().add_summary(summary)

    def send(self, records: Numbered) -> None:
        for _, record in records:
            for name, value in record.values.items():
                self._writer.add_scalar(f"{record.series}/{name}", value, record.step)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        self._writer.close()


class WandbSink:
    """One W&B run, continued under its id. Each series is drawn over its own step."""

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
            config=dict(run.config),
            tags=[f"{key}={value}" for key, value in run.tags.items()],
            settings=wandb.Settings(
                init_timeout=WANDB_START_S, finish_timeout=WANDB_FINISH_S, silent=True, console="off"
            ),
        )
        for series in ("sft", "rl", "eval"):
            self._run.define_metric(f"{series}/*", step_metric=f"{series}/step")

    def send(self, records: Numbered) -> None:
        for number, record in records:
            values = {f"{record.series}/{name}": value for name, value in record.values.items()}
            # W&B ignores step numbers up to its last one, so that records sent again after a crash are not duplicated.
            self._run.log({**values, f"{record.series}/step": record.step}, step=number)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MlflowSink:
    """One MLflow run in the experiment `project`, continued under its id."""

    def __init__(self, tracking: TrackingConfig, run: RunInfo):
        # The default is to retry for 15 minutes if the server does not answer.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking.mlflow_uri or f"sqlite:///{run.root / 'mlflow.db'}")
        self.run_id = run.run_id or self._create(tracking, run)
        self._client.update_run(self.run_id, status="RUNNING")

    def _create(self, tracking: TrackingConfig, run: RunInfo) -> str:
        from mlflow.entities import Param

        known = self._client.get_experiment_by_name(tracking.project)
        # Without this, artifacts of the run's own database would go into the working directory.
        place = None if tracking.mlflow_uri else (run.root / "mlflow").as_uri()
        experiment = known.experiment_id if known else self._client.create_experiment(tracking.project, place)
        run_id = self._client.create_run(experiment, tags=run.tags, run_name=run.run_name).info.run_id
        params = [Param(key, str(value)) for key, value in flat(run.config, ".").items()]
        for some in _chunks(params, MLFLOW_PARAMS):
            self._client.log_batch(run_id, params=some)
        return run_id

    def send(self, records: Numbered) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(f"{record.series}/{name}", value, now, record.step)
            for _, record in records
            for name, value in record.values.items()
        ]
        for some in _chunks(metrics, MLFLOW_METRICS):
            self._client.log_batch(self.run_id, metrics=some)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")


def flat(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Flattens nested mappings: `{"a": {"b": 1}}` becomes `{"a/b": 1}`. Lists are not changed."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, separator) if isinstance(value, Mapping) else {"": value}
        out |= {f"{key}{separator}{path}" if path else key: leaf for path, leaf in inner.items()}
    return out


def _chunks(items: list, size: int) -> Iterator[list]:
    return (items[start : start + size] for start in range(0, len(items), size))
