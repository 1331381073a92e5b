"""The graded samples of one probing problem, and the figures of a problem: Pass@K, different answers and paths.

GradedGroup, its texts --> ProbeScore (an entry of probe/<checkpoint>.json) --CRITERIA, DIVERSITY--> figures
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any

from vt_ray.algorithms.pass_at_k import expected_distinct
from vt_ray.evaluation.answers import final_answer, has_answers
from vt_ray.evaluation.sampling import Score, score_of
from vt_ray.records import GradedGroup, Rollouts, Status
from vt_ray.spectrum_phase.solution_paths import solution_path

# A longer answer is stored as its beginning.
MAX_ANSWER = 200


@dataclass(frozen=True)
class ProbeScore(Score):
    """A score with one entry for each sample, in the order of the seeds. Files of older versions have no entries.

    answers: the final answer as text, None for a sample without an answer. Empty for code.
    paths: the hash of the solution path (`solution_paths.solution_path`), "" for a truncated sample.
    """

    verdicts: Sequence[Status] = ()
    answers: Sequence[str | None] = ()
    paths: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe_score(group: GradedGroup, rollouts: Rollouts) -> ProbeScore:
    """The score of a graded group with its texts."""
    problem = rollouts.problem
    whole = [None if c.finish_reason == "length" else c.text for c in rollouts.completions]
    answers: list[str | None] = []
    if has_answers(problem.kind):
        answers = [_short(final_answer(problem, text)) if text is not None else None for text in whole]
    return ProbeScore(
        **score_of(group).as_dict(),
        verdicts=[verdict.status for verdict in group.verdicts],
        answers=answers,
        paths=["" if text is None else solution_path(problem.kind, text) for text in whole],
    )


def read_scores(path: Path) -> list[ProbeScore]:
    """The scores in a file of the probing phase, also of an older version; [] if the file does not exist."""
    record = json.loads(path.read_text()) if path.exists() else {"scores": []}
    return [ProbeScore(**score) for score in record["scores"]]


def pass_at(score: ProbeScore, k: int) -> float:
    return score.pass_at(k)


def pass_at_1(score: ProbeScore, k: int) -> float:
    return score.pass_at_1


def distinct_paths(score: ProbeScore, k: int) -> float | None:
    """The expected number of different correct solution paths among k samples; None without stored paths."""
    if not score.paths:
        return None
    pairs = zip(score.verdicts, score.paths, strict=True)
    counts = Counter(path for verdict, path in pairs if verdict == "correct")
    return expected_distinct(score.valid, counts.values(), min(k, score.valid))


def distinct_answers(score: ProbeScore, k: int) -> float | None:
    """The expected number of different answers among k samples with a verdict; None without stored answers.

    All correct answers are one. Wrong answers are equal if their texts are equal without spaces. Samples without an
    answer are not counted.
    """
    return expected_distinct(score.valid, _answers(score).values(), min(k, score.valid)) if score.answers else None


def answer_entropy(score: ProbeScore, k: int) -> float | None:
    """The entropy in nats of the answers of all samples, which does not depend on `k`; None without stored answers."""
    if not score.answers:
        return None
    counts = _answers(score)
    total = counts.total()
    return abs(sum(-count / total * log(count / total) for count in counts.values()))


def diversity(score: ProbeScore, k: int) -> float:
    """`distinct_paths` divided by k: in [0, 1], and 1 if all samples are correct by different paths."""
    return (distinct_paths(score, k) or 0.0) / k


Value = Callable[[ProbeScore, int], float]
# The figure of one problem, in [0, 1], that a criterion of `spectrum.probe.criterion` compares. The criterion
# heldout_loss has no figure for each problem.
CRITERIA: Mapping[str, Value] = {"pass_at_k": pass_at, "pass_at_1": pass_at_1, "diversity": diversity}
# The figures of diversity by their names in probe.json.
DIVERSITY: Mapping[str, Callable[[ProbeScore, int], float | None]] = {
    "distinct_paths": distinct_paths,
    "distinct_answers": distinct_answers,
    "answer_entropy": answer_entropy,
}


def _answers(score: ProbeScore) -> Counter[str]:
    pairs = zip(score.verdicts, score.answers, strict=True)
    # A correct answer gets a key that no text without spaces can be.
    keys = (" correct" if v == "correct" else "".join((a or "").split()) for v, a in pairs if v != "unverified")
    return Counter(key for key in keys if key)


def _short(answer: str | None) -> str | None:
    return answer if answer is None else answer[:MAX_ANSWER]
