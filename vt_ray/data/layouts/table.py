"""The table of all problem layouts, and the choice of a row's layout by its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts import (
    choice,
    code_asserts,
    code_sets,
    live_code_bench,
    math_chats,
    math_problems,
    numbers,
    verl,
    vt_ray_rows,
    yes_no,
)
from vt_ray.data.layouts.layout import Layout

# The order decides where two layouts match: layouts with rarer fields come first.
PROBLEM_LAYOUTS: tuple[Layout, ...] = (
    *yes_no.LAYOUTS,
    *numbers.LAYOUTS,
    *choice.LAYOUTS,
    *code_asserts.LAYOUTS,
    *live_code_bench.LAYOUTS,
    *code_sets.LAYOUTS,
    *vt_ray_rows.LAYOUTS,
    *verl.LAYOUTS,
    *math_chats.LAYOUTS,
    *math_problems.LAYOUTS,
)


def layout_of(fields: Mapping[str, Any]) -> Layout | None:
    """Returns the layout of one row, None if no layout matches."""
    return next((layout for layout in PROBLEM_LAYOUTS if layout.matches(fields)), None)


def layout_by_name(name: str) -> Layout:
    """Returns the layout of this name. Raises ValueError with all names."""
    for layout in PROBLEM_LAYOUTS:
        if layout.name == name:
            return layout
    raise ValueError(f"layout={name!r}: expected one of {', '.join(each.name for each in PROBLEM_LAYOUTS)}")
