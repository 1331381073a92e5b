"""Finds gold answers that the math grader cannot read: every completion for them would be `unverified`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import MathGrader

# The parser refuses this answer: the gold is parsed, but nothing is compared, so the time limit has no influence.
_NO_ANSWER = "?7919?"


def unreadable_golds(golds: Iterable[str]) -> set[str]:
    """Returns the gold answers (LaTeX) that cannot be read. Numbers are checked here, others in the child process.

    Raises ValueError if the child process cannot be started.
    """
    try:
        with closing(MathGrader(Limits())) as process:
            return {gold for gold in golds if process.verdict(gold, _NO_ANSWER).status == "unverified"}
    except ChildLost as error:
        raise ValueError(f"the gold answers cannot be checked: {error}") from error
