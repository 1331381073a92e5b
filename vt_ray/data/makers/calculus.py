"""Calculus: derivatives at a point, definite integrals, mean slopes, limits."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from random import Random

from vt_ray.data.makers.arithmetic import (
    latex,
    operand,
    polynomial,
    product_by_tens,
    product_line,
    quotient_line,
    sum_by_digits,
    sum_by_tens,
    sum_line,
)
from vt_ray.data.makers.family import Family, Task, math_task

_DIGITS = [n for n in range(-9, 10) if n]


def _derivative_question(dice: Random, function: str, at: int) -> str:
    return dice.choice((f"f(x)={function}. Find f'({at}).", f"Slope of {function} at x={at}?"))


def _derivative(dice: Random, a: int, b: int, c: int, at: int) -> Task:
    """ax^2+bx+c."""
    slope, value = 2 * a * at, 2 * a * at + b
    rule = f"f'(x)={polynomial(2 * a, b)}"
    add_b = sum_by_tens(slope, b) if b else []
    steps = [rule, *product_by_tens(at, 2 * a), *add_b]
    checked = [product_line(2, a), rule, *product_by_tens(at, 2 * a), *add_b]
    undo_b = [f"check: {sum_line(value, -b)}"] if b else []
    checked += [*undo_b, f"{slope}/{operand(at)}={2 * a} ok"] if b else [f"check: {slope}/{at}={2 * a} ok"]
    return math_task(_derivative_question(dice, polynomial(a, b, c), at), str(value), steps, checked)


def _derivative_plain() -> Iterator[tuple[int, ...]]:
    for a, c, at in product(range(2, 10), range(-9, 10), range(2, 10)):
        yield a, 0, c, at


def _derivative_quadratic() -> Iterator[tuple[int, ...]]:
    for a, b, c, at in product(range(2, 10), _DIGITS, (-5, 0, 1, 3), range(-5, 8)):
        if at not in (0, 1):
            yield a, b, c, at


def _derivative_cubic(dice: Random, _form: str, a: int, b: int, c: int, at: int) -> Task:
    """ax^3+bx^2+cx, the derivative worked term by term, and by Horner's rule."""
    p, q, square = 3 * a, 2 * b, at * at
    first, second = p * square, q * at
    value = first + second + c
    rule = f"f'(x)={polynomial(p, q, c)}"
    steps = [rule, product_line(p, square), product_line(q, at), sum_line(first, second)]
    steps.append(sum_line(first + second, c))
    inner = p * at + q
    checked = [product_line(3, a), product_line(2, b), rule, product_line(p, at), sum_line(p * at, q)]
    checked += [*product_by_tens(at, inner), sum_line(inner * at, c)]
    checked += [f"check: {product_line(p, square)}", f"{first}{second:+d}{c:+d}={value} ok"]
    return math_task(_derivative_question(dice, polynomial(a, b, c, 0), at), str(value), steps, checked)


def _derivative_cubic_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c, at in product(range(1, 4), range(-4, 5), _DIGITS, range(-3, 5)):
        if b and at not in (0, 1) and abs(3 * a * at * at + 2 * b * at + c) <= 200:
            yield "cubic", a, b, c, at


def _integral_question(dice: Random, function: str, low: int, high: int) -> str:
    limits = f"from {low} to {high}"
    return dice.choice((f"Integrate {function} {limits}.", f"Integral of {function} {limits}?"))


def _integral_linear(dice: Random, a: int, b: int, low: int, high: int) -> Task:
    """2ax+b, by the antiderivative ax^2+bx; checked by the mean of the two ends."""
    ends = [a * x * x + b * x for x in (low, high)]
    answer, width = ends[1] - ends[0], high - low
    rule = f"F={polynomial(a, b, 0)}"
    at_high = f"F({high})={a * high * high}{b * high:+d}={ends[1]}"
    at_low = f"F({low})={a * low * low}{b * low:+d}={ends[0]}"
    steps = [rule, at_high, *([at_low, sum_line(ends[1], -ends[0])] if low else ["F(0)=0"])]
    f_low, f_high = 2 * a * low + b, 2 * a * high + b
    checked = [f"f({low})={f_low}", *product_by_tens(high, 2 * a), f"f({high})={sum_line(2 * a * high, b)}"]
    checked += [*sum_by_digits(f_low, f_high), f"{f_low + f_high}/2={(f_low + f_high) // 2}"]
    checked += [f"{high}-{operand(low)}={width}", *product_by_tens(width, (f_low + f_high) // 2)]
    by_antiderivative = f"{ends[1]}-{operand(ends[0])}" if low else f"{a * high * high}{b * high:+d}"
    checked += [f"check: {by_antiderivative}={answer} ok"]
    return math_task(_integral_question(dice, polynomial(2 * a, b), low, high), str(answer), steps, checked)


def _integral_from_zero() -> Iterator[tuple[int, ...]]:
    for a, b, high in product(range(1, 5), range(1, 10), range(1, 8)):
        yield a, b, 0, high


def _integral_between() -> Iterator[tuple[int, ...]]:
    for a, b, low, high in product(range(1, 5), _DIGITS, range(-3, 5), range(2, 7)):
        if low and low < high and a * (high**2 - low**2) + b * (high - low) <= 120:
            yield a, b, low, high


def _integral_quadratic(dice: Random, _form: str, a: int, b: int, c: int, high: int) -> Task:
    """ax^2+2bx+c from 0; the answer may be a fraction."""
    cube, rest = a * high**3, b * high * high + c * high
    third = Fraction(cube, 3)
    answer = third + rest
    rule = f"F={polynomial(a, 0, 0, 0)}/3" + (f"{polynomial(b, c, 0)}" if b < 0 else f"+{polynomial(b, c, 0)}")
    linear = f"{b * high * high}{c * high:+d}={rest}"
    steps = [rule, f"{a}*{high**3}/3={third}", linear, f"{third}{rest:+d}={answer}"]
    checked = [f"{high}^3={high**3}", *product_by_tens(a, high**3), quotient_line(cube, 3)]
    checked += [f"{b}*{high * high}={b * high * high}", f"{c}*{high}={c * high}", linear]
    checked += [f"{third}{rest:+d}={answer}", f"check: {answer}{-rest:+d}={third} ok"]
    question = _integral_question(dice, polynomial(a, 2 * b, c), 0, high)
    return math_task(question, latex(answer), steps, checked)


def _integral_quadratic_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c, high in product(range(1, 7), range(-3, 4), _DIGITS, range(1, 5)):
        if b and b * high * high + c * high:
            yield "quadratic", a, b, c, high


def _mean_slope(dice: Random, a: int, b: int, c: int, low: int, high: int) -> Task:
    """ax^2+bx+c between two points: by its values; checked by a(low+high)+b."""
    values = [a * x * x + b * x + c for x in (low, high)]
    rise, width = values[1] - values[0], high - low
    slope = rise // width
    names = [f"f({high})={values[1]}", f"f({low})={values[0]}"]
    by_width = [f"{high}-{operand(low)}={width}", f"{rise}/{width}={slope}"]
    steps = [*names, *sum_by_tens(values[1], -values[0]), *by_width]
    checked = [_value_line(a, b, c, x) for x in (high, low)]
    checked += [*sum_by_digits(values[1], -values[0]), *by_width]
    scaled = a * (low + high)
    checked += [f"check: {sum_line(low, high)}"] + ([product_line(a, low + high)] if a > 1 else [])
    checked[-1] += "" if b else " ok"
    checked += [f"{sum_line(scaled, b)} ok"] if b else []
    function, limits = polynomial(a, b, c), f"from {low} to {high}"
    question = dice.choice((f"Mean slope of {function} {limits}?", f"f(x)={function}. Mean slope {limits}?"))
    return math_task(question, str(slope), steps, checked)


def _value_line(a: int, b: int, c: int, x: int) -> str:
    terms = f"{a * x * x}" + (f"{b * x:+d}" if b else "") + (f"{c:+d}" if c else "")
    return f"f({x})={terms}={a * x * x + b * x + c}" if b or c else f"f({x})={terms}"


def _mean_slope_square() -> Iterator[tuple[int, ...]]:
    for c, low, high in product(range(-9, 10), range(0, 7), range(1, 10)):
        if low < high:
            yield 1, 0, c, low, high


def _mean_slope_shifted() -> Iterator[tuple[int, ...]]:
    for b, c, low, high in product(_DIGITS, (-4, 0, 2, 5), range(-3, 6), range(1, 9)):
        if low < high:
            yield 1, b, c, low, high


def _mean_slope_scaled() -> Iterator[tuple[int, ...]]:
    for a, b, low, high in product(range(2, 6), _DIGITS, range(-3, 5), range(1, 7)):
        if low < high:
            yield a, b, 0, low, high


def _limit_question(dice: Random, top: str, bottom: str, to: str) -> str:
    return dice.choice((f"Limit of ({top})/({bottom}) as x->{to}?", f"lim x->{to} of ({top})/({bottom})?"))


def _limit_far(dice: Random, _form: str, a: int, b: int, c: int, d: int) -> Task:
    """(ax+b)/(cx+d) far out."""
    value = Fraction(a, c)
    common = a // value.numerator
    steps = [f"leading {a}/{c}", f"gcd {common}"]
    checked = [f"top {a}x", f"bottom {c}x", f"gcd {common}", f"{a}/{common}={value.numerator}"]
    checked += [f"{c}/{common}={value.denominator}", f"check: {a}/{c}={value} ok"]
    question = _limit_question(dice, polynomial(a, b), polynomial(c, d), "oo")
    return math_task(question, latex(value), steps, checked)


def _limit_root(dice: Random, _form: str, scale: int, root: int, other: int) -> Task:
    """scale(x-root)(x-other)/(x-root) at the root: by factors; checked by the derivative of the top."""
    p, q = -scale * (root + other), scale * root * other
    value = scale * (root - other)
    top, bottom = polynomial(scale, p, q), polynomial(1, -root)
    rest = polynomial(1, -other)
    times = [product_line(scale, root - other)] if scale > 1 else []
    front = str(scale) if scale > 1 else ""
    steps = [f"{front}({bottom})({rest})", sum_line(root, -other), *times]
    checked = [f"roots {root} and {other}", f"{root}*{operand(other)}={root * other}", *steps]
    checked += [f"check: 2*{scale * root}={2 * scale * root}", f"{sum_line(2 * scale * root, p)} ok"]
    return math_task(_limit_question(dice, top, bottom, str(root)), str(value), steps, checked)


def _limit_far_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c, d in product(range(1, 13), _DIGITS[::2], range(2, 13), _DIGITS[1::2]):
        if a != c:
            yield "far", a, b, c, d


def _limit_root_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("root", 1, r, s) for r, s in product(_DIGITS, repeat=2) if r != s)


def _limit_scaled_stock() -> Iterator[tuple[str | int, ...]]:
    for scale, root, other in product(range(2, 6), _DIGITS, _DIGITS):
        if root != other and abs(scale * root * other) <= 100:
            yield "root", scale, root, other


FAMILIES = (
    Family("derivative", 1, _derivative_plain, _derivative),
    Family("derivative", 2, _derivative_quadratic, _derivative),
    Family("derivative", 3, _derivative_cubic_stock, _derivative_cubic),
    Family("integral", 1, _integral_from_zero, _integral_linear),
    Family("integral", 2, _integral_between, _integral_linear),
    Family("integral", 3, _integral_quadratic_stock, _integral_quadratic),
    Family("mean-slope", 1, _mean_slope_square, _mean_slope),
    Family("mean-slope", 2, _mean_slope_shifted, _mean_slope),
    Family("mean-slope", 3, _mean_slope_scaled, _mean_slope),
    Family("limit", 1, _limit_far_stock, _limit_far),
    Family("limit", 2, _limit_root_stock, _limit_root),
    Family("limit", 3, _limit_scaled_stock, _limit_root),
)
