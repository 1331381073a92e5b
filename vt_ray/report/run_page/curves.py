"""Curves over training steps with 95% bands: the SFT loss and the RL metrics.

RL steps are counted through all stages; a dotted line marks the start of a stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import sqrt
from typing import TYPE_CHECKING, Any

from vt_ray.report import formats
from vt_ray.report.chart_style import BLUE, GREY, INK, ORANGE, TEAL, band, error_bars, plain_text, styled, titled
from vt_ray.report.diagnosis.trends import Z_95
from vt_ray.report.metrics import METRICS, Lines, Metric, lookup
from vt_ray.run.stage_ends import End, in_short

if TYPE_CHECKING:
    import plotly.graph_objects as go

Series = list[float | None]

CURVE_HEIGHT = 230


# The charts of the RL section, in the order of the page.
RL_CURVES = tuple(
    METRICS[key]
    for key in (
        "reward_mean",
        "entropy",
        "entropy_q1",
        "entropy_q4",
        "entropy_coef",
        "high_covariance_share",
        "completion_tokens_mean",
        "truncated_share",
        "no_signal_share",
        "replaced_groups",
        "rollout_kl",
        "clip_share",
        "staleness_mean",
        "clip_dual_share",
        "importance_capped_share",
        "importance_masked_share",
        "reference_kl",
        "grad_norm",
        "skipped_steps",
        "generated_tokens_per_second",
        "updated_tokens_per_second",
        "sync/seconds",
        "unverified",
    )
)


def sft_loss(lines: Lines, title: str = "Loss, nats a token") -> go.Figure:
    """The SFT loss in nats per token over steps, and the held-out loss at the checkpoints, if it was measured."""
    import plotly.graph_objects as go

    steps, loss = [line.get("step") for line in lines], [line.get("loss") for line in lines]
    figure = styled(go.Figure(_traces(steps, loss, *interval_band(loss))), 280)
    if measured := [line for line in lines if formats.known(line.get("heldout_loss"))]:
        at, losses = [line.get("step") for line in measured], [line["heldout_loss"] for line in measured]
        figure.add_trace(go.Scatter(x=at, y=losses, mode="lines+markers", name="Held-out loss", line={"dash": "dot"}))
    # Few steps would have ticks between two of them.
    figure.update_xaxes(title="SFT step", dtick=1 if len(lines) <= 10 else None)
    return titled(figure, title)


def rl_curve(lines: Lines, metric: Metric) -> go.Figure | None:
    """One metric over all RL steps, smoothed within each stage; None if no line has a number for it."""
    import plotly.graph_objects as go

    known = [v for line in lines if formats.known(v := lookup(line, metric.key))]
    if not known or (metric.hide_zero and not any(known)):
        return None
    figure = go.Figure()
    for start, _, stage_lines in by_stage(lines):
        steps = list(range(start, start + len(stage_lines)))
        values = [lookup(line, metric.key) for line in stage_lines]
        low, high = ([line.get(key) for line in stage_lines] for key in (metric.low, metric.high))
        measured = any(map(formats.known, low)) and any(map(formats.known, high))
        edges = (smoothed(low), smoothed(high)) if measured else interval_band(values)
        figure.add_traces(_traces(steps, values, *edges))
    styled(figure, CURVE_HEIGHT)
    figure.update_yaxes(tickformat=metric.axis, rangemode="tozero", nticks=5)
    return titled(stage_marks(figure, lines), metric.title)


def held_out_curve(lines: Lines) -> go.Figure | None:
    """Pass@1 on the held-out problems within the stages, with 95% bars; None if no step has measured it."""
    import plotly.graph_objects as go

    metric = METRICS["evaluation/pass_at_1"]
    if not any(line.get("evaluation") for line in lines):
        return None
    figure = styled(go.Figure(), CURVE_HEIGHT).update_layout(showlegend=False)
    for start, stage, stage_lines in by_stage(lines):
        measured = [(start + i, found) for i, line in enumerate(stage_lines) if (found := line.get("evaluation"))]
        intervals = [{"mean": found["pass_at_1"], "low": found["low"], "high": found["high"]} for _, found in measured]
        figure.add_scatter(
            x=[step for step, _ in measured],
            y=[interval["mean"] for interval in intervals],
            error_y=error_bars(intervals, TEAL),
            mode="lines+markers",
            line={"color": TEAL, "width": 2.5},
            hovertemplate=f"{plain_text(stage)}, step %{{x}}: %{{y:.1%}}<extra></extra>",
        )
    figure.update_yaxes(tickformat=metric.axis, rangemode="tozero", nticks=5)
    return titled(stage_marks(figure, lines), metric.title)


def probe_accuracy_curve(lines: Lines, ends: Mapping[str, End]) -> go.Figure | None:
    """The probe accuracies of the gates, and the end of each stage; None if no gate has measured."""
    import plotly.graph_objects as go

    if not any(formats.known(line.get("probe_accuracy")) for line in lines):
        return None
    figure = styled(go.Figure(), CURVE_HEIGHT).update_layout(showlegend=False)
    for start, stage, stage_lines in by_stage(lines):
        measured = [
            (start + i, v) for i, line in enumerate(stage_lines) if formats.known(v := line.get("probe_accuracy"))
        ]
        figure.add_scatter(
            x=[step for step, _ in measured],
            y=[accuracy for _, accuracy in measured],
            mode="lines+markers",
            line={"color": BLUE, "width": 2.5},
            hovertemplate=f"{plain_text(stage)}, step %{{x}}: %{{y:.1%}}<extra></extra>",
        )
        if end := ends.get(stage):
            at = start + len(stage_lines) - 0.5
            figure.add_vline(x=at, line={"color": ORANGE, "width": 1, "dash": "dot"})
            label = {
                "text": plain_text(in_short(str(end.get("ended", "")))),
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
            }
            figure.add_annotation(x=at, xanchor="right", showarrow=False, font={"size": 10, "color": ORANGE}, **label)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=5)
    figure.update_xaxes(range=[0.5, len(lines) + 0.5])
    return titled(figure, "Probe accuracy at the gates, and why stages ended")


def by_stage(lines: Lines) -> list[tuple[int, str, list[Mapping[str, Any]]]]:
    """[(first step counted through all stages, stage, its lines)] in the order of the stages."""
    out: list[tuple[int, str, list[Mapping[str, Any]]]] = []
    start = 1
    for stage, group in groupby(lines, key=lambda line: str(line.get("stage", ""))):
        stage_lines = list(group)
        out.append((start, stage, stage_lines))
        start += len(stage_lines)
    return out


def smoothed(values: Sequence[Any]) -> Series:
    """Centred moving mean over about sqrt(n) of n values; missing values are ignored.

    Near the ends the window shrinks on both sides, so that a steep start is not flattened.
    """
    return [sum(window) / len(window) if window else None for window in _windows(values)]


def interval_band(values: Sequence[Any]) -> tuple[Series, Series]:
    """The 95% interval of each moving mean: m -+ 1.96 s / sqrt(n) for n values in its window.

    s is the standard deviation of single steps x around their moving means, the same for all steps: s^2 is the mean of
    (x - m)^2 / (1 - 1/n), where 1/n corrects for m containing x. Returns None values if no window has two values. The
    band is not negative if no value is.
    """
    windows, means = _windows(values), smoothed(values)
    scatter = [
        (x - m) ** 2 / (1 - 1 / len(w))
        for x, m, w in zip(values, means, windows, strict=True)
        if formats.known(x) and m is not None and len(w) > 1
    ]
    if not scatter:
        return [None] * len(values), [None] * len(values)
    deviation = sqrt(sum(scatter) / len(scatter))
    floor = 0.0 if all(x >= 0 for x in values if formats.known(x)) else -float("inf")
    halves = [Z_95 * deviation / sqrt(len(w)) if w else 0.0 for w in windows]
    low = [None if m is None else max(floor, m - half) for m, half in zip(means, halves, strict=True)]
    high = [None if m is None else m + half for m, half in zip(means, halves, strict=True)]
    return low, high


def stage_marks(figure: go.Figure, lines: Lines, labelled: bool = True) -> go.Figure:
    """Add a dotted line at the start of each stage after the first, with the name of the stage."""
    for start, stage, _ in by_stage(lines)[1:]:
        figure.add_vline(x=start - 0.5, line={"color": INK, "width": 1, "dash": "dot"})
        if labelled:
            place = {"x": start - 0.5, "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
            figure.add_annotation(text=stage, **place, showarrow=False, font={"size": 10, "color": GREY})
    return figure


def _windows(values: Sequence[Any]) -> list[list[float]]:
    """The known values in the window around each position."""
    n = len(values)
    halves = [min(max(1, round(sqrt(n) / 2)), i, n - 1 - i) for i in range(n)]
    return [[v for v in values[i - half : i + half + 1] if formats.known(v)] for i, half in enumerate(halves)]


def _traces(steps: Sequence[Any], values: Sequence[Any], low: Series, high: Series) -> list[go.Scatter]:
    """Three traces: band, single steps, moving mean."""
    import plotly.graph_objects as go

    # A single step has no line to draw.
    mode = "lines" if len(values) > 1 else "markers"
    means = smoothed(values)
    raw = go.Scatter(x=list(steps), y=list(values), mode=mode, line={"color": BLUE, "width": 1}, opacity=0.35)
    smooth = go.Scatter(x=list(steps), y=means, mode=mode, line={"color": BLUE, "width": 2.5})
    smooth.update(customdata=list(zip(low, high, strict=True)), showlegend=False)
    smooth.update(hovertemplate="step %{x}: %{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]<extra></extra>")
    return [band(steps, low, high, BLUE), raw.update(hoverinfo="skip", showlegend=False), smooth]
