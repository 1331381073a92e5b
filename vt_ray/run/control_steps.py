"""The SFT steps that take the time of the RL steps of a finished run, for `signal.control_sft_like`.

seconds of all RL steps / median seconds of an SFT step --sft_steps_like--> signal.control_sft_steps
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from vt_ray.config import ConfigError
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.paths import RunPaths


def sft_steps_like(root: Path) -> int:
    """The SFT steps that fit in the time of the RL steps of the run in `root`, at least 1.

    The median is not changed by the first step, which is slow. Raises ConfigError for a run without a summary, without
    SFT or without RL.
    """
    paths = RunPaths(root)
    sft = [line["seconds"] for line in read_lines(paths.sft.metrics)]
    rl = [line["seconds"]["total"] for line in read_lines(paths.metrics)]
    if not (paths.summary.exists() and sft and rl):
        raise ConfigError(
            f"signal.control_sft_like={str(root)!r} is no finished run with SFT and RL ({len(sft)} SFT "
            f"steps, {len(rl)} RL steps): give the folder of such a run, runs/NAME, or set signal.control_sft_steps"
        )
    return max(1, round(sum(rl) / median(sft)))
