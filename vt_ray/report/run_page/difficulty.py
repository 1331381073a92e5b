"""The difficulty chart: a heat map of p_c over training steps, with the weight of each p_c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vt_ray.algorithms.weights import difficulty_weight
from vt_ray.config import MgpoConfig
from vt_ray.records import AdvantageConfig
from vt_ray.report.chart_style import HEAT, ORANGE, colour_bar, styled
from vt_ray.report.metrics import Lines
from vt_ray.report.run_page.curves import by_stage, stage_marks

if TYPE_CHECKING:
    import plotly.graph_objects as go

# The p_c of the line of weights.
CHARTED = [i / 100 for i in range(101)]


def p_c_heat(lines: Lines, config: AdvantageConfig | None) -> go.Figure | None:
    """The share of questions at each p_c over RL steps, and the weight of each p_c as a line if `config` is known.

    The histogram of a stage has a bin for each p_c = 0, 1/G, ..., 1. The weight has its own axis at the top. Returns
    None if no line has a histogram.
    """
    import plotly.graph_objects as go

    counted = [line for line in lines if line.get("p_c_histogram")]
    if not counted:
        return None
    figure = go.Figure()
    for start, stage, stage_lines in by_stage(lines):
        steps, bins, shares = _p_c_shares(start, stage_lines)
        hover = f"{stage}, step %{{x}}: p_c %{{y:.3f}} for %{{z:.0%}} of questions<extra></extra>"
        figure.add_heatmap(x=steps, y=bins, z=shares, coloraxis="coloraxis", hovertemplate=hover)
    styled(figure, 400)
    figure.update_layout(showlegend=False, margin_t=46, margin_b=70)
    label = {"text": "share of the step's questions", "side": "bottom", "font": {"size": 11}}
    below = colour_bar(220, x=0, xanchor="left", y=-0.2, yanchor="top", title=label)
    figure.update_layout(coloraxis={"colorscale": HEAT, "cmin": 0, "colorbar": below})
    figure.update_yaxes(title="p_c")
    figure.update_xaxes(title="RL step", showgrid=False, range=[0.5, len(lines) + 0.5])
    stage_marks(figure, lines, labelled=False)
    return figure if config is None else _weight_over(figure, config)


def _weight_over(figure: go.Figure, config: AdvantageConfig) -> go.Figure:
    """Add the weight by p_c, with an axis at the top. Rings mark p_c = 0 and 1, where all advantages are zero."""
    p, weights = CHARTED, [float(difficulty_weight(v, config)) for v in CHARTED]
    paper = config.weight == MgpoConfig.weight
    title = "MGPO weight" if paper else f"weight {config.weight}"
    hover = "p_c %{y:.2f}: weight %{x:.3f}<extra></extra>"
    own = {"xaxis": "x2", "hovertemplate": hover}
    # A white outline makes the line visible on dark cells.
    figure.add_scatter(x=weights, y=p, mode="lines", line={"color": "white", "width": 6}, xaxis="x2", hoverinfo="skip")
    figure.add_scatter(x=weights, y=p, mode="lines", line={"color": ORANGE, "width": 3}, **own)
    ring = {"color": "white", "size": 10, "line": {"color": ORANGE, "width": 2.5}}
    figure.add_scatter(x=[weights[0], weights[-1]], y=[0, 1], mode="markers", marker=ring, cliponaxis=False, **own)
    figure.update_layout(
        xaxis2={
            "overlaying": "x",
            "side": "top",
            "range": [0, 1.05 if paper else 1.05 * max(weights) or 1.0],
            **({"tickmode": "array", "tickvals": [0, 0.25, 0.5, 0.75, 1]} if paper else {}),
            "showgrid": False,
            "fixedrange": True,
            "title": {"text": title, "font": {"color": ORANGE, "size": 12}},
            "tickfont": {"color": ORANGE},
        }
    )
    return figure


def _p_c_shares(start: int, lines: Lines) -> tuple[list[int], list[float], list[list[float | None]]]:
    """x, y and z of the heat map of a stage: z[bin][step] is the share of the step's questions in the bin."""
    size = max((len(line.get("p_c_histogram") or []) for line in lines), default=0)
    bins = [i / (size - 1) for i in range(size)] if size > 1 else [0.0] * size
    columns: list[list[float | None]] = []
    for line in lines:
        counts = line.get("p_c_histogram") or []
        total = sum(counts)
        same = len(counts) == size and total > 0
        columns.append([count / total for count in counts] if same else [None] * size)
    return list(range(start, start + len(columns))), bins, [list(row) for row in zip(*columns, strict=True)]
