"""A page that stands alone: its look, its charts and its scripts inside it, nothing fetched.

    template that extends page.html.jinja + figures --render--> text --write_page--> one file

All text is escaped by jinja2: what a model wrote can show, and cannot act. What slipped through would not act
either: the browser runs only scripts that bear the page's own one-time mark.
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
    """`rows[0]` is the header. A folded table opens at a click on its title."""

    title: str
    rows: Rows
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the page; what it has none of is left out.

    `columns` says whether figures may stand side by side; `samples` is [(stage, [Sample])]; `search` is rollouts as
    `samples.search_sample` gives them; `code` is [(title, text)].
    """

    key: str
    title: str
    says: Sequence[str] = ()
    figures: Sequence[go.Figure] = ()
    columns: bool = False
    tables: Sequence[Table] = ()
    findings: Sequence[Finding] = ()
    samples: Sequence[tuple[str, Sequence[Sample]]] = ()
    search: Sequence[Mapping[str, Any]] = ()
    code: Sequence[tuple[str, str]] = ()


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
        return script_text(self.figure.to_json())


def script_text(json_text: str) -> Markup:
    """JSON as a script may hold it: no `<` is left that could close the script or open a comment."""
    from markupsafe import Markup

    return Markup(json_text.replace("<", "\\u003c"))


def render(template: str, figures: Mapping[str, Sequence[go.Figure]], **context: Any) -> str:
    """The page of `template`, which extends page.html.jinja.

    `figures` by section: `charts[section]` in the template lists them as Charts with ids `chart-<section>-0`, ..., to
    be placed with the macro `chart`. `context` must hold `title`. Raises ImportError where plotly or jinja2 is not
    installed.
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
    plotly, nonce = Markup(get_plotlyjs()), secrets.token_urlsafe(16)
    return environment.get_template(template).render(**context, charts=charts, plotly=plotly, nonce=nonce)


def write_page(path: Path, page: str) -> None:
    """Whole or not there; half of a surrogate pair, which a model can write, becomes a question mark."""
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8", errors="replace")
    os.replace(partial, path)
