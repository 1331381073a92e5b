"""The tables of a comparison, for the page and for the terminal: rows of text, the first row is the header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vt_ray.report import formats
from vt_ray.report.comparison.sentences import Comparison, Group, compared, others, outcome, pass_keys, pass_name
from vt_ray.report.tables import Rows

OUTCOMES = {"higher": "higher", "lower": "lower", "chance": "not different", "unpaired": "no pair"}


def score_rows(comparison: Comparison) -> Rows:
    """Scores of each group at its last milestone: seeds, Pass@1, Pass@K, gain in Pass@1 over the start of RL."""
    keys = pass_keys(comparison)
    rows = [["group", "seeds", *(f"{pass_name(key)}, %" for key in keys), f"gain over {_start(comparison)}"]]
    for group in comparison["groups"]:
        scores = [formats.interval(group[key]).replace("%", "") for key in keys]
        rows.append([group["label"], str(len(group["seeds"])), *scores, formats.points(group["gain"]["pass_at_1"])])
    return rows


def difference_rows(comparison: Comparison) -> Rows:
    """Paired difference of each group from the baseline in points, and whether Pass@1 is higher, lower or neither."""
    keys = pass_keys(comparison)
    rows = [["group", "pairs", *(f"{pass_name(key)}, points" for key in keys), "Pass@1 is"]]
    for group in others(comparison):
        found = group["difference"]
        pairs = len(found["pass_at_1"]["by_seed"]) if found else 0
        differences = [formats.points(found and found[key]) for key in keys]
        rows.append([group["label"], str(pairs), *differences, OUTCOMES[outcome(group)]])
    return rows


def seed_rows(comparison: Comparison, key: str) -> Rows:
    """Difference of each seed from the baseline in points."""
    seeds = list(dict.fromkeys(run["seed"] for run in comparison["runs"]))
    rows = [["group", *seeds]]
    for group in compared(comparison):
        own = group["difference"][key]["by_seed"]
        rows.append([group["label"], *(_signed(own.get(seed)) for seed in seeds)])
    return rows


def subdomain_rows(comparison: Comparison, key: str) -> Rows:
    """Difference from the baseline in points: a row for each subdomain, a column for each group."""
    groups = compared(comparison)
    names = sorted({name for group in groups for name in group["difference"]["by_subdomain"]})
    rows = [["subdomain", *(group["label"] for group in groups)]]
    for name in names:
        found = [group["difference"]["by_subdomain"].get(name) for group in groups]
        rows.append([name, *(formats.points(passes and passes[key]) for passes in found)])
    return rows


def cost_rows(comparison: Comparison) -> Rows:
    """Costs of each group, as means over its runs."""
    rows = [["group", "runs", "wall time", "RL time", "RL tokens", "RL tokens/s", "tokens, all phases"]]
    for group in comparison["groups"]:
        cost = group["cost"]
        times = [formats.duration(cost["wall_seconds"]), formats.duration(cost["rl_seconds"])]
        rate = formats.rate(cost["rl_tokens"], cost["rl_seconds"])
        tokens = [formats.thousands(cost["rl_tokens"]), rate, formats.thousands(cost["tokens"])]
        rows.append([group["label"], str(len(group["seeds"])), *times, *tokens])
    return rows


def run_rows(comparison: Comparison) -> Rows:
    """The identity of each run, and its scores with intervals over problems."""
    keys = pass_keys(comparison)
    rows = [["run", "group", "seed", *(pass_name(key) for key in keys), "start model", "config hash", "code"]]
    for run in comparison["runs"]:
        scores = [formats.interval(run[key]) for key in keys]
        identity = [str(run[key] or formats.UNKNOWN)[:12] for key in ("fused", "config_hash", "code")]
        rows.append([run["name"], run["group"], run["seed"], *scores, *identity])
    return rows


def setting_rows(comparison: Comparison) -> Rows:
    """The settings in which the groups differ: a row for each key, a column for each group."""
    groups: Sequence[Group] = comparison["groups"]
    rows = [["key", *(group["label"] for group in groups)]]
    return rows + [[key, *(str(group["settings"][key]) for group in groups)] for key in comparison["differs_in"]]


def _start(comparison: Comparison) -> str:
    starts: set[str] = {group["gain"]["from"] for group in comparison["groups"]}
    return starts.pop() if len(starts) == 1 else "start"


def _signed(difference: Any) -> str:
    return formats.UNKNOWN if difference is None else f"{100 * difference:+.1f}"
