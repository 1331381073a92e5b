"""The graded samples of one problem: one line of a results file, from which every figure of a benchmark is computed.

completions --verifier--> ProblemResult (JSON line) --summary.benchmark_summary--> the figures of summary.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from vt_ray.algorithms.pass_at_k import pass_at_k
from vt_ray.evaluation.voting import majority_score
from vt_ray.records import Status

STATUSES = frozenset(get_args(Status))


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """The samples of one problem. Every sequence has one entry for each sample, in the order of the seeds.

    verdicts: "correct", "wrong" or "unverified". An unverified sample counts in no accuracy.
    answers: the final answer as text, None for a sample without an answer. Empty for code.
    classes: the number of the answer's class, None for no answer (`voting.answer_classes`). Empty: no majority vote.
    tokens: the length of the completion in tokens.
    truncated: whether the completion reached the token limit.
    loops: whether the completion ends in a repetition loop (`repetition.ends_in_loop`).
    level: a level of difficulty, None if the problem has none.
    date: the date of the problem, "2025-02-01" or "2025-02", "" if it has none.

    Raises ValueError if two sequences differ in length, for an unknown verdict, or if there is no sample.
    """

    question_id: str
    subdomain: str
    verdicts: Sequence[Status]
    tokens: Sequence[int]
    truncated: Sequence[bool]
    answers: Sequence[str | None] = ()
    classes: Sequence[int | None] = ()
    loops: Sequence[bool] = ()
    level: int | str | None = None
    date: str = ""

    def __post_init__(self) -> None:
        samples = len(self.verdicts)
        if not samples:
            raise ValueError(f"result of {self.question_id}: verdicts is empty, at least one sample is needed")
        if unknown := set(self.verdicts) - STATUSES:
            known, first = ", ".join(sorted(STATUSES)), min(map(str, unknown))
            raise ValueError(f"result of {self.question_id}: verdict {first!r} is none of {known}")
        for name in ("tokens", "truncated", "answers", "classes", "loops"):
            length = len(getattr(self, name))
            if length != samples and (length or name in ("tokens", "truncated")):
                raise ValueError(f"result of {self.question_id}: {name} has {length} entries for {samples} verdicts")

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> ProblemResult:
        """The result of a JSON object. Other keys of the object are ignored."""
        return cls(**{f.name: line[f.name] for f in fields(cls) if f.name in line})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def valid(self) -> int:
        """The number of samples with a verdict."""
        return sum(v != "unverified" for v in self.verdicts)

    @property
    def correct(self) -> int:
        return sum(v == "correct" for v in self.verdicts)

    def pass_at(self, k: int) -> float:
        """Unbiased Pass@k, with k at most the number of samples with a verdict. Needs at least one verdict."""
        return pass_at_k(self.valid, self.correct, min(k, self.valid))

    def correct_within(self, budget: int) -> float:
        """The accuracy if each completion were cut after `budget` tokens: a longer completion counts as wrong."""
        pairs = zip(self.verdicts, self.tokens, strict=True)
        return sum(v == "correct" and tokens <= budget for v, tokens in pairs) / self.valid

    @property
    def voting(self) -> list[int]:
        """The places of the samples that vote: those with an answer and a verdict."""
        pairs = zip(self.classes, self.verdicts, strict=bool(self.classes))
        return [place for place, (number, v) in enumerate(pairs) if number is not None and v != "unverified"]

    def consensus(self, weights: Sequence[float] | None = None) -> float | None:
        """The score of the majority vote over the samples with a verdict (cons@n); None without answer classes.

        With `weights`, each sample's vote counts as much as its weight.
        """
        return majority_score(self.classes, self.verdicts, weights) if self.classes else None
