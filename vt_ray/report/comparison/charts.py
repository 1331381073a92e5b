"""Charts of a comparison: scores and differences by lambda or group, over milestones, subdomains and RL steps.

They are drawn from the groups of comparison.json. A group has the same colour in all charts and the baseline is grey;
the page has the legend. Scores are in percent, differences in percentage points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report.chart_style import BLUE, GREY, INK, ORANGE, ROSE, TEAL, error_bars, plain_text, styled, titled

if TYPE_CHECKING:
    import plotly.graph_objects as go

Group = Mapping[str, Any]
# An interval with the mean of each seed; a Row is a group with one of its intervals.
Interval = Mapping[str, Any]
Row = tuple[Group, Interval]

COLOURS = (BLUE, ORANGE, TEAL, ROSE, "#6b5bb5", "#8a6d3b", "#3f9fd6", "#7a2e3a")
HEIGHT = 300
# Distance of the dots of the seeds from their bar, as a share of the axis.
SEEDS_BESIDE = 0.02
# Height of one group within the row of a subdomain, and of the space between rows.
LINE_PIXELS, ROW_PIXELS = 15, 18


def colours(groups: Sequence[Group], baseline: str) -> dict[str, str]:
    """{label: colour}; grey for the baseline. Colours repeat if there are more groups than colours."""
    others = [group["label"] for group in groups if group["label"] != baseline]
    return {baseline: GREY} | {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(others)}


def by_lambda(
    rows: Sequence[Row], lambdas: Sequence[float], title: str, colour: str, difference: bool = False
) -> go.Figure:
    """A score, or its difference from the baseline, against lambda: mean, 95% bar, and a dot for each seed.

    `lambdas` are the values of all groups, including the baseline.
    """
    import plotly.graph_objects as go

    x = [group["lambda"] for group, _ in rows]
    intervals = [_percent(interval) for _, interval in rows]
    means = go.Scatter(
        x=x,
        y=[interval["mean"] for interval in intervals],
        error_y=error_bars(intervals, colour),
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 9},
        customdata=[_range(interval) for interval in intervals],
        hovertemplate="λ = %{x}: " + _hover("y", difference),
    )
    span = max(lambdas) - min(lambdas)
    dots = [(lam + SEEDS_BESIDE * span, interval) for lam, interval in zip(x, intervals, strict=True)]
    figure = styled(go.Figure([_seed_dots(dots, colour, "x"), means]), HEIGHT).update_layout(showlegend=False)
    figure.update_xaxes(title="λ", tickvals=lambdas, range=[min(lambdas) - 0.06 * span, max(lambdas) + 0.06 * span])
    figure.update_yaxes(**_units(difference))
    if difference:
        figure.add_hline(y=0, line={"color": INK, "width": 1})
    return titled(figure, title)


def by_group(rows: Sequence[Row], title: str, colour_of: Mapping[str, str], difference: bool = False) -> go.Figure:
    """The same with a row for each group: the label above its bar, the seeds below it."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for y, (group, interval) in enumerate(rows):
        colour = colour_of[group["label"]]
        figure.add_trace(_seed_dots([(y + 0.2, _percent(interval))], colour, "y"))
        figure.add_trace(_interval_dot(y, _percent(interval), colour, "", difference))
        # Inside the chart, so that a long label does not reduce its width.
        note = {"text": plain_text(group["label"]), "x": 0, "xref": "paper", "xanchor": "left", "y": y - 0.32}
        figure.add_annotation(**note, showarrow=False, font={"size": 11})
    styled(figure, 80 + 56 * len(rows)).update_layout(showlegend=False)
    figure.update_xaxes(**_units(difference))
    figure.update_yaxes(range=[len(rows) - 0.5, -0.6], showgrid=False, showticklabels=False)
    if difference:
        figure.add_vline(x=0, line={"color": INK, "width": 1})
    return titled(figure, title)


def over_milestones(groups: Sequence[Group], key: str, title: str, colour_of: Mapping[str, str]) -> go.Figure:
    """The score `key` (for example "pass_at_1") over the milestones: a line with a 95% band for each group."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for group in groups:
        points = [_percent(milestone[key]) for milestone in group["milestones"]]
        figure.add_traces(_banded([m["name"] for m in group["milestones"]], points, group["label"], colour_of))
    styled(figure, HEIGHT + 40).update_layout(showlegend=False)
    names = dict.fromkeys(m["name"] for group in groups for m in group["milestones"])
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=list(names), tickangle=-35)
    figure.update_yaxes(**_units(difference=False), rangemode="tozero")
    return titled(figure, title)


def over_steps(groups: Sequence[Group], stages: Sequence[Mapping[str, Any]], colour_of: Mapping[str, str]) -> go.Figure:
    """Training reward over RL steps: the mean over runs, in a band from the lowest run to the highest."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for group in groups:
        points = [_percent(point) for point in group["reward"]]
        figure.add_traces(_banded([p["step"] for p in group["reward"]], points, group["label"], colour_of))
    styled(figure, HEIGHT + 40).update_layout(showlegend=False)
    figure.update_xaxes(title="RL step")
    figure.update_yaxes(**_units(difference=False))
    for stage in stages[1:]:
        figure.add_vline(x=stage["step"] - 0.5, line={"color": INK, "width": 1, "dash": "dot"})
        note = {"text": stage["name"], "x": stage["step"] - 0.5, "y": 1, "yref": "paper", "xanchor": "left"}
        figure.add_annotation(**note, yanchor="bottom", showarrow=False, font={"size": 10, "color": GREY})
    return figure


def by_subdomain(groups: Sequence[Group], key: str, title: str, colour_of: Mapping[str, str]) -> go.Figure:
    """The difference of `key` from the baseline by subdomain (rows), with a 95% bar for each group."""
    import plotly.graph_objects as go

    tables = [(group, group["difference"]["by_subdomain"]) for group in groups]
    names = sorted({name for _, table in tables for name in table})
    figure = go.Figure()
    step = 0.8 / len(groups)
    for i, (group, table) in enumerate(tables):
        for y, name in enumerate(names):
            if name in table:
                place = y - 0.4 + step * (i + 0.5)
                label = f"{group['label']}, {name}"
                dot = _interval_dot(place, _percent(table[name][key]), colour_of[group["label"]], label, True)
                figure.add_trace(dot)
    styled(figure, 80 + len(names) * (ROW_PIXELS + LINE_PIXELS * len(groups))).update_layout(showlegend=False)
    figure.update_xaxes(**_units(difference=True))
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5], showgrid=False
    )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    return titled(figure, title)


def _interval_dot(y: float, interval: Interval, colour: str, name: str, difference: bool) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[interval["mean"]],
        y=[y],
        mode="markers",
        marker={"size": 9, "color": colour},
        error_x=error_bars([interval], colour),
        customdata=[[*_range(interval), plain_text(name)]],
        hovertemplate=("%{customdata[2]}: " if name else "") + _hover("x", difference),
    )


def _seed_dots(rows: Sequence[tuple[float, Interval]], colour: str, along: str) -> go.Scatter:
    """`along` is the axis of the groups; the scores are on the other axis."""
    import plotly.graph_objects as go

    dots = [(place, mean, seed) for place, interval in rows for seed, mean in interval["by_seed"].items()]
    places, means = [place for place, _, _ in dots], [mean for _, mean, _ in dots]
    x, y = (places, means) if along == "x" else (means, places)
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"size": 6, "color": colour, "opacity": 0.45},
        text=[seed for _, _, seed in dots],
        hovertemplate="%{text}: %{" + ("y" if along == "x" else "x") + ":.1f}<extra></extra>",
    )


def _banded(x: Sequence[Any], points: Sequence[Interval], label: str, colour_of: Mapping[str, str]) -> list[go.Scatter]:
    import plotly.graph_objects as go

    colour = colour_of[label]
    band = go.Scatter(
        x=[*x, *reversed(x)],
        y=[*(p["high"] for p in points), *(p["low"] for p in reversed(points))],
        fill="toself",
        fillcolor=colour,
        opacity=0.13,
        line={"width": 0},
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=list(x),
        y=[p["mean"] for p in points],
        mode="lines+markers" if len(x) <= 20 else "lines",
        line={"color": colour, "width": 2.5},
        customdata=[[*_range(p), plain_text(label)] for p in points],
        hovertemplate="%{customdata[2]}, %{x}: " + _hover("y", difference=False),
    )
    return [band, line]


def _percent(interval: Interval) -> dict[str, Any]:
    by_seed = {seed: 100 * mean for seed, mean in interval.get("by_seed", {}).items()}
    return {**{key: 100 * interval[key] for key in ("mean", "low", "high")}, "by_seed": by_seed}


def _range(interval: Interval) -> list[float]:
    return [interval["low"], interval["high"]]


def _units(difference: bool) -> dict[str, Any]:
    """The format of an axis: signed percentage points or percent."""
    return {"tickformat": "+.2~f", "nticks": 6} if difference else {"ticksuffix": "%", "nticks": 6}


def _hover(axis: str, difference: bool) -> str:
    form = "+.1f" if difference else ".1f"
    return f"%{{{axis}:{form}}} [%{{customdata[0]:{form}}}, %{{customdata[1]:{form}}}]<extra></extra>"
