"""Every check that needs no machine: a bad value is refused before Ray starts, with its limit and the remedy."""

from __future__ import annotations

from vt_ray.config import Config, ConfigError
from vt_ray.planning.validate.curriculum import curriculum
from vt_ray.planning.validate.machine import cluster, learner, model, placement, tracking, transport, verify
from vt_ray.planning.validate.method import data, evaluation, run, signal, spectrum, tracker

CHECKS = (
    *(run, model, data, cluster, placement, learner, spectrum, signal, transport, tracker, curriculum),
    *(evaluation, verify, tracking),
)


def validate(config: Config) -> None:
    """Raises one ConfigError that lists everything wrong."""
    found = [message for check in CHECKS for message in check(config)]
    if found:
        raise ConfigError("\n       ".join(found))
