r"""Inequalities that form one: `x > 1 and x \le 2` is `1 < x \le 2`.

Pure. `and` means both. A comma means both if both can hold (x > 1, x < 2), otherwise either (x < 1, x > 2).
"""

from __future__ import annotations

from fractions import Fraction

from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.forms import Expression, Form, Relation, Sequence, is_name

INFINITY = Expression(r"\infty")
MINUS_INFINITY = Expression(r"-\infty")
FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_LOWER = (">", r"\ge")


def bound(form: Form) -> tuple[Form, str, Form] | None:
    """Returns (name, sign, value) of an inequality with a name on one side, with the name moved to the left."""
    if not isinstance(form, Relation) or len(form.parts) != 2 or form.signs[0] not in FLIPPED:
        return None
    left, right = form.parts
    if is_name(left) == is_name(right):
        return None
    return (left, form.signs[0], right) if is_name(left) else (right, FLIPPED[form.signs[0]], left)


def joined_inequalities(alternatives: Sequence, conjunction: bool) -> Relation | None:
    """Returns `low < name < high` for a lower and an upper bound of one name; None for other inequalities."""
    bounds = [bound(item) for item in alternatives.items]
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None or bounds[0][0] != bounds[1][0]:
        return None
    lower = [one for one in bounds if one is not None and one[1] in _LOWER]
    upper = [one for one in bounds if one is not None and one[1] not in _LOWER]
    if len(lower) != 1 or not (conjunction or _possible(lower[0][2], upper[0][2])):
        return None
    (name, sign, low), (_, upper_sign, high) = lower[0], upper[0]
    return Relation((low, name, high), (FLIPPED[sign], upper_sign))


def _possible(low: Form, high: Form) -> bool:
    numbers = [_number(low), _number(high)]
    return numbers[0] is not None and numbers[1] is not None and numbers[0] <= numbers[1]


def _number(form: Form) -> Fraction | None:
    return exact_number(form.latex) if isinstance(form, Expression) else None
