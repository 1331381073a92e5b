r"""Parts of the real line: `x \ge 0`, `[0, \infty)`, `x < -1 or x > 1`, as unions of intervals. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from vt_ray.verify.mathematics.forms import Expression, Form, Relation, Sequence, Union, is_name, name_of
from vt_ray.verify.mathematics.inequalities import FLIPPED, INFINITY, MINUS_INFINITY, bound
from vt_ray.verify.mathematics.set_difference import REAL_LINE, without

_UPPER = {"<": ")", r"\le": "]"}
_LOWER = {"<": "(", r"\le": "["}


# |x| or |x - 3|
_ABSOLUTE = re.compile(r"\|([a-z])(?:([-+])([^|A-Za-z]+))?\|")


@dataclass(frozen=True)
class Interval:
    """Two ends with their brackets: "(" and ")" exclude the end."""

    low: Form
    high: Form
    brackets: str


@dataclass(frozen=True)
class Region:
    """A union of intervals of the variable `name` ("" without a name). `sure` is False for a form like (1,2), which
    could also be a point."""

    name: str
    intervals: tuple[Interval, ...]
    sure: bool


def as_region(form: Form) -> Region | None:
    """Returns the region that a form describes, else None."""
    if isinstance(form, Sequence):
        return _alternatives(form) if form.brackets == "" else _interval(form)
    if isinstance(form, Union):
        return _joined([as_region(part) for part in form.parts])
    if not isinstance(form, Relation):
        return None
    if form.signs == ("=",) and is_name(form.parts[0]) and isinstance(form.parts[1], Sequence | Union):
        inner = as_region(form.parts[1])  # x in [0, 1)
        return inner and Region(name_of(form.parts[0]), inner.intervals, inner.sure)
    return _inequality(form)


def same_region(gold: Region, answer: Region, same: Callable[[Form, Form], bool]) -> bool:
    """Whether the intervals are equal in any order. The name of the variable may be missing on one side."""
    if gold.name and answer.name and gold.name != answer.name:
        return False
    left = list(answer.intervals)
    for interval in gold.intervals:
        partner = next((other for other in left if _same_interval(interval, other, same)), None)
        if partner is None:
            return False
        left.remove(partner)
    return not left


def _same_interval(gold: Interval, answer: Interval, same: Callable[[Form, Form], bool]) -> bool:
    return gold.brackets == answer.brackets and same(gold.low, answer.low) and same(gold.high, answer.high)


def _interval(sequence: Sequence) -> Region | None:
    if len(sequence.items) != 2 or sequence.brackets not in ("()", "[]", "(]", "[)"):
        return None
    low, high = sequence.items
    low = MINUS_INFINITY if low == Expression(r"-\infty") else low
    high = INFINITY if high == Expression(r"+\infty") else high
    unbounded = low == MINUS_INFINITY or high == INFINITY
    return Region("", (Interval(low, high, sequence.brackets),), unbounded or sequence.brackets in ("(]", "[)"))


def _alternatives(sequence: Sequence) -> Region | None:
    """Returns the region of `x < -1 or x > 1`, or of a list of intervals: (-\\infty, -1), (2, 3]."""
    regions = [as_region(item) for item in sequence.items]
    sure = any(region is not None and region.sure for region in regions)
    if not sure or not all(isinstance(item, Relation | Sequence) for item in sequence.items):
        return None
    return _joined(regions)


def _joined(regions: list[Region | None]) -> Region | None:
    known = [region for region in regions if region is not None]
    names = {region.name for region in known if region.name}
    if len(known) != len(regions) or len(names) > 1:
        return None
    return Region(names.pop() if names else "", tuple(i for region in known for i in region.intervals), True)


def _inequality(relation: Relation) -> Region | None:
    if (around := _distance(relation)) is not None:
        return around
    one_sided = bound(relation)
    if one_sided is not None:
        name, sign, value = one_sided
        if sign in _UPPER:
            interval = Interval(MINUS_INFINITY, value, "(" + _UPPER[sign])
        else:
            interval = Interval(value, INFINITY, _LOWER[FLIPPED[sign]] + ")")
        return Region(name_of(name), (interval,), True)
    parts, signs = relation.parts, relation.signs
    if signs == (r"\ne",) and is_name(parts[0]) and not is_name(parts[1]):
        rays = without(REAL_LINE, Sequence("{}", (parts[1],)))
        region = as_region(rays) if rays is not None else None
        return region and Region(name_of(parts[0]), region.intervals, True)
    if all(sign in (">", r"\ge") for sign in signs):  # read from right to left
        parts, signs = parts[::-1], tuple(FLIPPED[sign] for sign in reversed(signs))
    if len(parts) != 3 or not all(sign in _UPPER for sign in signs) or not is_name(parts[1]):
        return None
    return Region(name_of(parts[1]), (Interval(parts[0], parts[2], _LOWER[signs[0]] + _UPPER[signs[1]]),), True)


def _distance(relation: Relation) -> Region | None:
    r"""Returns (a - b, a + b) for |x - a| < b, two rays for |x - a| > b; None unless b is an unsigned number."""
    parts, signs = relation.parts, relation.signs
    if len(parts) == 2 and signs[0] in FLIPPED and isinstance(parts[1], Expression) and "|" in parts[1].latex:
        parts, signs = parts[::-1], (FLIPPED[signs[0]],)
    left, right = parts[0], parts[-1]
    if (
        len(parts) != 2
        or signs[0] not in FLIPPED
        or not isinstance(left, Expression)
        or not isinstance(right, Expression)
    ):
        return None
    absolute = _ABSOLUTE.fullmatch(left.latex)
    if absolute is None or right.latex.startswith("-"):
        return None
    low, high = _shifted("-", right.latex, absolute), _shifted("", right.latex, absolute)
    if signs[0] in _UPPER:
        interval = Interval(low, high, _LOWER[signs[0]] + _UPPER[signs[0]])
        return Region(absolute[1], (interval,), True)
    sign = FLIPPED[signs[0]]
    rays = (Interval(MINUS_INFINITY, low, "(" + _UPPER[sign]), Interval(high, INFINITY, _LOWER[sign] + ")"))
    return Region(absolute[1], rays, True)


def _shifted(sign: str, distance: str, absolute: re.Match[str]) -> Expression:
    """Returns the end of the interval at `distance` from a, for |x - a| (`absolute`)."""
    if absolute[3] is None:
        return Expression(sign + (f"({distance})" if sign and re.search(r"[-+]", distance) else distance))
    middle = f"({absolute[3]})" if absolute[2] == "-" else f"-({absolute[3]})"
    return Expression(f"{middle}{sign or '+'}({distance})")
