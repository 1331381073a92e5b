"""What a comparison says in sentences: its outcome, a null result as plainly as any other, and what weakens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vt_ray.report import formats

Comparison = Mapping[str, Any]
Group = Mapping[str, Any]

# Below this many seeds the spread between them is hardly known.
FEW_SEEDS = 5


def others(comparison: Comparison) -> list[Group]:
    """All groups but the baseline."""
    return [group for group in comparison["groups"] if group["label"] != comparison["baseline"]]


def compared(comparison: Comparison) -> list[Group]:
    """The groups that have a paired difference from the baseline."""
    return [group for group in others(comparison) if group["difference"]]


def pass_keys(comparison: Comparison) -> list[str]:
    """`pass_at_1` and, where it is another, `pass_at_<k>`."""
    return [f"pass_at_{k}" for k in sorted({1, comparison["k"]})]


def pass_name(key: str) -> str:
    """`Pass@8` of `pass_at_8`."""
    return f"Pass@{key.removeprefix('pass_at_')}"


def headline(comparison: Comparison) -> str:
    """What was compared and what came of it in Pass@1."""
    groups, runs = comparison["groups"], comparison["runs"]
    problems = f"the same {formats.thousands(comparison['num_problems'])} held-out problems"
    if len(groups) == 1:
        score = formats.interval(groups[0]["pass_at_1"])
        return f"{len(runs)} runs that differ in their seeds alone, on {problems}: Pass@1 is {score}."
    return f"{len(runs)} runs in {len(groups)} groups, on {problems}. {findings(comparison, 'pass_at_1')}"


def findings(comparison: Comparison, key: str) -> str:
    """Which groups differ from the baseline in `key`, and which cannot be told apart from it."""
    base = comparison["baseline"]
    found: dict[str, list[str]] = {}
    for group in others(comparison):
        found.setdefault(outcome(group, key), []).append(group["label"])
    if found.keys() == {"chance"}:
        return f"No difference from {base} in {pass_name(key)} can be told apart from chance."
    ways = {
        "higher": f"{pass_name(key)} is higher than with {base} for",
        "lower": f"{pass_name(key)} is lower than with {base} for",
        "chance": f"No difference from {base} in {pass_name(key)} can be told apart from chance for",
        "unpaired": f"There is no seed in common with {base}, so no paired difference, for",
    }
    return " ".join(f"{say} {'; '.join(found[way])}." for way, say in ways.items() if way in found)


def outcome(group: Group, key: str = "pass_at_1") -> str:
    """Of its difference from the baseline: "higher", "lower", "chance" where the interval holds zero, or "unpaired"."""
    if not group["difference"]:
        return "unpaired"
    difference = group["difference"][key]
    return "higher" if difference["low"] > 0 else "lower" if difference["high"] < 0 else "chance"


def verdict(group: Group, base: str) -> str:
    """One sentence on the difference of a group from the baseline in Pass@1."""
    label, way = group["label"], outcome(group)
    if way == "unpaired":
        return f"{label}: no seed in common with {base}, so there is no paired difference."
    points = f"{formats.points(group['difference']['pass_at_1'])} points"
    if way == "chance":
        return f"{label}: no difference from {base} can be told apart from chance: {points}."
    return f"{label}: {way} than {base} by {points}."


def warnings(comparison: Comparison) -> list[str]:
    """What a reader must know before believing a difference."""
    runs, found = comparison["runs"], []
    for run in comparison["left_out"]:
        reached = f"its last milestone is {run['last']}" if run["last"] else "it has reached no milestone"
        found.append(f"The run {run['run']} is unfinished ({reached}) and left out.")
    if _starts_within_seeds(runs) > 1:
        found.append(
            "Runs of one seed start from different fused models: their differences hold what SFT and fusion did too."
        )
    if len({run["code"] for run in runs}) > 1:
        found.append("The runs were made by different versions of the code: the table of runs says by which.")
    if settings := [key for key in comparison["differs_in"] if key.startswith("evaluation.")]:
        found.append(f"The runs were evaluated differently: {', '.join(settings)}.")
    return found


def about_seeds(comparison: Comparison) -> str:
    """How far the number of seeds carries."""
    fewest = min(len(group["difference"]["pass_at_1"]["by_seed"]) for group in compared(comparison))
    if fewest == 1:
        return "A difference rests on one pair of runs: its interval knows nothing of what another seed would do."
    if fewest < FEW_SEEDS:
        return f"With {fewest} seeds, what chance does in training is known poorly: see whether the seeds agree."
    return ""


def about_starts(runs: Sequence[Mapping[str, Any]]) -> str:
    """Which fused models the runs started from."""
    models = {run["fused"] for run in runs}
    if None in models:
        return "Some runs do not say which fused model they started from."
    if len(models) == 1:
        return "All runs start from one fused model."
    each = "Runs of one seed start from one fused model" if _starts_within_seeds(runs) == 1 else "Runs start"
    return f"{each}, from {len(models)} different fused models in all."


def about_problems(comparison: Comparison) -> str:
    """How many problems differences had to leave out."""
    used = min(group["difference"]["pass_at_1"]["num_problems"] for group in compared(comparison))
    lost = comparison["num_problems"] - used
    return f"Up to {lost} problems have no verdict in one of two compared runs and are left out." if lost else ""


def _starts_within_seeds(runs: Sequence[Mapping[str, Any]]) -> int:
    """The most fused models that runs of one seed started from."""
    return max(len({run["fused"] for run in runs if run["seed"] == seed}) for seed in {run["seed"] for run in runs})
