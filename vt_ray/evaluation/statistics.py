"""How sure a score is: of one milestone, of the change between two, of several runs that differ in their seed.

Problems are the unit of chance. Samples of one problem are not independent of each other, so more samples
sharpen a score only as far as the spread between problems allows. Runs that differ in their seed alone are a
second unit: chance in the training of each moves all its problems together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum, sqrt
from typing import Any

import numpy as np

# The 97.5% point of the standard normal: 95% lies between it and its mirror image.
Z_95 = 1.959963984540054
NAMED_IDS = 5

# Of each run (by its seed) the score of each question.
ScoresBySeed = Mapping[Any, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, all in the unit of the scores."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def mean_interval(scores: Sequence[float], samples_per_problem: int) -> Interval:
    """95% interval of a mean score: Wilson's, with an effective sample size.

    `scores` holds one value in [0, 1] a problem (n of them), each the mean of `samples_per_problem` samples.
    With p the mean, v the unbiased variance of the scores and z = 1.96:

        n_eff = n * p(1-p) / v, kept within n and n * samples_per_problem; n where p is 0 or 1, or n is 1
        (p + z^2/2n_eff  -+  z * sqrt(p(1-p)/n_eff + z^2/4n_eff^2)) / (1 + z^2/n_eff)

    n_eff is the number of independent coin flips whose mean would vary as much as this one, so the width
    follows the spread between problems, and stays above zero where all scores are equal. Raises ValueError
    for no scores, a score outside [0, 1], or fewer than one sample a problem.
    """
    _check(scores, samples_per_problem)
    mean = fsum(scores) / len(scores)
    size = _effective_size(scores, mean, samples_per_problem)
    return _wilson(mean, size)


def paired_difference(
    before: Mapping[str, float],
    after: Mapping[str, float],
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Mean of after - before over the same questions, with a 95% percentile bootstrap over problems.

    `before` and `after` map question ids to scores; each of `resamples` draws n problems with replacement.
    The same `seed` gives the same interval. With very few problems, or equal differences, a bootstrap is too
    narrow: for one problem it is a point. Raises ValueError for no problems or for differing question ids.
    """
    if before.keys() != after.keys():
        raise ValueError(
            "scores to compare must be of the same questions: "
            f"only before: {_named(before.keys() - after.keys())}; "
            f"only after: {_named(after.keys() - before.keys())}"
        )
    if not before:
        raise ValueError("no questions to compare: pass at least one")
    # Sorted, so that the order in which scores came in does not change the resamples.
    differences = np.array([after[q] - before[q] for q in sorted(before)])
    generator = np.random.default_rng(seed)
    size = len(differences)
    means = [differences[generator.integers(size, size=size)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class SeededInterval:
    """A mean over seeds and problems with its 95% interval, and each seed's own mean over the same problems."""

    interval: Interval
    by_seed: Mapping[Any, float]
    num_problems: int


def mean_over_seeds(scores: ScoresBySeed, seed: int = 0, resamples: int = 2000) -> SeededInterval:
    """Mean x of scores x[s, q] over seeds s and questions q, with a 95% two-level bootstrap interval.

    Questions count that every seed has a score for: Q of them, S seeds. Each of `resamples` draws Q questions
    and, independently, max(1, S - 1) seeds, both with replacement, and takes the mean of x over the drawn seeds
    and questions; the interval is from the 2.5% to the 97.5% point of these means. Seeds and questions are crossed
    (every seed answers the same questions), so the draws are too. S - 1 draws of S seeds make the variance that
    comes from seeds unbiased, where S draws would understate it by the factor (S - 1) / S.

    Limits: noise that belongs to neither level (the luck of one seed on one question) is counted up to three times,
    so that the interval is too wide where seeds hardly matter; a handful of seeds shows poorly how much seeds
    vary, so that it is too narrow where they matter most; with one seed they do not enter at all. Where all scores are
    equal it is a point. Raises ValueError for no seed or no common question.
    """
    seeds, questions = list(scores), _common(scores)
    table = np.array([[scores[s][q] for q in questions] for s in seeds])
    generator = np.random.default_rng(seed)
    size, draws = len(questions), max(1, len(seeds) - 1)
    questions_drawn = generator.multinomial(size, np.full(size, 1 / size), resamples)
    seeds_drawn = generator.multinomial(draws, np.full(len(seeds), 1 / len(seeds)), resamples)
    means = ((questions_drawn @ table.T) * seeds_drawn).sum(axis=1) / (size * draws)
    mean = float(table.mean())
    low, high = np.percentile(means, [2.5, 97.5])
    # Of equal scores the three are one number, whichever way it was rounded.
    interval = Interval(mean, min(mean, float(low)), max(mean, float(high)))
    return SeededInterval(interval, {s: float(row.mean()) for s, row in zip(seeds, table, strict=True)}, size)


def difference_over_seeds(
    before: ScoresBySeed,
    after: ScoresBySeed,
    seed: int = 0,
    resamples: int = 2000,
) -> SeededInterval:
    """`mean_over_seeds` of after - before, paired by seed and by question.

    Seeds count that both have, questions that all of these runs have a score for. What a question or a seed does to
    both alike cancels. Raises ValueError for no common seed or question.
    """
    shared = [s for s in before if s in after]
    if not shared:
        raise ValueError(f"no seed in common: {list(before)} and {list(after)}")
    pairs = {s: before[s].keys() & after[s].keys() for s in shared}
    differences = {s: {q: after[s][q] - before[s][q] for q in pairs[s]} for s in shared}
    return mean_over_seeds(differences, seed, resamples)


def _common(scores: ScoresBySeed) -> list[str]:
    """Sorted, so that the order in which scores came in does not change the resamples."""
    if not scores:
        raise ValueError("no seed to take a mean over: pass at least one run")
    common = set.intersection(*(set(of_seed) for of_seed in scores.values()))
    if not common:
        raise ValueError(f"seeds {list(scores)} have no question in common: pass runs on the same problems")
    return sorted(common)


def _check(scores: Sequence[float], samples_per_problem: int) -> None:
    if len(scores) == 0:
        raise ValueError("no scores: the mean of nothing has no interval")
    outside = [s for s in scores if not 0 <= s <= 1]
    if outside:
        raise ValueError(f"scores must lie in [0, 1], got {outside[0]}: pass the share of correct samples")
    if samples_per_problem < 1:
        raise ValueError(f"samples_per_problem={samples_per_problem} must be at least 1")


def _effective_size(scores: Sequence[float], mean: float, samples_per_problem: int) -> float:
    n = len(scores)
    if n == 1 or mean in (0.0, 1.0):
        return float(n)
    variance = fsum((s - mean) ** 2 for s in scores) / (n - 1)
    most = n * samples_per_problem
    # Written without a division by the variance, which is zero where all scores are equal.
    if n * mean * (1 - mean) >= most * variance:
        return float(most)
    return max(float(n), n * mean * (1 - mean) / variance)


def _wilson(mean: float, size: float) -> Interval:
    z2 = Z_95**2
    shrink = 1 + z2 / size
    centre = (mean + z2 / (2 * size)) / shrink
    half = Z_95 * sqrt(mean * (1 - mean) / size + z2 / (4 * size**2)) / shrink
    # At 0 and 1 one end meets the mean; rounding must not carry it past.
    return Interval(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def _named(ids: set[str]) -> str:
    shown = ", ".join(sorted(ids)[:NAMED_IDS]) or "none"
    return shown if len(ids) <= NAMED_IDS else f"{shown} and {len(ids) - NAMED_IDS} more"
