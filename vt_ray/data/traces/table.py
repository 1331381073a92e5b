"""All layouts of SFT traces. A new layout is one entry in `LAYOUTS` of the module of its family."""

from __future__ import annotations

from vt_ray.data.traces import chats, columns, samples
from vt_ray.data.traces.trace import Fields, TraceLayout

# Layouts with more fields come first: OpenR1's rows also have `messages`.
TRACE_LAYOUTS = {layout.name: layout for layout in (*samples.LAYOUTS, *columns.LAYOUTS, *chats.LAYOUTS)}


def detect_trace_layout(fields: Fields) -> TraceLayout | None:
    """Returns the layout of a row, None if the row has no known layout of traces."""
    return next((layout for layout in TRACE_LAYOUTS.values() if layout.matches(fields)), None)
