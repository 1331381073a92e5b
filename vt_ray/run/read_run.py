"""The settings of a run from its folder, for commands that only read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vt_ray.run.identity import rename_importance
from vt_ray.run.paths import RunPaths


def read_run(root: Path) -> tuple[dict[str, Any], Any]:
    """Returns the content of run.json and of config.yaml, the latter as OmegaConf reads it.

    Raises FileNotFoundError if one of them is missing, ValueError if one is damaged; the message names the remedy.
    """
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    paths = RunPaths(root)
    if not paths.run_json.is_file():
        raise FileNotFoundError(f"{root} is not a run folder (it has no run.json): pass a folder such as runs/demo")
    if not paths.config.is_file():
        raise FileNotFoundError(f"{paths.config} is missing: put a copy of it back, or pass another run")
    try:
        known = json.loads(paths.run_json.read_text(encoding="utf-8"))
        config = _in_new_names(OmegaConf.load(paths.config))
    except (ValueError, YAMLError) as error:
        raise ValueError(f"{root}: run.json or config.yaml is damaged ({error}): put a copy of it back") from error
    if not isinstance(known, dict) or not isinstance(config, DictConfig):
        raise ValueError(f"{root}: run.json or config.yaml holds no settings: put a copy of it back")
    return known, config


def _in_new_names(config: Any) -> Any:
    """The settings of an older run, in which `signal.mgpo.importance` was one number."""
    from omegaconf import DictConfig, OmegaConf

    mgpo = OmegaConf.select(config, "signal.mgpo") if isinstance(config, DictConfig) else None
    if isinstance(mgpo, DictConfig):
        rename_importance(mgpo)
    return config
