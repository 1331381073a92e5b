"""Worked solutions for a share of the training questions, answers for all.

Worked solutions are expensive and answers are cheap: SFT learns the solutions that are kept, RL asks all questions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from vt_ray.records import Problem


def with_solved_share(problems: Sequence[Problem], share: float, seed: int) -> list[Problem]:
    """Returns all problems, with worked solutions for `share` of the solved ones in each subdomain, rounded up.

    The choice depends on the seed and the question ids alone. A smaller share keeps a subset of a larger one. Raises
    ValueError if `share` is below 1 and no problem has a worked solution.
    """
    if share == 1:
        return list(problems)
    solved: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.solutions:
            solved[problem.subdomain].append(problem.question_id)
    if not solved:
        raise ValueError(
            f"data.solved_share={share}, but no training problem has a worked solution: set it to 1; the traces of a "
            "source are limited by its max_rows"
        )
    kept = {question for ids in solved.values() for question in _chosen(ids, share, seed)}
    return [p if p.question_id in kept else replace(p, solutions=()) for p in problems]


def _chosen(ids: Sequence[str], share: float, seed: int) -> list[str]:
    """Returns the first `share` of the ids in the order of their hashes."""
    ordered = sorted(ids, key=lambda question: sha256(f"{seed}/{question}".encode()).digest())
    # Rounded before the ceiling, so that 0.3 of 10 is 3.
    return ordered[: math.ceil(round(share * len(ids), 6))]
