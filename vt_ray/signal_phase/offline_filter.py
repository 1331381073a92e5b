"""The filter before a stage drops questions that its start model always or never solves (arXiv 2606.16140).

problems --generator, verifier--> filter/part_000000.json ... --tracker--> problems with some right and some wrong
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vt_ray.algorithms.filters import split_by_signal
from vt_ray.config import ConfigError, StageConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation.verdicts_in_parts import verdicts_in_parts
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import console
from vt_ray.records import GradedGroup, Problem, Sampling


def measure_pool(
    stage: StageConfig,
    problems: Sequence[Problem],
    encoder: PromptEncoder,
    key: Sequence[Any],
    generator: Generator,
    verifier: Verifier,
    folder: Path,
) -> list[GradedGroup]:
    """Verdicts of `stage.filter_samples` completions of every problem, written to `folder` in parts."""
    sampling = Sampling(stage.temperature, stage.top_p, 0, stage.max_new_tokens, logprobs=False)
    title, key = f"filter {stage.name}", ("filter", *key)
    return verdicts_in_parts(title, problems, encoder, stage.filter_samples, sampling, key, generator, verifier, folder)


def filtered(stage: StageConfig, problems: Sequence[Problem], groups: Sequence[GradedGroup]) -> list[Problem]:
    """The problems whose groups have a signal (right and wrong answers). Raises ConfigError if none is left."""
    kept, dropped = split_by_signal(groups)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(dropped.values()).items()))
    if not kept:
        raise ConfigError(
            f"the filter of stage {stage.name} leaves none of {len(problems)} problems ({reasons}): raise its "
            "filter_samples, set it to 0, or give problems that its start model sometimes solves"
        )
    console.print(f"filter {stage.name}: {len(kept)} of {len(problems)} problems kept; {reasons or 'none dropped'}")
    if len(kept) < stage.prompts_per_step:
        console.print(f"[yellow]a step of {stage.name} takes {len(kept)} problems, not {stage.prompts_per_step}[/]")
    kept_ids = set(kept)
    return [problem for problem in problems if problem.question_id in kept_ids]
