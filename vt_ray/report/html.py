"""report.html: one page that holds all of a run, needs no network, and is read from the run folder alone.

    run folder --read_run--> RunRecord --SECTIONS--> [Section] --report.html.jinja--> report.html

All text is escaped by jinja2: what a model wrote can show, and cannot act.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vt_ray.report import milestones as ms
from vt_ray.report import words
from vt_ray.report.run_record import RunRecord, read_run
from vt_ray.report.sections import SECTIONS, Section

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from markupsafe import Markup

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Chart:
    """A figure with the id of the element that it is drawn into."""

    id: str
    figure: go.Figure

    @property
    def height(self) -> int:
        return self.figure.layout.height

    @property
    def json(self) -> Markup:
        """As a script may hold it: no `<` is left that could close the script."""
        from markupsafe import Markup

        return Markup(self.figure.to_json().replace("<", "\\u003c"))


def write_report(run: Path) -> Path:
    """Write `run`/report.html from what lies in the folder `run`, and return its path.

    Raises FileNotFoundError where `run` is no folder, ImportError where plotly or jinja2 is not installed.
    """
    record = read_run(run)
    page = _render(record, [section(record) for section in SECTIONS])
    path = run / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8", errors="replace")
    os.replace(partial, path)
    return path


def _render(record: RunRecord, sections: Sequence[Section]) -> str:
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        name=str(record.known("run_name") or record.root.resolve().name),
        headline=ms.headline(ms.of(record.summary)),
        seen=[finding for section in sections for finding in section.findings if finding.seen],
        sections=sections,
        charts={section.key: _charts(section) for section in sections},
        plotly=Markup(get_plotlyjs()),
        percent=words.percent,
    )


def _charts(section: Section) -> list[Chart]:
    return [Chart(f"chart-{section.key}-{i}", figure) for i, figure in enumerate(section.figures)]
