"""The section of report.html about benchmarks: results beside published figures, Pass@K, token budgets, levels.

milestones of summary.json, each with `benchmarks: {name: figures}` --benchmark_section--> Section
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vt_ray.report import benchmark_table, formats
from vt_ray.report import milestones as ms
from vt_ray.report.chart_style import BLUE, GREY, INK, ORANGE, ROSE, TEAL, error_bars, plain_text, styled, titled
from vt_ray.report.html import Section, Table
from vt_ray.report.run_page.charts import INTERVAL, dot_rows
from vt_ray.report.tables import Rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (GREY, TEAL, BLUE, ORANGE, ROSE)
# The parts of a benchmark's problems: key of the figures, and the name of the table.
PARTS = (
    *(("by_subdomain", "subdomain"), ("by_level", "level"), ("by_month", "month")),
    ("by_training_rows", "matching training rows"),
)
Figures = Mapping[str, Any]


def benchmark_section(reached: Sequence[ms.Milestone]) -> Section | None:
    """The section of the milestones that have benchmarks; None if there is none. Charts show five of them at most."""
    shown = [m for m in reached if benchmark_table.of(m)]
    if not shown:
        return None
    names = benchmark_table.names(shown)
    drawn = _chosen(shown)
    figures = [_result_dots(drawn, names), *_moved_dots(drawn, names)]
    for name in names:
        figures += [figure for draw in (_pass_curves, _budget_curves, _level_dots) if (figure := draw(drawn, name))]
    text = (
        "Pass@1 on each benchmark with 95% intervals over its problems; open diamonds are published figures. Under a "
        "token budget, a longer completion counts as wrong."
    )
    tables = [Table("", benchmark_table.rows(shown)), Table("", benchmark_table.detail_rows(shown))]
    if len(votes := benchmark_table.vote_rows(shown)) > 1:
        tables.append(Table(benchmark_table.VOTES, votes))
    if any(map(benchmark_table.perturbed, shown)):
        figures += [_perturbation_dots(drawn, name) for name in names if _changes(drawn, name)]
        tables.append(
            Table("Perturbations: the change of Pass@1 on the same problems", benchmark_table.perturbation_rows(shown))
        )
    tables += _part_tables(shown, names)
    moved = [said for said in [benchmark_table.moved_sentence(shown)] if said]
    return Section(
        "benchmarks", "Benchmarks", [text, *moved, *benchmark_table.notes(shown)], figures, columns=True, tables=tables
    )


def _chosen(shown: Sequence[ms.Milestone]) -> list[ms.Milestone]:
    """All milestones if they are few, else the first one, the start of RL and the last ones."""
    if len(shown) <= len(COLOURS):
        return list(shown)
    start = ms.start_of_rl(shown)
    first = [shown[0], *([start] if start and start is not shown[0] else [])]
    return [*first, *[m for m in shown if m not in first][-(len(COLOURS) - len(first)) :]]


def _series(drawn: Sequence[ms.Milestone], name: str) -> list[tuple[str, str, Figures]]:
    """[(milestone, colour, figures)] of the milestones that have the benchmark."""
    return [(label, colour, m["benchmarks"][name]) for label, colour, m in _coloured(drawn) if name in m["benchmarks"]]


def _coloured(drawn: Sequence[ms.Milestone]) -> list[tuple[str, str, ms.Milestone]]:
    colours = [BLUE] if len(drawn) == 1 else COLOURS[: len(drawn)]
    return [(plain_text(m["name"]), colour, m) for m, colour in zip(drawn, colours, strict=True)]


def _title(drawn: Sequence[ms.Milestone], name: str) -> str:
    titles = (m["benchmarks"][name].get("title") for m in drawn if name in m["benchmarks"])
    return plain_text(str(next((title for title in titles if title), name)))


def _result_dots(drawn: Sequence[ms.Milestone], names: Sequence[str]) -> go.Figure:
    """A row for each benchmark: a dot with its interval for each milestone, a diamond for each published figure."""
    series = [
        (label, colour, [(m["benchmarks"].get(name) or {}).get("pass_at_1") for name in names])
        for label, colour, m in _coloured(drawn)
    ]
    figure = dot_rows(series, [_title(drawn, name) for name in names])
    published = [(row, *entry) for row, name in enumerate(names) for entry in _published(drawn, name).items()]
    figure.add_scatter(
        name="published",
        x=[value / 100 for _, _, value in published],
        y=[row for row, _, _ in published],
        mode="markers",
        marker={"size": 9, "color": INK, "symbol": "diamond-open"},
        customdata=[[plain_text(model)] for _, model, _ in published],
        hovertemplate="%{customdata[0]}, published: %{x:.1%}<extra></extra>",
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return _headed(figure, "Pass@1")


def _moved_dots(drawn: Sequence[ms.Milestone], names: Sequence[str]) -> list[go.Figure]:
    """A row for each benchmark: the paired change of Pass@1 from the first milestone, a dot for each later one."""
    series = [
        (label, colour, [benchmark_table.moved((m["benchmarks"]).get(name)) for name in names])
        for label, colour, m in _coloured(drawn)[1:]
    ]
    if not any(change for _, _, changes in series for change in changes):
        return []
    figure = dot_rows(series, [_title(drawn, name) for name in names])
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(tickformat="+.0%", nticks=6)
    return [_headed(figure, f"What moved: change of Pass@1 from {plain_text(drawn[0]['name'])}")]


def _published(drawn: Sequence[ms.Milestone], name: str) -> dict[str, float]:
    """{model: Pass@1 in percent} of the figures that others published for the benchmark."""
    return {
        str(entry["model"]): float(entry["value"])
        for m in drawn
        for entry in (m["benchmarks"].get(name) or {}).get("published") or []
        if formats.known(entry.get("value"))
    }


def _pass_curves(drawn: Sequence[ms.Milestone], name: str) -> go.Figure | None:
    """Pass@K over K, a line for each milestone; None if only Pass@1 was measured."""
    lines = [
        (milestone, colour, {"1": figures["pass_at_1"], **figures["pass_at_k"]})
        for milestone, colour, figures in _series(drawn, name)
    ]
    return _curves(lines, f"{_title(drawn, name)}: Pass@K", "K")


def _budget_curves(drawn: Sequence[ms.Milestone], name: str) -> go.Figure | None:
    """Pass@1 under each token budget, a line for each milestone; None if no completion is longer than a budget."""
    lines = [
        (milestone, colour, {**_budgets(figures), "no cut": figures["pass_at_1"]})
        for milestone, colour, figures in _series(drawn, name)
    ]
    return _curves(lines, f"{_title(drawn, name)}: Pass@1 by token budget", "tokens")


def _budgets(figures: Figures) -> dict[str, Any]:
    return {f"{int(budget) // 1024}K": score for budget, score in (figures.get("by_token_budget") or {}).items()}


def _curves(
    lines: Sequence[tuple[str, str, Mapping[str, Mapping[str, float] | None]]], title: str, axis: str
) -> go.Figure | None:
    """A line with error bars for each (name, colour, {x: score}); None if no line has two points."""
    import plotly.graph_objects as go

    known = [(name, colour, {x: s for x, s in scores.items() if s}) for name, colour, scores in lines]
    if not any(len(scores) > 1 for _, _, scores in known):
        return None
    figure = styled(go.Figure(), 320).update_layout(showlegend=True)
    for name, colour, scores in known:
        found = list(scores.values())
        figure.add_scatter(
            name=name,
            x=list(scores),
            y=[s["mean"] for s in found],
            mode="lines+markers",
            line={"color": colour, "width": 2.5},
            marker={"size": 7},
            error_y=error_bars(found, colour),
            customdata=[[s["low"], s["high"]] for s in found],
            hovertemplate=f"{name}, %{{x}}: %{{y:.1%}} {INTERVAL}<extra></extra>",
        )
    order = sorted({x for _, _, scores in known for x in scores}, key=_numbers_first)
    figure.update_xaxes(title=axis, type="category", categoryorder="array", categoryarray=order)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return _headed(figure, title)


def _numbers_first(label: str) -> tuple[bool, int]:
    digits = label.removesuffix("K")
    return not digits.isdecimal(), int(digits) if digits.isdecimal() else 0


def _level_dots(drawn: Sequence[ms.Milestone], name: str) -> go.Figure | None:
    """Pass@1 at each level, a dot for each milestone; None if the problems have fewer than two levels."""
    series = _series(drawn, name)
    levels = _names(figures.get("by_level") or {} for _, _, figures in series)
    if len(levels) < 2:
        return None
    dots = [
        (milestone, colour, [((figures.get("by_level") or {}).get(level) or {}).get("pass_at_1") for level in levels])
        for milestone, colour, figures in series
    ]
    figure = dot_rows(dots, [plain_text(level) for level in levels])
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return _headed(figure, f"{_title(drawn, name)}: Pass@1 by level")


def _headed(figure: go.Figure, title: str) -> go.Figure:
    """Give the figure a title above a legend of up to two lines."""
    return titled(figure, title).update_layout(title_y=0.99, title_yanchor="top", title_yref="container", margin_t=74)


def _changes(drawn: Sequence[ms.Milestone], name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """[(milestone, colour, {perturbation: change of Pass@1})] of the milestones with perturbations of the benchmark."""
    found = [
        (
            label,
            colour,
            {f["perturbation"]: f.get("change") for f in benchmark_table.perturbed(m) if f["original"] == name},
        )
        for label, colour, m in _coloured(drawn)
    ]
    return [entry for entry in found if entry[2]]


def _perturbation_dots(drawn: Sequence[ms.Milestone], name: str) -> go.Figure:
    """A row for each perturbation: the paired change of Pass@1, a dot for each milestone."""
    series = _changes(drawn, name)
    rows = _names(changes for _, _, changes in series)
    figure = dot_rows([(label, colour, [changes.get(row) for row in rows]) for label, colour, changes in series], rows)
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(tickformat="+.0%", nticks=6)
    return _headed(figure, f"{_title(drawn, name)}: change of Pass@1 by perturbation")


def _names(groups: Any) -> list[str]:
    return list(dict.fromkeys(name for found in groups for name in found))


def _part_tables(shown: Sequence[ms.Milestone], names: Sequence[str]) -> list[Table]:
    """A folded table for each benchmark and property that divides its problems into two or more parts."""
    tables = []
    for name in names:
        for key, what in PARTS:
            found = [(m["name"], (m["benchmarks"].get(name) or {}).get(key) or {}) for m in shown]
            parts = _names(of for _, of in found)
            if len(parts) > 1:
                title = f"{_title(shown, name)}: Pass@1 by {what}, in percent"
                tables.append(Table(title, _part_rows(found, parts, what), folded=True))
    return tables


def _part_rows(found: Sequence[tuple[str, Figures]], parts: Sequence[str], what: str) -> Rows:
    rows = [[what, "problems", *(name for name, _ in found)]]
    for part in parts:
        problems = max((of.get(part) or {}).get("problems") or 0 for _, of in found)
        scores = [formats.interval((of.get(part) or {}).get("pass_at_1")).replace("%", "") for _, of in found]
        rows.append([part, formats.thousands(problems), *scores])
    return rows
