"""Which gold answers the math verifier cannot read: each completion for one of them would be `unverified`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from vt_ray.verify.child.standby import ChildLost
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import MathGrader

# An answer that the parser refuses: the gold is parsed, and nothing is compared, so that no time limit decides.
_NO_ANSWER = "?7919?"


def unreadable_golds(golds: Iterable[str]) -> set[str]:
    """Those of `golds` (LaTeX) that cannot be read. Numbers are decided here, all else in the algebra's process.

    Raises ValueError where that process cannot be started.
    """
    try:
        with closing(MathGrader(Limits())) as process:
            return {gold for gold in golds if process.verdict(gold, _NO_ANSWER).status == "unverified"}
    except ChildLost as error:
        raise ValueError(f"the gold answers cannot be checked: {error}") from error
