"""Self-contained HTML pages: styles, charts and scripts are in the file, and nothing is loaded from the network.

    template that extends page.html.jinja + figures --render--> text --write_page--> one file

jinja2 escapes all text, so that the output of a model is displayed and not executed. A content security policy is the
second barrier: the browser runs only scripts with the page's nonce.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from markupsafe import Markup

    from vt_ray.report.diagnosis.signatures import Finding
    from vt_ray.report.run_page.samples import Sample
    from vt_ray.report.tables import Rows


@dataclass(frozen=True)
class Table:
    """A table of texts; `rows[0]` is the header. A folded table opens with a click on its title."""

    title: str
    rows: Rows
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One section of a page. Empty parts are left out.

    key: id of the HTML element.
    text: paragraphs.
    columns: whether figures may be placed side by side.
    samples: [(stage, rollouts)].
    search: the rollouts that the search boxes cover, from `samples.search_sample`.
    code: [(title, text)], shown in a fixed-width font.
    links: [(text, file beside the page)].
    """

    key: str
    title: str
    text: Sequence[str] = ()
    figures: Sequence[go.Figure] = ()
    columns: bool = False
    tables: Sequence[Table] = ()
    findings: Sequence[Finding] = ()
    samples: Sequence[tuple[str, Sequence[Sample]]] = ()
    search: Sequence[Mapping[str, Any]] = ()
    code: Sequence[tuple[str, str]] = ()
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Chart:
    """A figure and the id of its HTML element."""

    id: str
    figure: go.Figure

    @property
    def height(self) -> int:
        return self.figure.layout.height

    @property
    def json(self) -> Markup:
        return script_text(self.figure.to_json())


def script_text(json_text: str) -> Markup:
    """JSON for use inside a script element: every `<` is escaped, as it could close the script or open a comment."""
    from markupsafe import Markup

    return Markup(json_text.replace("<", "\\u003c"))


def render(template: str, figures: Mapping[str, Sequence[go.Figure]], **context: Any) -> str:
    """Render `template`, which extends page.html.jinja, and return the page.

    `figures` maps section keys to figures. The template gets them as `charts[key]`, a list of Charts with the ids
    `chart-<key>-0`, `chart-<key>-1`, ..., for the macro `chart`. `context` must contain `title`. Raises ImportError if
    plotly or jinja2 is not installed.
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    charts = {key: [Chart(f"chart-{key}-{i}", f) for i, f in enumerate(drawn)] for key, drawn in figures.items()}
    # The library has 4.8 MB: a page without a chart does not contain it.
    plotly = Markup(get_plotlyjs()) if any(charts.values()) else ""
    nonce = secrets.token_urlsafe(16)
    return environment.get_template(template).render(**context, charts=charts, plotly=plotly, nonce=nonce)


def write_page(path: Path, page: str) -> None:
    """Write the page atomically. A lone surrogate, which a model can generate, becomes a question mark."""
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8", errors="replace")
    os.replace(partial, path)
