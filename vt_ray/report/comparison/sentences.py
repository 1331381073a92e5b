"""The sentences of a comparison: its findings, including null results, and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.report import formats

Comparison = Mapping[str, Any]
Group = Mapping[str, Any]

# With fewer seeds, the spread between seeds is known poorly.
FEW_SEEDS = 5


def others(comparison: Comparison) -> list[Group]:
    """All groups except the baseline."""
    return [group for group in comparison["groups"] if group["label"] != comparison["baseline"]]


def compared(comparison: Comparison) -> list[Group]:
    """The groups that have a paired difference from the baseline."""
    return [group for group in others(comparison) if group["difference"]]


def pass_keys(comparison: Comparison) -> list[str]:
    """`pass_at_1`, and `pass_at_<k>` if K is not 1."""
    return [f"pass_at_{k}" for k in sorted({1, comparison["k"]})]


def pass_name(key: str) -> str:
    """`Pass@8` of `pass_at_8`."""
    return f"Pass@{key.removeprefix('pass_at_')}"


def headline(comparison: Comparison) -> str:
    """The compared runs and the result in Pass@1."""
    groups, runs = comparison["groups"], comparison["runs"]
    problems = f"the same {formats.thousands(comparison['num_problems'])} held-out problems"
    if comparison["nested"]:
        problems = f"held-out problems that differ from seed to seed, {comparison['num_problems']:,} for each seed"
    if len(groups) == 1:
        score = formats.interval(groups[0]["pass_at_1"])
        return f"{len(runs)} runs that differ only in their seeds, on {problems}: Pass@1 is {score}."
    return f"{len(runs)} runs in {len(groups)} groups, on {problems}. {findings(comparison, 'pass_at_1')}"


def findings(comparison: Comparison, key: str) -> str:
    """The groups that differ from the baseline in `key`, and the groups without a clear difference."""
    base = comparison["baseline"]
    found: dict[str, list[str]] = {}
    for group in others(comparison):
        found.setdefault(outcome(group, key), []).append(group["label"])
    if found.keys() == {"chance"}:
        return f"No group differs clearly from {base} in {pass_name(key)}: all intervals contain zero."
    ways = {
        "higher": f"{pass_name(key)} is higher than with {base} for",
        "lower": f"{pass_name(key)} is lower than with {base} for",
        "chance": f"{pass_name(key)} is not clearly different from {base} for",
        "unpaired": f"There is no paired difference, for lack of a common seed with {base}, for",
    }
    return " ".join(f"{say} {'; '.join(found[way])}." for way, say in ways.items() if way in found)


def outcome(group: Group, key: str = "pass_at_1") -> str:
    """The difference from the baseline: "higher", "lower", "chance" (the interval contains zero) or "unpaired"."""
    if not group["difference"]:
        return "unpaired"
    difference = group["difference"][key]
    return "higher" if difference["low"] > 0 else "lower" if difference["high"] < 0 else "chance"


def difference(group: Group, base: str) -> str:
    """One sentence about the difference of a group from the baseline in Pass@1."""
    label, way = group["label"], outcome(group)
    if way == "unpaired":
        return f"{label}: no paired difference, because it has no seed in common with {base}."
    points = f"{formats.points(group['difference']['pass_at_1'])} points"
    if way == "chance":
        return f"{label}: no clear difference from {base}: {points}."
    return f"{label}: {way} than {base} by {points}."


def warnings(comparison: Comparison) -> list[str]:
    """Facts that limit the conclusions from a difference."""
    runs, found = comparison["runs"], []
    for run in comparison["left_out"]:
        reached = f"its last milestone is {run['last']}" if run["last"] else "it has reached no milestone"
        found.append(f"The run {run['run']} is not finished ({reached}) and is left out.")
    if _starts_within_seeds(runs) > 1:
        found.append(
            "Runs of one seed start from different start models: their differences include effects of SFT and fusion."
        )
    if len({run["code"] for run in runs}) > 1:
        found.append("The runs were made by different versions of the code: see the table of runs.")
    if settings := [key for key in comparison["differs_in"] if key.startswith("evaluation.")]:
        found.append(f"The runs were evaluated with different settings: {', '.join(settings)}.")
    return found


def about_seeds(comparison: Comparison) -> str:
    """A sentence about the number of seeds; "" if there are enough."""
    fewest = min(len(group["difference"]["pass_at_1"]["by_seed"]) for group in compared(comparison))
    if fewest == 1:
        return "A difference comes from one pair of runs: its interval does not include the spread between seeds."
    if fewest < FEW_SEEDS:
        return f"With {fewest} seeds, the spread between seeds is known poorly: check whether the seeds agree."
    return ""


def about_intervals(comparison: Comparison) -> list[str]:
    """Paragraphs about the method of the intervals."""
    if comparison["nested"]:
        return [
            "Each seed has held-out problems of its own. A score is the mean of the means of the seeds. Its interval "
            "is the mean ± 1.96 standard deviations, from the larger of two estimates of the variance: the spread "
            "between problems within the seeds, and the spread between the means of the seeds.",
            "In simulations of 3 seeds with 160 problems each, the interval contained the true value in 96, 94 and 86% "
            "of the cases, where seeds changed the score by 0, 1 and 3 points (standard deviation).",
        ]
    return [
        "The intervals come from a two-level bootstrap. Each of 2,000 resamples draws n of the n problems and, "
        "independently, s - 1 of the s seeds (at least one), both with replacement, and computes the mean of the drawn "
        "scores. The interval contains the middle 95% of these means. One seed fewer is drawn because s seeds would "
        "understate the spread between seeds.",
        "In simulations with 200 problems and seeds that change a score by 1, 3 and 5 points (standard deviation), the "
        "interval contained the true value in 99, 96 and 92 of 100 cases with 3 seeds, and in 99, 94 and 85 with 2 "
        "seeds. It is too wide if seeds matter little, and too narrow if they matter much.",
    ]


def about_starts(runs: Sequence[Mapping[str, Any]]) -> str:
    """A sentence about the models from which the runs start."""
    models = {run["fused"] for run in runs}
    if None in models:
        return "Some runs have no record of the model from which they started."
    if len(models) == 1:
        return "All runs start from the same start model."
    same = "Runs of one seed start from the same start model; there" if _starts_within_seeds(runs) == 1 else "There"
    return f"{same} are {len(models)} different start models."


def about_problems(comparison: Comparison) -> str:
    """A sentence about the problems that are missing in the differences; "" if there are none."""
    if comparison["nested"]:
        return ""
    used = min(group["difference"]["pass_at_1"]["num_problems"] for group in compared(comparison))
    lost = comparison["num_problems"] - used
    return (
        f"Up to {lost} problems are left out because they have no verdict in one of the two compared runs."
        if lost
        else ""
    )


def _starts_within_seeds(runs: Sequence[Mapping[str, Any]]) -> int:
    """The largest number of models from which runs of one seed start."""
    return max(len({run["fused"] for run in runs if run["seed"] == seed}) for seed in {run["seed"] for run in runs})
