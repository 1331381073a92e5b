"""Charts over training steps: the SFT loss, the RL curves, where a step's time went, p_c over steps.

RL steps are counted through all stages in the order they ran; a dotted line marks where a stage begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any

from vt_ray.report import words
from vt_ray.report.charts import BLUE, GREY, HEAT, INK, ORANGE, ROSE, TEAL, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

Lines = Sequence[Mapping[str, Any]]

# metric, title, axis format
RL_CURVES = (
    ("reward_mean", "Reward: share of correct rollouts", ".0%"),
    ("entropy", "Entropy, nats a token", ""),
    ("completion_tokens_mean", "Completion length, tokens", ""),
    ("truncated_share", "Share of truncated rollouts", ".0%"),
    ("no_signal_share", "Share of groups without a signal", ".0%"),
    ("rollout_kl", "KL rollout to trainer, nats a token", ""),
    ("grad_norm", "Gradient norm", ""),
    ("unverified", "Rollouts without a verdict", ""),
)
TIME_PARTS = (("generate", BLUE), ("verify", TEAL), ("update", ORANGE), ("sync", ROSE), ("rest", GREY))
CURVE_HEIGHT = 230


def sft_loss(lines: Lines) -> go.Figure:
    """SFT loss in nats a token over steps."""
    import plotly.graph_objects as go

    steps, loss = [line.get("step") for line in lines], [line.get("loss") for line in lines]
    figure = styled(go.Figure([*_raw_and_smooth(steps, loss)]), 280)
    figure.update_xaxes(title="SFT step")
    return _titled(figure, "Loss, nats a token")


def rl_curve(lines: Lines, key: str, title: str, tick_format: str) -> go.Figure | None:
    """One metric over all RL steps, smoothed within each stage; None where no line has a number for it."""
    import plotly.graph_objects as go

    if not any(words.known(line.get(key)) for line in lines):
        return None
    figure = go.Figure()
    for start, _, stage_lines in by_stage(lines):
        values = [line.get(key) for line in stage_lines]
        figure.add_traces(_raw_and_smooth(list(range(start, start + len(values))), values))
    styled(figure, CURVE_HEIGHT)
    figure.update_yaxes(tickformat=tick_format, rangemode="tozero", nticks=5)
    return _titled(_stage_marks(figure, lines), title)


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
            for part, colour in TIME_PARTS
        ]
    )
    styled(figure, 300).update_layout(barmode="stack", bargap=0.08 if len(lines) <= 60 else 0, showlegend=True)
    figure.update_layout(legend_traceorder="normal")
    figure.update_yaxes(title="seconds")
    figure.update_xaxes(title="RL step")
    return _stage_marks(figure, lines, labelled=False)


def p_c_heat(lines: Lines, lam: float | None) -> go.Figure | None:
    """Share of questions at each p_c over RL steps; beside it the weight exp(-lam * D_ME) if `lam` is known.

    A stage's histograms have a bin for each p_c = 0, 1/G, ..., 1. None where no line has a histogram.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    counted = [line for line in lines if line.get("p_c_histogram")]
    if not counted:
        return None
    figure = make_subplots(
        1,
        2,
        shared_yaxes=True,
        column_widths=[0.76, 0.24],
        horizontal_spacing=0.04,
        column_titles=["", "weight"],
    )
    for start, stage, stage_lines in by_stage(lines):
        steps, bins, shares = _p_c_shares(start, stage_lines)
        hover = f"{stage}, step %{{x}}: p_c %{{y:.3f}} for %{{z:.0%}} of questions<extra></extra>"
        heat = go.Heatmap(x=steps, y=bins, z=shares, coloraxis="coloraxis", hovertemplate=hover)
        figure.add_trace(heat, row=1, col=1)
    if lam is not None:
        p = [i / 100 for i in range(101)]
        curve = go.Scatter(x=[weight(v, lam) for v in p], y=p, mode="lines", line={"color": ORANGE, "width": 3})
        figure.add_trace(curve.update(hovertemplate="p_c %{y:.2f}: weight %{x:.3f}<extra></extra>"), row=1, col=2)
    styled(figure, 340).update_layout(showlegend=False, coloraxis={"colorscale": HEAT, "showscale": False, "cmin": 0})
    figure.update_annotations(font_size=13)
    figure.update_yaxes(title="p_c", row=1, col=1)
    figure.update_xaxes(title="RL step", showgrid=False, row=1, col=1)
    figure.update_xaxes(range=[0, 1.05], nticks=3, row=1, col=2)
    return _stage_marks(figure, lines, labelled=False, col=1)


def by_stage(lines: Lines) -> list[tuple[int, str, list[Mapping[str, Any]]]]:
    """(number of its first step counted through all stages, stage, its lines), in the order they ran."""
    out: list[tuple[int, str, list[Mapping[str, Any]]]] = []
    start = 1
    for stage, group in groupby(lines, key=lambda line: str(line.get("stage", ""))):
        stage_lines = list(group)
        out.append((start, stage, stage_lines))
        start += len(stage_lines)
    return out


def smoothed(values: Sequence[Any]) -> list[float | None]:
    """Centred moving mean over about sqrt(n) of n values; values that are not numbers are left out of it.

    Towards the ends the window narrows on both sides alike, so that a steep beginning is not flattened.
    """
    n = len(values)
    halves = [min(max(1, round(sqrt(n) / 2)), i, n - 1 - i) for i in range(n)]
    windows = [values[i - half : i + half + 1] for i, half in enumerate(halves)]
    return [_mean([v for v in window if words.known(v)]) for window in windows]


def weight(p: float, lam: float) -> float:
    """w_ME = exp(-lam * D_ME(p || 0.5)) of p in [0, 1] (section 3.4), without loading the trainer's torch."""
    deviation = sum(q * log(2 * q) for q in (p, 1 - p) if q > 0)
    return exp(-lam * deviation)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _raw_and_smooth(steps: Sequence[Any], values: Sequence[Any]) -> list[go.Scatter]:
    import plotly.graph_objects as go

    # A single step has no line to draw.
    mode = "lines" if len(values) > 1 else "markers"
    raw = go.Scatter(x=list(steps), y=list(values), mode=mode, line={"color": BLUE, "width": 1}, opacity=0.35)
    smooth = go.Scatter(x=list(steps), y=smoothed(values), mode=mode, line={"color": BLUE, "width": 2.5})
    raw.update(hoverinfo="skip", showlegend=False)
    smooth.update(hovertemplate="step %{x}: %{y:.4g}<extra></extra>", showlegend=False)
    return [raw, smooth]


def _titled(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(title={"text": title, "font": {"size": 13}, "x": 0, "xref": "paper"})


def _stage_marks(figure: go.Figure, lines: Lines, labelled: bool = True, **where: int) -> go.Figure:
    """A dotted line between stages, with the name of the stage that begins there."""
    for start, stage, _ in by_stage(lines)[1:]:
        place = {"row": 1, **where} if where else {}
        figure.add_vline(x=start - 0.5, line={"color": INK, "width": 1, "dash": "dot"}, **place)
        if labelled:
            note = {
                "text": stage,
                "x": start - 0.5,
                "y": 1,
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
            }
            figure.add_annotation(**note, showarrow=False, font={"size": 10, "color": GREY})
    return figure


def _p_c_shares(start: int, lines: Lines) -> tuple[list[int], list[float], list[list[float | None]]]:
    """x, y and z of a stage's heat map: z[bin][step] is that bin's share of the step's questions."""
    size = max((len(line.get("p_c_histogram") or []) for line in lines), default=0)
    bins = [i / (size - 1) for i in range(size)] if size > 1 else [0.0] * size
    columns: list[list[float | None]] = []
    for line in lines:
        counts = line.get("p_c_histogram") or []
        total = sum(counts)
        same = len(counts) == size and total > 0
        columns.append([count / total for count in counts] if same else [None] * size)
    return list(range(start, start + len(columns))), bins, [list(row) for row in zip(*columns, strict=True)]
