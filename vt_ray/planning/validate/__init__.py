"""Checks of the settings, before Ray starts.

Config --CHECKS--> messages (value, limit, remedy) --validate--> one ConfigError

Most checks need the settings alone; machine.py also checks the GPUs and folders of this machine.
"""

from __future__ import annotations

from vt_ray.config import Config, ConfigError
from vt_ray.planning.validate.curriculum import curriculum
from vt_ray.planning.validate.lora import lora
from vt_ray.planning.validate.machine import cluster, learner, model, placement, transport, verify
from vt_ray.planning.validate.method import data, evaluation, run, signal, spectrum, tracker
from vt_ray.planning.validate.objective import objective
from vt_ray.planning.validate.self_distillation import self_distillation
from vt_ray.planning.validate.tracking import tracking
from vt_ray.planning.validate.weights import weights

CHECKS = (
    *(run, model, data, cluster, placement, learner, lora, spectrum, signal, objective, weights, transport, tracker),
    *(curriculum, self_distillation, evaluation, verify, tracking),
)


def validate(config: Config) -> None:
    """Raise one ConfigError with the messages of all checks, if there are any."""
    found = [message for check in CHECKS for message in check(config)]
    if found:
        raise ConfigError("\n       ".join(found))
