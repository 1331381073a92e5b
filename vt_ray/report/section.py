"""What a part of a page holds, and the tables in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vt_ray.report import samples
from vt_ray.report.diagnosis import Finding
from vt_ray.report.summary import Rows

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
    samples: Sequence[tuple[str, Sequence[samples.Sample]]] = ()
    search: Sequence[Mapping[str, Any]] = ()
    code: Sequence[tuple[str, str]] = ()
