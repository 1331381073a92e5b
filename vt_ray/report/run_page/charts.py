"""Charts of results, as plotly figures: scores at the milestones, accuracy by subdomain, the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report import milestones as ms
from vt_ray.report.chart_style import BLUE, GREY, INK, ORANGE, TEAL, band, error_bars, styled, titled

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Light enough for dark numbers to be readable on it.
PALE_HEAT = ["#f7fafd", "#7fb6e3"]
ROW_PIXELS = 46
# Above this number of columns the numbers in the cells would overlap.
LABELLED_CELLS = 12
# Both ends of an interval, where a trace carries them as its custom data.
INTERVAL = "[%{customdata[0]:.1%}, %{customdata[1]:.1%}]"


def milestone_curves(reached: Sequence[ms.Milestone]) -> go.Figure:
    """Pass@1 and Pass@K over the milestones in their order, with 95% intervals as bands."""
    import plotly.graph_objects as go

    k = ms.largest_k(reached)
    figure = styled(go.Figure(), 320).update_layout(showlegend=True)
    for j, colour in [(1, BLUE), (k, ORANGE)][: 1 if k == 1 else 2]:
        known = [(m["name"], s) for m in reached if (s := ms.score(m, j))]
        names, scores = [name for name, _ in known], [score for _, score in known]
        low, high = [s["low"] for s in scores], [s["high"] for s in scores]
        figure.add_trace(band(names, low, high, colour))
        figure.add_scatter(
            name=f"Pass@{j}",
            x=names,
            y=[s["mean"] for s in scores],
            mode="lines+markers",
            line={"color": colour, "width": 2.5},
            marker={"size": 8},
            error_y=error_bars(scores, colour),
            customdata=list(zip(low, high, strict=True)),
            hovertemplate=f"%{{x}}, Pass@{j}: %{{y:.1%}} {INTERVAL}<extra></extra>",
        )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=[m["name"] for m in reached])
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return figure


def subdomain_dots(shown: Sequence[ms.Milestone]) -> go.Figure:
    """Pass@1 with 95% bars in each subdomain: a dot for each of at most three milestones `shown`."""
    names = ms.subdomains(shown)
    series = []
    for milestone, colour in zip(shown, (GREY, TEAL, BLUE)[-len(shown) :], strict=True):
        scores = [ms.subdomain_score(milestone, name, 1) for name in names]
        series.append((milestone["name"], colour, scores))
    figure = dot_rows(series, names)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return titled(figure, "Pass@1")


def difference_dots(changes: Sequence[tuple[str, Mapping[str, Mapping[str, float] | None]]]) -> go.Figure:
    """Paired differences of Pass@1 with 95% bars by subdomain (rows); `changes` is [(name, {subdomain: change})]."""
    names = sorted({name for _, found in changes for name in found})
    colours = (TEAL, BLUE)[-len(changes) :]
    series = [(what, c, [found.get(name) for name in names]) for (what, found), c in zip(changes, colours, strict=True)]
    figure = dot_rows(series, names)
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(tickformat="+.0%", nticks=6)
    return titled(figure, "Change of Pass@1, on the same problems")


def probe_heat(probe: Mapping[str, Any], key: str, title: str, framed: bool) -> go.Figure:
    """A heat map of the accuracy of each checkpoint (columns) in each subdomain (rows), in [0, 1].

    `key` is "pass_at_k" or "pass_at_1" of probe.json. With `framed`, the specialist of each subdomain has a frame.
    """
    import plotly.graph_objects as go

    checkpoints, table = list(probe["checkpoints"]), probe[key]
    rows = list(table)
    cells = {"texttemplate": "%{z:.0%}"} if len(checkpoints) <= LABELLED_CELLS else {}
    heat = go.Heatmap(
        x=[step_label(c) for c in checkpoints],
        y=rows,
        z=[table[row] for row in rows],
        colorscale=PALE_HEAT,
        textfont={"color": INK},
        zmin=0,
        zmax=max((v for row in rows for v in table[row]), default=1) or 1,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y}, step %{x}: %{z:.1%}<extra></extra>",
        **cells,
    )
    figure = styled(go.Figure(heat), 110 + 34 * len(rows))
    figure.update_xaxes(type="category", title="SFT step", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    for row, name in enumerate(rows if framed else []):
        specialist = (probe.get("specialists") or {}).get(name)
        if specialist in checkpoints:
            _frame(figure, checkpoints.index(specialist), row)
    return titled(figure, title)


def step_label(checkpoint: str) -> str:
    """`120` for `step_000120`; other names are returned unchanged."""
    digits = checkpoint.removeprefix("step_")
    return str(int(digits)) if digits.isdigit() else checkpoint


def dot_rows(
    series: Sequence[tuple[str, str, Sequence[Mapping[str, float] | None]]], names: Sequence[str]
) -> go.Figure:
    """A row for each of `names`, with a dot and its 95% bar for each (name, colour, scores) of `series`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, (name, colour, scores) in enumerate(series):
        shift = min(0.22, 0.7 / len(series)) * (place - (len(series) - 1) / 2)
        known = [(row + shift, score) for row, score in enumerate(scores) if score]
        found = [score for _, score in known]
        figure.add_scatter(
            name=name,
            x=[s["mean"] for s in found],
            y=[y for y, _ in known],
            mode="markers",
            marker={"size": 9, "color": colour},
            error_x=error_bars(found, colour),
            customdata=[[s["low"], s["high"]] for s in found],
            hovertemplate=f"{name}: %{{x:.1%}} {INTERVAL}<extra></extra>",
        )
    styled(figure, 110 + max(ROW_PIXELS, 14 * len(series)) * len(names)).update_layout(showlegend=True, margin_t=60)
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    return figure.update_yaxes(**ticks, showgrid=False)


def _frame(figure: go.Figure, column: int, row: int) -> None:
    figure.add_shape(
        type="rect",
        x0=column - 0.48,
        x1=column + 0.48,
        y0=row - 0.46,
        y1=row + 0.46,
        line={"color": ORANGE, "width": 3},
    )
