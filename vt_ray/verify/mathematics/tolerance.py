r"""Comparison of two measured numbers within a relative tolerance, as the graders of science benchmarks do it.

"9.13 \times 10^{-35} \mathrm{~J}"  --leading_number-->  9.13e-35
"""

from __future__ import annotations

import math
import re

from vt_ray.verify.mathematics.exact_numbers import MAX_DIGITS, exact_number
from vt_ray.verify.mathematics.latex_text import normalise, without_spaces

_NUMBER = re.compile(
    r"(?P<value>[+-]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)"
    r"(?:(?:\\times|\\cdot|\*)10\^\{?(?P<power>[+-]?\d{1,3})\}?)?(?![\d+*/^(.,-])"
)
# Further numbers: "5 or 7". A unit may hold digits: "5 m^2".
_SEVERAL = re.compile(r"(?:or|and|[,;])\S*\d")
_EQUALS = re.compile(r"=|\\(?:approx|simeq|sim)(?![A-Za-z])")


def within_tolerance(gold: str, answer: str, tolerance: float) -> bool:
    """Whether the numbers of two answers (LaTeX) differ by at most `tolerance` of the larger one.

    A unit behind a number is not compared: the question states the unit.
    """
    numbers = leading_number(gold), leading_number(answer)
    if numbers[0] is None or numbers[1] is None:
        return False
    return math.isclose(numbers[0], numbers[1], rel_tol=tolerance)


def leading_number(latex: str) -> float | None:
    """Returns the number at the beginning of an answer, after its last equals sign; None without one number."""
    text = without_spaces(_EQUALS.split(normalise(latex[:MAX_DIGITS]))[-1])
    match = _NUMBER.match(text)
    exact = exact_number(text)
    try:
        if exact is not None:
            return float(exact)
        if match is None or not any(map(str.isdigit, match["value"])) or _SEVERAL.search(text, match.end()):
            return None
        return float(match["value"].replace(",", "")) * 10.0 ** int(match["power"] or 0)
    except OverflowError:
        return None
