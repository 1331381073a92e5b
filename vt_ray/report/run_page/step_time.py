"""The charts of a step's time: its parts, and the share of the step that each actor worked."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from vt_ray.report import formats
from vt_ray.report.chart_style import BLUE, GREY, HEAT, ORANGE, ROSE, TEAL, colour_bar, styled, titled
from vt_ray.report.metrics import STEP_PARTS, Lines
from vt_ray.report.run_page.curves import stage_marks

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (BLUE, TEAL, ORANGE, ROSE, GREY)
ACTOR_PIXELS = 30
# Height limit: with many actors the rows get narrower, so that the chart fits a screen.
TALLEST = 640


def step_time(lines: Lines) -> go.Figure:
    """Seconds of each RL step, stacked: generate, verify, update, sync, rest."""
    import plotly.graph_objects as go

    steps = list(range(1, len(lines) + 1))
    figure = go.Figure(
        [
            go.Bar(
                name=part,
                x=steps,
                y=[(line.get("seconds") or {}).get(part) for line in lines],
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate=f"step %{{x}}: {part} %{{y:.2f}} s<extra></extra>",
            )
            for part, colour in zip(STEP_PARTS, COLOURS, strict=True)
        ]
    )
    styled(figure, 300).update_layout(barmode="stack", bargap=0.08 if len(lines) <= 60 else 0, showlegend=True)
    figure.update_layout(legend_traceorder="normal")
    figure.update_yaxes(title="seconds")
    figure.update_xaxes(title="RL step")
    return stage_marks(figure, lines, labelled=False)


def busy_means(lines: Lines) -> dict[str, float]:
    """{actor: mean busy share over the steps that recorded it}, in the order of the cluster."""
    shares: dict[str, list[float]] = {}
    for line in lines:
        for actor, share in (line.get("busy") or {}).items():
            if formats.known(share):
                shares.setdefault(str(actor), []).append(share)
    return {actor: fmean(values) for actor, values in shares.items()}


def utilisation(lines: Lines) -> go.Figure | None:
    """A heat map of the busy share, a row for each actor; None if no step has recorded it."""
    import plotly.graph_objects as go

    means = busy_means(lines)
    if not means:
        return None
    heat = go.Heatmap(
        x=list(range(1, len(lines) + 1)),
        y=[f"{actor}  {mean:.0%}" for actor, mean in means.items()],
        z=[[(line.get("busy") or {}).get(actor) for line in lines] for actor in means],
        colorscale=HEAT,
        zmin=0,
        zmax=1,
        ygap=2,
        colorbar=colour_bar(150, x=1, xanchor="right", y=1, yanchor="bottom"),
        hovertemplate="%{y}, step %{x}: busy %{z:.0%}<extra></extra>",
    )
    figure = styled(go.Figure(heat), 110 + min(ACTOR_PIXELS * len(means), TALLEST))
    figure.update_layout(margin_t=50)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(title="RL step", showgrid=False)
    return titled(stage_marks(figure, lines, labelled=False), "Busy share of each step")
