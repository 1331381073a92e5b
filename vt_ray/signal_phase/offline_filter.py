"""The filter before a stage drops questions that its start model always or never solves (arXiv 2606.16140).

problems --generator, verifier--> filter/part_000000.json ... --tracker--> problems with some right and some wrong
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vt_ray.algorithms.filters import split_by_signal
from vt_ray.config import ConfigError, StageConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar, console
from vt_ray.records import GradedGroup, Problem, Sampling, Verdict
from vt_ray.run.checkpoint import write_json

# Questions in one part file. An interrupted filter loses the work on at most one part.
CHUNK = 256


def measure_pool(
    stage: StageConfig,
    problems: Sequence[Problem],
    encoder: PromptEncoder,
    key: Sequence[Any],
    generator: Generator,
    verifier: Verifier,
    folder: Path,
) -> list[GradedGroup]:
    """Verdicts of `stage.filter_samples` completions of every problem, from the weights that `generator` holds.

    The verdicts are written to `folder` in parts. Parts of an interrupted attempt are read and not measured again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sampling = Sampling(stage.temperature, stage.top_p, 0, stage.max_new_tokens)
    groups: list[GradedGroup] = []
    with bar(f"filter {stage.name}", len(problems)) as advance:
        for start in range(0, len(problems), CHUNK):
            part, path = problems[start : start + CHUNK], folder / f"part_{start:06d}.json"
            if not path.exists():
                start_time = time.monotonic()
                prompts = encoder.prompts(part, stage.filter_samples, ("filter", *key))
                graded = list(verifier.grade(generator.generate(prompts, sampling)))
                record = {
                    "seconds": time.monotonic() - start_time,
                    "tokens": sum(n for g in graded for n in g.completion_tokens),
                    "statuses": {g.question_id: [v.status for v in g.verdicts] for g in graded},
                }
                write_json(path, record)
            statuses = json.loads(path.read_text())["statuses"]
            groups += [_group(problem, statuses[problem.question_id]) for problem in part]
            advance("", len(part))
    return groups


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


def _group(problem: Problem, statuses: Sequence[Any]) -> GradedGroup:
    """A group with verdicts only, which is enough for the tracker."""
    count = len(statuses)
    verdicts = tuple(Verdict(status) for status in statuses)
    return GradedGroup(problem.question_id, problem.subdomain, verdicts, 0, (0,) * count, (False,) * count, None)
