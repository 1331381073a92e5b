"""Charts of results, as plotly figures: scores at the milestones, accuracy by subdomain, the probe.

Every chart keeps its height and takes the width it is given, so that it can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report import milestones as ms

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, TEAL, ROSE, GREY = "#2b6cb0", "#dd7a1b", "#2a9d8f", "#c2577a", "#8a94a3"
INK, GRID = "#2d3748", "#e8ecf1"
# Light enough for dark numbers to be read on it.
PALE_HEAT = ["#f7fafd", "#7fb6e3"]
HEAT = ["#f7fafc", "#c6dbef", "#6baed6", "#2171b5", "#08306b"]
ROW_PIXELS = 46
# More cells than this across, and the numbers in them would overlap.
LABELLED_CELLS = 12


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The one look of the report: light, small margins, legend above, no width of its own."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 34, "b": 8},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "itemwidth": 30},
        hoverlabel={"bgcolor": "white", "font": {"color": INK}},
        hovermode="closest",
    )
    # Fixed ranges: a finger that scrolls the page must not zoom a chart.
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "fixedrange": True}
    figure.update_xaxes(**axis, title_font_size=12)
    figure.update_yaxes(**axis, title_font_size=12, exponentformat="e")
    return figure


def milestone_dots(reached: Sequence[ms.Milestone]) -> go.Figure:
    """Pass@1 and Pass@K with 95% bars, a row for each milestone from the first at the top."""
    import plotly.graph_objects as go

    k = ms.largest_k(reached)
    figure = go.Figure()
    for j, colour, shift in [(1, BLUE, -0.13), (k, ORANGE, 0.13)][: 1 if k == 1 else 2]:
        rows = [(i + shift, s) for i, m in enumerate(reached) if (s := ms.score(m, j))]
        figure.add_trace(_dots(f"Pass@{j}", colour, rows))
    return _score_rows(figure, [m["name"] for m in reached])


def subdomain_dots(first: ms.Milestone, last: ms.Milestone) -> go.Figure:
    """Pass@1 with 95% bars in each subdomain: a dot for the first milestone and one for the last."""
    import plotly.graph_objects as go

    names = ms.subdomains([first, last])
    figure = go.Figure()
    for milestone, colour, shift in [(first, GREY, -0.13), (last, BLUE, 0.13)][: 1 if first is last else 2]:
        rows = [(i + shift, s) for i, n in enumerate(names) if (s := ms.subdomain_score(milestone, n, 1))]
        figure.add_trace(_dots(milestone["name"], colour, rows))
    return _score_rows(figure, names)


def probe_heat(probe: Mapping[str, Any], key: str, title: str, framed: bool) -> go.Figure:
    """Accuracy of each checkpoint (columns) in each subdomain (rows), in [0, 1].

    `key` is "pass_at_k" or "pass_at_1" of probe.json. With `framed`, each subdomain's specialist has a frame.
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
    figure.update_layout(title={"text": title, "font": {"size": 13}, "x": 0, "xref": "paper"})
    figure.update_xaxes(type="category", title="SFT step", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    for row, name in enumerate(rows if framed else []):
        specialist = (probe.get("specialists") or {}).get(name)
        if specialist in checkpoints:
            _frame(figure, checkpoints.index(specialist), row)
    return figure


def step_label(checkpoint: str) -> str:
    """`step_000120` as `120`; any other name as it is."""
    digits = checkpoint.rpartition("_")[2]
    return str(int(digits)) if digits.isdigit() else checkpoint


def _dots(name: str, colour: str, rows: Sequence[tuple[float, Mapping[str, float]]]) -> go.Scatter:
    import plotly.graph_objects as go

    scores = [score for _, score in rows]
    return go.Scatter(
        name=name,
        x=[s["mean"] for s in scores],
        y=[y for y, _ in rows],
        mode="markers",
        marker={"size": 10, "color": colour},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [s["high"] - s["mean"] for s in scores],
            "arrayminus": [s["mean"] - s["low"] for s in scores],
            "color": colour,
            "thickness": 2,
            "width": 4,
        },
        customdata=[[s["low"], s["high"]] for s in scores],
        hovertemplate=f"{name}: %{{x:.1%}} [%{{customdata[0]:.1%}}, %{{customdata[1]:.1%}}]<extra></extra>",
    )


def _score_rows(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    styled(figure, 90 + ROW_PIXELS * len(names))
    figure.update_layout(showlegend=True)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(names), range=[len(names) - 0.5, -0.5], showgrid=False
    )
    return figure


def _frame(figure: go.Figure, column: int, row: int) -> None:
    figure.add_shape(
        type="rect",
        x0=column - 0.48,
        x1=column + 0.48,
        y0=row - 0.46,
        y1=row + 0.46,
        line={"color": ORANGE, "width": 3},
    )
