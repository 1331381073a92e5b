"""Starts a Ray for the run, or joins the Ray at `cluster.ray_address`."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import ray

from vt_ray.actors.process import own_sigterm_handler
from vt_ray.config import ClusterConfig, ConfigError
from vt_ray.planning.placement import asked, gpus_asked, place


def start_ray(cluster: ClusterConfig) -> None:
    # With this setting Ray hides the GPUs from actors that ask for none.
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray gives its workers a low priority: any other process on the machine would stall the training.
    os.environ.setdefault("RAY_worker_niceness", "0")
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.ray_address is None:
        arguments |= {"include_dashboard": False, "object_store_memory": int(cluster.object_store_gb * 2**30)}
        # The actors of one machine share its cores, and the config sets their threads: no actor waits for a free core.
        arguments["num_cpus"] = max(os.cpu_count() or 1, math.ceil(place(cluster).cpus))
    # On SIGTERM Ray would otherwise keep its processes for half a minute, to drain services that a run does not have.
    os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    with own_sigterm_handler():
        ray.init(address=cluster.ray_address or "local", **arguments)


def refuse_too_few_gpus(cluster: ClusterConfig) -> None:
    """Raises ConfigError. No node can join a Ray that the run started itself, so waiting for GPUs is useless."""
    there = int(ray.cluster_resources().get("GPU", 0))
    if cluster.ray_address is None and gpus_asked(cluster) > there:
        raise ConfigError(
            f"cluster asks for {asked(cluster)}, but Ray has {there}: lower cluster.num_generators or "
            "cluster.num_learners, or set cluster.ray_address to a Ray that has more"
        )
