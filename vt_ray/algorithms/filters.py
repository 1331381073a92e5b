"""placeholder until merge"""

from collections.abc import Sequence

from vt_ray.records import GradedGroup


def split_by_signal(groups: Sequence[GradedGroup]) -> tuple[list[str], dict[str, str]]:
    kept = []
    dropped = {}
    for g in groups:
        r = [v.reward for v in g.verdicts if v.valid]
        if not r:
            dropped[g.question_id] = "unverified"
        elif min(r) == max(r):
            dropped[g.question_id] = "solved" if r[0] else "unsolved"
        else:
            kept.append(g.question_id)
    return kept, dropped
