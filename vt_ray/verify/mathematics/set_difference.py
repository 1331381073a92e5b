r"""Sets of real numbers without some points or intervals: `(0,36) \setminus \{9\}`, `0 < x < 36, x \ne 9`. Pure.

without((0,36), {9})  -->  (0,9) \cup (9,36)
"""

from __future__ import annotations

from fractions import Fraction

from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.forms import Expression, Form, Relation, Sequence, Union, is_name
from vt_ray.verify.mathematics.inequalities import INFINITY, MINUS_INFINITY, bound, joined_inequalities

REAL_LINE = Sequence("()", (MINUS_INFINITY, INFINITY))
_KEPT = {"<": ("(", ")"), r"\le": ("[", "]"), ">": ("(", ")"), r"\ge": ("[", "]")}
_OPPOSITE = {"(": "]", "[": ")", ")": "[", "]": "("}  # the bracket of the interval beyond an end


def without_points(relations: Sequence, conjunction: bool) -> Relation | None:
    r"""Returns x in (0,9) \cup (9,36) for `0 < x < 36, x \ne 9`; for `x \ne 1` the real line without this point.

    Returns None for other lists of relations.
    """
    points = [item for item in relations.items if isinstance(item, Relation) and item.signs == (r"\ne",)]
    others = tuple(item for item in relations.items if item not in points)
    if not points or not is_name(name := points[0].parts[0]) or any(point.parts[0] != name for point in points):
        return None
    whole: Form | None = REAL_LINE
    if others:
        joined = others[0] if len(others) == 1 else joined_inequalities(Sequence("", others), conjunction)
        whole = _solutions(joined, name)
    rest = without(whole, Sequence("{}", tuple(point.parts[1] for point in points))) if whole is not None else None
    return Relation((name, rest), ("=",)) if rest is not None else None


def _solutions(relation: Form | None, name: Form) -> Form | None:
    """Returns the interval of `name` for one inequality or a chain of two like 0 < x < 36."""
    if not isinstance(relation, Relation):
        return None
    if relation.signs == ("=",) and relation.parts[0] == name and isinstance(relation.parts[1], Sequence | Union):
        return relation.parts[1]  # x in (0, 36)
    if any(sign not in _KEPT for sign in relation.signs):
        return None
    if (one_sided := bound(relation)) is not None:
        subject, sign, value = one_sided
        if sign in ("<", r"\le"):
            interval = Sequence("(" + _KEPT[sign][1], (MINUS_INFINITY, value))
        else:
            interval = Sequence(_KEPT[sign][0] + ")", (value, INFINITY))
        return interval if subject == name else None
    if len(relation.parts) != 3 or relation.parts[1] != name or not set(relation.signs) <= {"<", r"\le"}:
        return None
    brackets = _KEPT[relation.signs[0]][0] + _KEPT[relation.signs[1]][1]
    return Sequence(brackets, (relation.parts[0], relation.parts[2]))


def without(whole: Form, removed: Form) -> Form | None:
    """Returns a union of intervals without some points or intervals, None for other sets.

    The order of all ends must be known. Exception: one point or interval is assumed to be inside a single interval.
    """
    remaining, cuts = _intervals(whole), _intervals(removed)
    if not remaining or not cuts:
        return None
    believed = len(remaining) == len(cuts) == 1
    for cut in cuts:
        pieces: list[Sequence] = []
        for interval in remaining:
            parts = _cut(interval, cut, believed)
            if parts is None:
                return None
            pieces += parts
        remaining = pieces
    return remaining[0] if len(remaining) == 1 else Union(tuple(remaining)) if remaining else Sequence("{}", ())


def _intervals(form: Form) -> list[Sequence] | None:
    """Returns the intervals of a set, a point as a closed interval; None if the set has other parts."""
    if isinstance(form, Union):
        parts = [_intervals(part) for part in form.parts]
        return None if None in parts else [interval for part in parts for interval in part or []]
    if not isinstance(form, Sequence):
        return None
    if form.brackets == "{}":
        return [Sequence("[]", (point, point)) for point in form.items]
    return [form] if len(form.items) == 2 and form.brackets in ("()", "[]", "(]", "[)") else None


def _cut(interval: Sequence, cut: Sequence, believed: bool) -> list[Sequence] | None:
    """Returns the rest of an interval without `cut`; None if the order of the ends is unknown."""
    (low, high), (start, end) = interval.items, cut.items
    if _comes_before(end, low, False) or _comes_before(high, start, False):
        return [interval]
    left = _comes_before(low, start, believed)
    right = _comes_before(end, high, believed)
    if left is None or right is None:
        return None
    if not left and low == start and interval.brackets[0] + cut.brackets[0] == "[(":
        return None  # the point at this end remains, and is not an interval
    if not right and high == end and interval.brackets[1] + cut.brackets[1] == "])":
        return None
    pieces = []
    if left:
        closing = ")" if start == high and interval.brackets[1] == ")" else _OPPOSITE[cut.brackets[0]]
        pieces.append(Sequence(interval.brackets[0] + closing, (low, start)))
    if right:
        opening = "(" if end == low and interval.brackets[0] == "(" else _OPPOSITE[cut.brackets[1]]
        pieces.append(Sequence(opening + interval.brackets[1], (end, high)))
    return pieces


def _comes_before(first: Form, second: Form, unknown: bool | None) -> bool | None:
    """Whether first < second; `unknown` or None if the text does not tell."""
    if first == second:
        return False
    if first == MINUS_INFINITY or second == INFINITY:
        return True
    if second == MINUS_INFINITY or first == INFINITY:
        return False
    numbers = _number(first), _number(second)
    if numbers[0] is None or numbers[1] is None:
        return unknown or None
    return numbers[0] < numbers[1]


def _number(form: Form) -> Fraction | None:
    return exact_number(form.latex) if isinstance(form, Expression) else None
