"""The figures of one benchmark and one model, from the results of its problems. Pure.

[ProblemResult] --benchmark_summary--> {pass_at_1: {mean, low, high}, pass_at_k: {"4": {...}}, cons_at_n, ...}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.statistics import benchmark_difference, benchmark_interval

# Token limits of the accuracy by token budget.
TOKEN_BUDGETS = (4_096, 8_192, 16_384, 32_768)

# The levels that are texts, in their order.
LEVELS = ("easy", "medium", "hard")


def benchmark_summary(results: Sequence[ProblemResult], k_values: Sequence[int] = ()) -> dict[str, Any]:
    """The figures of one benchmark. Each accuracy is {mean, low, high}, a 95% interval over problems.

    problems, samples: the number of problems, and the largest number of samples of a problem.
    pass_at_1: the mean over samples, then over problems. None if no problem has a verdict.
    pass_at_k: {"K": accuracy}, unbiased, for each K of `k_values` from 2 to `samples`.
    cons_at_n: the majority vote over all samples, ties averaged. None without answers to vote on.
    truncated_share, loop_share: the share of samples that reached the token limit, or end in a repetition loop.
    tokens_mean, tokens_median: the length of a completion.
    without_verdict: the number of problems without any verdict, which are in no accuracy.
    unverified: the number of samples without a verdict.
    by_subdomain, by_level, by_month: {name: {problems, pass_at_1}}; empty if no problem has the property.
    by_token_budget: {"4096": accuracy} if each completion were cut there, for budgets below the longest completion.

    Raises ValueError for no results, or for two results with the same question id.
    """
    _check(results)
    graded = [r for r in results if r.valid]
    samples = max(len(r.verdicts) for r in results)
    tokens = [t for r in results for t in r.tokens]
    loops = [flag for r in results for flag in r.loops]
    return {
        "problems": len(results),
        "samples": samples,
        "pass_at_1": pass_at_1(graded),
        "pass_at_k": {str(k): _pass_at(graded, k) for k in sorted(set(k_values)) if 1 < k <= samples},
        "cons_at_n": _consensus(graded),
        "truncated_share": fmean(flag for r in results for flag in r.truncated),
        "loop_share": fmean(loops) if loops else None,
        "tokens_mean": fmean(tokens),
        "tokens_median": median(tokens),
        "without_verdict": len(results) - len(graded),
        "unverified": sum(len(r.verdicts) - r.valid for r in results),
        "by_subdomain": by_group(graded, lambda r: r.subdomain),
        "by_level": by_group(graded, lambda r: None if r.level is None else str(r.level)),
        "by_month": by_group(graded, lambda r: r.date[:7]),
        "by_token_budget": {str(b): _within(graded, b) for b in TOKEN_BUDGETS if b < max(tokens)},
    }


def pass_at_1(graded: Sequence[ProblemResult]) -> dict[str, float] | None:
    """Pass@1 as {mean, low, high}; None without any problem. Every problem needs a verdict."""
    return _interval([r.pass_at(1) for r in graded], min((r.valid for r in graded), default=1))


def paired_change(before: Sequence[ProblemResult], after: Sequence[ProblemResult]) -> dict[str, float] | None:
    """Pass@1 of `after` minus Pass@1 of `before` as {mean, low, high}, over the problems with a verdict in both.

    Returns None if there are none.
    """
    old, new = ({r.question_id: r.pass_at(1) for r in side if r.valid} for side in (before, after))
    shared = old.keys() & new.keys()
    if not shared:
        return None
    return benchmark_difference({q: old[q] for q in shared}, {q: new[q] for q in shared}).as_dict()


def vote_summary(
    results: Sequence[ProblemResult], rule: str, votes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The accuracy and the cost of one answer by a vote over all samples of a problem, beside one sample's.

    `rule` is "majority" or "clr"; `votes` has {question id: {weights, tokens}} of "clr", where `tokens` are those of
    the claims and their checks.

    accuracy: {mean, low, high} of the vote.
    gain: the paired difference from Pass@1, over the same problems.
    tokens_mean: the tokens of one answer by the vote: all samples, claims and checks.
    sample_tokens_mean: the tokens of one sample.

    Returns None without answers to vote on.
    """
    scores = {}
    asked = [r for r in results if r.valid and r.classes]
    for r in asked:
        weights = votes[r.question_id]["weights"] if rule == "clr" else None
        scores[r.question_id] = r.consensus(weights) or 0.0
    if not scores:
        return None
    samples = [t for r in asked for t in r.tokens]
    extra = sum(votes[q]["tokens"] for q in scores) if rule == "clr" else 0
    single = {r.question_id: r.pass_at(1) for r in asked}
    return {
        "rule": rule,
        "accuracy": _interval(list(scores.values()), 1),
        "gain": benchmark_difference(single, scores).as_dict(),
        "tokens_mean": (sum(samples) + extra) / len(scores),
        "sample_tokens_mean": fmean(samples),
    }


def _pass_at(graded: Sequence[ProblemResult], k: int) -> dict[str, float] | None:
    return _interval([r.pass_at(k) for r in graded], 1)


def _consensus(graded: Sequence[ProblemResult]) -> dict[str, float] | None:
    return _interval([score for r in graded if (score := r.consensus()) is not None], 1)


def _within(graded: Sequence[ProblemResult], budget: int) -> dict[str, float] | None:
    samples = min((r.valid for r in graded), default=1)
    return _interval([r.correct_within(budget) for r in graded], samples)


def by_group(graded: Sequence[ProblemResult], name_of: Callable[[ProblemResult], str | None]) -> Mapping[str, Any]:
    """{name: {problems, pass_at_1}} of the groups that `name_of` makes; problems without a name are left out."""
    groups: dict[str, list[ProblemResult]] = {}
    for result in graded:
        if name := name_of(result):
            groups.setdefault(name, []).append(result)
    return {
        name: {"problems": len(groups[name]), "pass_at_1": pass_at_1(groups[name])}
        for name in sorted(groups, key=_place)
    }


def _place(name: str) -> tuple[bool, float, str]:
    """The order of the names of groups: numbers by value (level 10 comes after level 9), then easy, medium and hard,
    then other texts."""
    if name.isdecimal():
        return False, float(name), name
    return True, LEVELS.index(name) if name in LEVELS else len(LEVELS), name


def _interval(scores: Sequence[float], samples: int) -> dict[str, float] | None:
    return benchmark_interval(scores, samples).as_dict() if scores else None


def _check(results: Sequence[ProblemResult]) -> None:
    if not results:
        raise ValueError("no results to summarise: pass the result of at least one problem")
    question_id, count = Counter(r.question_id for r in results).most_common(1)[0]
    if count > 1:
        raise ValueError(f"question {question_id} has {count} results: a benchmark has one result for each problem")
