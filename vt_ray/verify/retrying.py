"""Which verdicts are worth a second try elsewhere: those that are the verifier's fault and not the problem's."""

from __future__ import annotations

from vt_ray.records import Verdict

# How the reasons begin that another worker would give as well.
_FAULTS_OF_THE_PROBLEM = (
    "gold unreadable",
    "malformed tests",
    "check tests need",
    "kind ",
    "refused",
)


def worth_retrying(verdict: Verdict) -> bool:
    """Whether another worker may know better. A reason not listed here is tried again: that costs time, no verdict."""
    return verdict.status == "unverified" and not verdict.reason.startswith(_FAULTS_OF_THE_PROBLEM)
