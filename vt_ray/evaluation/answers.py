"""The final answers of completions, and their equality by the verifier's own rules: the votes of cons@n."""

from __future__ import annotations

from collections.abc import Callable

from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.choice import extract_choice
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.mathematics.grader import MathGrader


def has_answers(kind: str) -> bool:
    """Whether completions of this kind have a final answer that can be voted on. Programs have none."""
    return kind in ("math", "choice")


def final_answer(kind: str, text: str) -> str | None:
    """The final answer in a completion, as the grader of `kind` reads it: LaTeX or a letter; None for no answer."""
    return extract_choice(text) if kind == "choice" else extract_answer(text) if kind == "math" else None


def answer_equality(grader: MathGrader) -> Callable[[str, str], bool]:
    """The equality of two answers by the rules of the math grader. A pair that it cannot compare is different."""

    def equal(first: str, second: str) -> bool:
        try:
            return first == second or grader.verdict(first, second).status == "correct"
        except ChildLost:
            return False

    return equal
