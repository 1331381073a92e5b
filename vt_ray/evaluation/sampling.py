"""Sample n answers to each of many problems and count the correct ones: what probing and evaluation share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vt_ray.algorithms.pass_at_k import pass_at_k
from vt_ray.records import GradedGroup, Problem, Sampling

# Only names of types: who reads scores need not load torch.
if TYPE_CHECKING:
    from vt_ray.data.prompts import PromptEncoder
    from vt_ray.interfaces import Generator, Verifier


@dataclass(frozen=True)
class Score:
    """Counts of one question. `valid` samples have a verdict; the others count nowhere."""

    question_id: str
    subdomain: str
    correct: int
    valid: int
    samples: int
    truncated: int
    tokens: int

    @property
    def pass_at_1(self) -> float:
        return self.correct / self.valid

    def pass_at(self, k: int) -> float:
        """Unbiased Pass@k; where verdicts are missing, of as many samples as have one."""
        return pass_at_k(self.valid, self.correct, min(k, self.valid))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample_scores(
    generator: Generator,
    verifier: Verifier,
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    samples: int,
    sampling: Sampling,
    key: Sequence[Any],
) -> Iterable[Score]:
    """One Score a problem, as they come. Seeds follow from `key`, so the same call gives the same answers.

    A problem without any verdict has `valid` 0: averages leave it out, and `without_verdict` counts it.
    """
    prompts = encoder.prompts(problems, samples, key)
    for group in verifier.grade(generator.generate(prompts, sampling)):
        yield _score(group)


def mean(values: Iterable[float]) -> float:
    """0 for no values: a subdomain without a verdict has no specialist to prefer."""
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def scored(scores: Iterable[Score]) -> list[Score]:
    """Those with at least one verdict. Raises RuntimeError where there is none at all: the verifier has failed."""
    found = [s for s in scores if s.valid]
    if not found:
        raise RuntimeError("not one problem has a verdict: the verifier failed on all of them, see logs/verifier_*.log")
    return found


def _score(group: GradedGroup) -> Score:
    return Score(
        question_id=group.question_id,
        subdomain=group.subdomain,
        correct=int(sum(group.rewards)),
        valid=sum(group.valid),
        samples=len(group.verdicts),
        truncated=sum(group.truncated),
        tokens=sum(group.completion_tokens),
    )
