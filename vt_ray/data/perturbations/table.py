"""Perturbations that keep the answer of a problem, by name: what `experiment=robustness` asks beside the originals.

problems --perturbed(name, seed)--> the problems that the perturbation applies to, with their own question ids
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from vt_ray.data.makers.selection import number_twin
from vt_ray.data.perturbations.formulas import with_other_digits, with_renamed_variable
from vt_ray.data.perturbations.hints import with_wrong_hint
from vt_ray.data.perturbations.options import with_reordered_options
from vt_ray.data.perturbations.prose import with_irrelevant_sentence, with_typos, with_white_space
from vt_ray.records import Problem

# A perturbation returns None for a problem that it cannot change, or of which it cannot keep the answer. "number_twin"
# is the exception: another problem of the same family, with its own answer.
PERTURBATIONS: dict[str, Callable[[Problem, Random], Problem | None]] = {
    "typos": with_typos,
    "white_space": with_white_space,
    "irrelevant_sentence": with_irrelevant_sentence,
    "wrong_hint": with_wrong_hint,
    "renamed_variable": with_renamed_variable,
    "other_digits": with_other_digits,
    "reordered_options": with_reordered_options,
    "number_twin": number_twin,
}


def perturbed(problems: Sequence[Problem], name: str, seed: int) -> list[Problem]:
    """The perturbed problems, in order; problems that the perturbation does not apply to are left out.

    The result depends only on the problems, `name` and `seed`. Each has the question id of its original, so that its
    scores are paired with those of the original. Raises ValueError for an unknown name.
    """
    if name not in PERTURBATIONS:
        raise ValueError(f"perturbation {name!r} is none of {', '.join(PERTURBATIONS)}")
    change = PERTURBATIONS[name]
    found = ((p, change(p, Random(f"{seed}/{name}/{p.question_id}"))) for p in problems)
    return [_asked(original, problem) for original, problem in found if problem is not None]


def _asked(original: Problem, problem: Problem) -> Problem:
    """The problem with its question in the user message that the data set prescribes, if it prescribes one."""
    return replace(problem, prompt=original.prompt.replace(original.question, problem.question))
