r"""Science problems whose answer is a number with a unit, or a list of formulas.

SciBench: answer_number "9.13", unit "$10^{-35} \mathrm{~J}$"  -->  gold "9.13 \times 10^{-35} \mathrm{~J}"

As in SciBench's own evaluation, the question states the unit, and a number within 5% is correct. The formulas of
PHYSICS are compared exactly; where its authors ask a language model about other forms, this verifier says wrong.
"""

from __future__ import annotations

import re

from vt_ray.data.layouts.layout import Layout, has, own_id
from vt_ray.data.layouts.math_problems import reference
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

SUBDOMAIN = "science"
_SCIBENCH_TOLERANCE = 0.05
_POWER = re.compile(r"10\s*\^\s*(?:\{[^{}]*\}|-?\d+)")


def with_unit(number: str, unit: str) -> str:
    """Returns a number with its unit as LaTeX."""
    unit = unit.replace("$", "").strip()
    if not unit:
        return number
    if unit.startswith("10^"):
        return rf"{number} \times {unit}"
    if unit in ("%", r"\%"):
        return rf"{number}\%"
    if r"\circ" in unit and len(unit) <= len(r"^{\circ}"):
        return rf"{number}^{{\circ}}"
    return f"{number} {unit}" if "\\" in unit else rf"{number} \text{{ {unit}}}"


def unit_sentence(unit: str) -> str:
    """Returns the sentence that states the unit, without a power of ten; "" without a unit."""
    unit = _POWER.sub("", unit.replace("$", "")).strip()
    if not unit:
        return ""
    return f" The unit of the answer is ${unit}$." if "\\" in unit else f" The unit of the answer is {unit}."


def _read_scibench(row: Row) -> Problem:
    number = row.gold("answer_number", row.value("answer_number"))
    said = row.fields.get("unit")
    unit = said if isinstance(said, str) else ""
    return Problem(
        question_id="",  # two questions may have the same `problemid`
        subdomain=SUBDOMAIN,
        kind="math",
        question=row.text("problem_text") + unit_sentence(unit),
        answer=with_unit(number.replace("$", "").strip(), unit),
        tolerance=_SCIBENCH_TOLERANCE,
        solutions=reference(row.fields.get("solution")),
    )


def _read_physics(row: Row) -> Problem:
    own = own_id(row, "id")
    return Problem(
        question_id=own and f"physics/{own}",
        subdomain="physics",
        kind="math",
        question=row.text("questions").strip("\ufeff \n"),
        answer=row.gold("final_answers", row.value("final_answers")),
        solutions=reference(row.fields.get("solutions")),
    )


LAYOUTS = (
    Layout(
        name="scibench",
        about="SciBench",
        url="https://github.com/mandyyyyii/scibench",
        matches=has("problem_text", "answer_number"),
        read=_read_scibench,
    ),
    Layout(
        name="physics",
        about="PHYSICS, text only",
        url="https://github.com/yale-nlp/Physics",
        matches=has("questions", "final_answers"),
        read=_read_physics,
    ),
)
