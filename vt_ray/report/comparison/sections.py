"""The sections of comparison.html. Each function makes one section from the data of comparison.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vt_ray.report.chart_style import BLUE, ORANGE
from vt_ray.report.comparison import charts as charts
from vt_ray.report.comparison import sentences as say
from vt_ray.report.comparison import tables as tables
from vt_ray.report.comparison.runs import LABEL_KEYS
from vt_ray.report.comparison.sentences import Comparison, compared, pass_keys, pass_name
from vt_ray.report.html import Section, Table

if TYPE_CHECKING:
    import plotly.graph_objects as go


def result_section(comparison: Comparison) -> Section:
    base, keys = comparison["baseline"], pass_keys(comparison)
    text = [f"Pass@1 with {say.difference(group, base)}" for group in say.others(comparison)]
    text += [say.findings(comparison, key) for key in keys[1:] if say.others(comparison)]
    listed = [Table("At the end of each run", tables.score_rows(comparison))]
    if compared(comparison):
        text.append(f"Differences are paired by problem and by seed. {say.about_seeds(comparison)}")
        listed.append(Table(f"Paired difference from {base}", tables.difference_rows(comparison)))
    text.append("Brackets and bars are 95% intervals; faint dots are single seeds.")
    return Section("result", "Result", text, _result_figures(comparison), columns=True, tables=listed)


def _result_figures(comparison: Comparison) -> list[go.Figure]:
    """Pass@1 and Pass@K at the end, and their differences from the baseline."""
    lambdas = [group["lambda"] for group in comparison["groups"]]
    colour_of = charts.colours(comparison["groups"], comparison["baseline"])
    drawn = []
    for key, colour in zip(pass_keys(comparison), (BLUE, ORANGE), strict=False):
        scores = [(group, group[key]) for group in comparison["groups"]]
        differences = [(group, group["difference"][key]) for group in compared(comparison)]
        parts = [(scores, pass_name(key), False)]
        parts += [(differences, f"{pass_name(key)}: difference, points", True)] if differences else []
        for rows, title, is_difference in parts:
            if None not in lambdas:
                drawn.append(charts.by_lambda(rows, lambdas, title, colour, is_difference))
            else:
                drawn.append(charts.by_group(rows, title, colour_of, is_difference))
    return drawn


def seeds_section(comparison: Comparison) -> Section:
    title = "By seed"
    if not compared(comparison):
        return Section("seeds", title, ["There is no paired difference."])
    text = f"The difference of each seed from {comparison['baseline']}, on the same problems, in points."
    listed = [Table(pass_name(key), tables.seed_rows(comparison, key)) for key in pass_keys(comparison)]
    return Section("seeds", title, [text], tables=listed)


def milestones_section(comparison: Comparison) -> Section:
    groups = comparison["groups"]
    colour_of = charts.colours(groups, comparison["baseline"])
    figures = [charts.over_milestones(groups, key, pass_name(key), colour_of) for key in pass_keys(comparison)]
    text = "Means over seeds and problems; the bands are 95% intervals."
    return Section("milestones", "Over the milestones", [text], figures, columns=True)


def subdomains_section(comparison: Comparison) -> Section:
    title, groups, base = "By subdomain", compared(comparison), comparison["baseline"]
    if not groups:
        return Section("subdomains", title, ["There is no paired difference."])
    colour_of, keys = charts.colours(comparison["groups"], base), pass_keys(comparison)
    figures = [charts.by_subdomain(groups, key, f"{pass_name(key)}: difference, points", colour_of) for key in keys]
    listed = [
        Table(f"{pass_name(key)}: difference in points", tables.subdomain_rows(comparison, key), folded=True)
        for key in keys
    ]
    bars = sum(len(group["difference"]["by_subdomain"]) for group in groups)
    text = (
        f"Difference from {base} in each subdomain, on a part of the problems. Of the {bars} bars in a chart, about "
        "one in twenty excludes zero by chance even if there is no difference."
    )
    return Section("subdomains", title, [text], figures, columns=True, tables=listed)


def reward_section(comparison: Comparison) -> Section:
    title, groups = "Training reward", comparison["groups"]
    if not any(group["reward"] for group in groups):
        return Section("reward", title, ["There is no RL step with a reward."])
    text = (
        "Share of correct rollouts: the moving mean within each stage, averaged over the runs of the group, in a band "
        "from the lowest run to the highest. These are training problems; the held-out score is the result."
    )
    if len(comparison["stages"]) > 1:
        text += (
            " A stage starts at the same step for all runs, after the longest previous stage. If a gate has ended a "
            "stage early in some runs, its remaining steps show only the other runs."
        )
    colour_of = charts.colours(groups, comparison["baseline"])
    return Section("reward", title, [text], [charts.over_steps(groups, comparison["stages"], colour_of)])


def cost_section(comparison: Comparison) -> Section:
    text = (
        "Means over the runs of the group. Wall time is the time of a run's own processes. It does not include phases "
        "that another run had finished before, but their tokens are counted in the last column."
    )
    return Section("cost", "Cost", [text], tables=[Table("", tables.cost_rows(comparison))])


def method_section(comparison: Comparison) -> Section:
    text = say.about_intervals(comparison)
    if len(groups := compared(comparison)) > 1:
        text.append(
            f"{len(groups)} groups are compared with the baseline at 95%, without a correction for their number."
        )
    text.append(f"{say.about_starts(comparison['runs'])} {say.about_problems(comparison) if groups else ''}")
    listed = [Table("Runs", tables.run_rows(comparison))]
    # Up to LABEL_KEYS keys are in the labels of the groups.
    if len(comparison["differs_in"]) > LABEL_KEYS:
        listed.append(Table("Settings in which the groups differ", tables.setting_rows(comparison)))
    return Section("method", "Method of the comparison", text, tables=listed)


SECTIONS: tuple[Callable[[Comparison], Section], ...] = (
    result_section,
    seeds_section,
    milestones_section,
    subdomains_section,
    reward_section,
    cost_section,
    method_section,
)
