"""The look that all charts share: colours, margins, titles, bands and error bars.

Every chart has a fixed height and takes the width of its container, so that it is readable on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, TEAL, ROSE, GREY = "#2b6cb0", "#dd7a1b", "#2a9d8f", "#c2577a", "#8a94a3"
INK, GRID = "#2d3748", "#e8ecf1"
HEAT = ["#f7fafc", "#c6dbef", "#6baed6", "#2171b5", "#08306b"]


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Apply the common look: white background, small margins, legend above the chart, no fixed width."""
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
    # Fixed ranges: scrolling the page on a touch screen must not zoom a chart.
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "fixedrange": True}
    figure.update_xaxes(**axis, title_font_size=12)
    figure.update_yaxes(**axis, title_font_size=12, exponentformat="e")
    return figure


def titled(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(title={"text": title, "font": {"size": 13}, "x": 0, "xref": "paper"})


def colour_bar(pixels: int, **place: Any) -> dict[str, Any]:
    """A horizontal colour scale for shares, `pixels` wide."""
    scale = {"orientation": "h", "thickness": 8, "lenmode": "pixels", "len": pixels, "nticks": 4, "tickformat": ".0%"}
    return {**scale, **place}


def band(x: Sequence[Any], low: Sequence[float | None], high: Sequence[float | None], colour: str) -> go.Scatter:
    """A light band between `low` and `high`; points where either is None are left out."""
    import plotly.graph_objects as go

    edges = [(at, a, b) for at, a, b in zip(x, low, high, strict=True) if a is not None and b is not None]
    upper, lower = [(at, b) for at, _, b in edges], [(at, a) for at, a, _ in reversed(edges)]
    return go.Scatter(
        x=[at for at, _ in upper + lower],
        y=[value for _, value in upper + lower],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.16,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def error_bars(scores: Sequence[Mapping[str, float]], colour: str) -> dict[str, Any]:
    """Error bars from the mean to both ends of each interval {mean, low, high}."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [s["high"] - s["mean"] for s in scores],
        "arrayminus": [s["mean"] - s["low"] for s in scores],
        "color": colour,
        "thickness": 2,
        "width": 4,
    }


def plain_text(name: str) -> str:
    """`name` escaped so that plotly shows it unchanged: plotly interprets a few HTML tags."""
    return name.replace("&", "&amp;").replace("<", "&lt;")
