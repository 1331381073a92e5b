"""Verdicts of many problems, measured part by part: an interrupted measurement loses the work on at most one part.

problems --generator, verifier--> part_000000.json, part_000256.json, ... --> groups with verdicts only
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar
from vt_ray.records import GradedGroup, Problem, Sampling, Verdict
from vt_ray.run.checkpoint import write_json

# Questions in one part file.
CHUNK = 256


def verdicts_in_parts(
    title: str,
    problems: Sequence[Problem],
    encoder: PromptEncoder,
    samples: int,
    sampling: Sampling,
    key: Sequence[Any],
    generator: Generator,
    verifier: Verifier,
    folder: Path,
) -> list[GradedGroup]:
    """Verdicts of `samples` completions of every problem, from the weights that `generator` holds.

    The verdicts are written to `folder` in parts. Parts of an interrupted attempt are read and not measured again. The
    seeds are a function of `key` and the question; `title` is the name of the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups: list[GradedGroup] = []
    with bar(title, len(problems)) as advance:
        for start in range(0, len(problems), CHUNK):
            part, path = problems[start : start + CHUNK], folder / f"part_{start:06d}.json"
            if not path.exists():
                start_time = time.monotonic()
                graded = list(verifier.grade(generator.generate(encoder.prompts(part, samples, key), sampling)))
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


def _group(problem: Problem, statuses: Sequence[Any]) -> GradedGroup:
    """A group with verdicts only, which is enough for the tracker."""
    count = len(statuses)
    verdicts = tuple(Verdict(status) for status in statuses)
    return GradedGroup(problem.question_id, problem.subdomain, verdicts, 0, (0,) * count, (False,) * count, None)
