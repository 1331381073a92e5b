"""Sample n answers to each problem and count the correct ones, for probing and for evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vt_ray.algorithms.pass_at_k import pass_at_k
from vt_ray.records import GradedGroup, Problem, Prompt, Sampling

# For annotations only: a report reads scores without loading torch.
if TYPE_CHECKING:
    from vt_ray.data.prompts import PromptEncoder
    from vt_ray.interfaces import Generator, Verifier


@dataclass(frozen=True)
class Score:
    """Counts of one question. `valid` is the number of samples with a verdict. Other samples do not count."""

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
        """Unbiased Pass@k, with k at most the number of samples with a verdict."""
        return pass_at_k(self.valid, self.correct, min(k, self.valid))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


AnyScore = TypeVar("AnyScore", bound=Score)


def sample_scores(
    generator: Generator,
    verifier: Verifier,
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    samples: int,
    sampling: Sampling,
    key: Sequence[Any],
) -> Iterable[Score]:
    """One Score for each problem, in the order of arrival. The seeds are a function of `key` and the question.

    A problem without any verdict has `valid` 0: averages leave it out, and `without_verdict` counts it.
    """
    for group in graded(generator, verifier, encoder.prompts(problems, samples, key), sampling):
        yield score_of(group)


def graded(
    generator: Generator, verifier: Verifier, prompts: Sequence[Prompt], sampling: Sampling
) -> Iterable[GradedGroup]:
    """One graded group for each prompt, in the order of arrival. Without prompts, nothing is asked."""
    return verifier.grade(generator.generate(prompts, sampling)) if prompts else ()


def mean(values: Iterable[float]) -> float:
    """The mean, or 0.0 for no values, as in a subdomain without any verdict."""
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def scored(scores: Iterable[AnyScore]) -> list[AnyScore]:
    """The scores with at least one verdict. Raises RuntimeError if there are none: the verifier has failed."""
    found = [s for s in scores if s.valid]
    if not found:
        raise RuntimeError("no problem has a verdict: the verifier failed on all of them, see logs/verifier_*.log")
    return found


def score_of(group: GradedGroup) -> Score:
    """The counts of a graded group."""
    return Score(
        question_id=group.question_id,
        subdomain=group.subdomain,
        correct=int(sum(group.rewards)),
        valid=sum(group.valid),
        samples=len(group.verdicts),
        truncated=sum(group.truncated),
        tokens=sum(group.completion_tokens),
    )
