"""Checks of the section tracking: the sinks and their packages, and what they are to receive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

from vt_ray.config import Config, TrackingConfig
from vt_ray.planning.validate.rules import Problems, at_least, one_of
from vt_ray.tracking.sinks import MODULES

# Limits of W&B. The names of MLflow's tags allow these characters.
MAX_NAME, MAX_TAG = 128, 64
NOT_IN_PROJECT = "/\\#?%:"
TAG = re.compile(r"\w[\w. -]*(=.*)?")
# Tags that each run has, and tags that MLflow sets itself.
OWN_TAGS = ("seed", "weight", "lambda", "group", "job_type")


def tracking(c: Config) -> Problems:
    t = c.tracking
    yield from _sinks(t)
    yield from one_of("tracking.wandb_mode", t.wandb_mode, ("online", "offline"))
    if not t.project:
        yield "tracking.project is empty: name W&B's project and MLflow's experiment, such as vt_ray"
    if "wandb" in t.sinks and (len(t.project) > MAX_NAME or set(t.project) & set(NOT_IN_PROJECT)):
        yield (
            f"tracking.project={t.project!r} is no project of W&B: at most {MAX_NAME} characters, none of "
            f"{' '.join(NOT_IN_PROJECT)}"
        )
    if t.mlflow_uri and ("://" not in t.mlflow_uri or t.mlflow_uri.startswith("file:")):
        yield (
            f"tracking.mlflow_uri={t.mlflow_uri!r} must be a server or a database (MLflow no longer writes plain "
            "folders): http://host:5000, sqlite:////folder/mlflow.db, or empty for mlflow.db in the run's folder"
        )
    for name in ("group", "job_type"):
        if len(value := getattr(t, name)) > MAX_NAME:
            yield f"tracking.{name} has {len(value)} characters: shorten it to at most {MAX_NAME}"
    yield from _tags(t.tags)
    yield from at_least("tracking.completions_every", t.completions_every, 0)
    yield from _without_receiver(t)


def _sinks(t: TrackingConfig) -> Iterator[str]:
    for sink in t.sinks:
        yield from one_of("tracking.sinks", sink, tuple(MODULES))
        if t.sinks.count(sink) > 1:
            yield f"tracking.sinks={t.sinks} names {sink} more than once: name it once"
        for module in MODULES.get(sink, ()):
            if find_spec(module) is None:
                yield (
                    f"tracking.sinks={t.sinks} needs the module {module}, which is not installed: "
                    f"pip install 'vt-ray[tracking]', or leave {sink} out"
                )


def _tags(tags: list[str]) -> Iterator[str]:
    names = [tag.partition("=")[0] for tag in tags]
    for tag, name in zip(tags, names, strict=True):
        if len(tag) > MAX_TAG or not TAG.fullmatch(tag):
            yield (
                f"tracking.tags: {tag!r} must be NAME or NAME=VALUE with at most {MAX_TAG} characters, and NAME has "
                "only letters, digits, spaces and _ . -"
            )
        elif name in OWN_TAGS or name.startswith("mlflow."):
            yield f"tracking.tags: {tag!r} has a name that the run or MLflow sets itself: take another name"
        elif names.count(name) > 1:
            yield f"tracking.tags={tags} names {name} more than once: name it once"


def _without_receiver(t: TrackingConfig) -> Iterator[str]:
    if t.completions_every > 0 and not t.sinks:
        yield (
            f"tracking.completions_every={t.completions_every} without tracking.sinks sends nothing: name a sink, such "
            "as tracking.sinks=[tensorboard], or take 0"
        )
    if t.report and not {"wandb", "mlflow"} & set(t.sinks):
        yield f"tracking.report=true with tracking.sinks={t.sinks}: add wandb or mlflow, or take false"
