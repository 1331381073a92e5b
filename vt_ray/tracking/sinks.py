"""What the sinks have in common: records, the run, the protocol, and the names of the sinks.

A sink receives every record once, in order; when a run resumes, its sink continues. Records are numbered through the
whole run. `step` counts within a series and is the x axis of its charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vt_ray.config import TrackingConfig

# The modules that each sink imports. `pip install "vt-ray[tracking]"` installs them all.
MODULES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


@dataclass(frozen=True)
class Record:
    """Figures of one SFT step, RL step or milestone. `series` is sft, rl or eval; `step` rises within it.

    rollouts: the file of the completions of an RL step.
    completions: rows with the columns of completions.COLUMNS, if a table is due at this step.
    """

    series: str
    step: int
    values: dict[str, float]
    rollouts: Path | None = None
    completions: Sequence[Sequence[Any]] = ()


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

    def send_report(self, report: Path) -> None: ...

    def close(self, finished: bool) -> None: ...


def open_sink(name: str, tracking: TrackingConfig, run: RunInfo) -> Sink:
    if name == "tensorboard":
        from vt_ray.tracking.tensorboard_sink import TensorBoardSink

        return TensorBoardSink(run)
    if name == "wandb":
        from vt_ray.tracking.wandb_sink import WandbSink

        return WandbSink(tracking, run)
    from vt_ray.tracking.mlflow_sink import MlflowSink

    return MlflowSink(tracking, run)


def target(name: str, tracking: TrackingConfig) -> str:
    """Identifies the destination of a sink. A new destination receives all records from the start."""
    details = {"wandb": (tracking.wandb_mode, tracking.project), "mlflow": (tracking.mlflow_uri, tracking.project)}
    return " ".join((name, *details.get(name, ())))


def flat(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Flattens nested mappings: `{"a": {"b": 1}}` becomes `{"a/b": 1}`. Lists are not changed."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, separator) if isinstance(value, Mapping) else {"": value}
        out |= {f"{key}{separator}{path}" if path else key: leaf for path, leaf in inner.items()}
    return out
