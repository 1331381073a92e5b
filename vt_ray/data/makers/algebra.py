"""Algebra: linear equations, values of an expression, simplification, pairs of equations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random

from vt_ray.data.makers.arithmetic import (
    operand,
    polynomial,
    product_by_tens,
    product_line,
    sum_by_digits,
    sum_by_tens,
    sum_line,
)
from vt_ray.data.makers.family import Family, Task, math_task

_DIGITS = [n for n in range(-9, 10) if n]


def _linear(dice: Random, a: int, b: int, c: int) -> Task:
    """ax+b=c."""
    equation, rest = f"{polynomial(a, b)}={c}", c - b
    x = rest // a
    steps = [equation, *sum_by_tens(c, -b), f"{a}x={rest}", f"x={x}"]
    checked = [equation, *sum_by_digits(c, -b), f"{a}x={rest}", f"{rest}/{a}={x}"]
    checked += [f"check: {product_line(a, x)}", f"{sum_line(rest, b)} ok"]
    return math_task(dice.choice((f"Solve {equation}.", f"{equation}. Find x.")), str(x), steps, checked)


def _linear_easy() -> Iterator[tuple[int, ...]]:
    for a, x, b in product(range(2, 6), range(1, 10), range(1, 10)):
        yield a, b, a * x + b


def _linear_wide() -> Iterator[tuple[int, ...]]:
    for a, x, b in product(range(3, 10), range(-9, 13), range(-25, 26)):
        if x and abs(b) > 9:
            yield a, b, a * x + b


def _linear_both(dice: Random, a: int, b: int, d: int, e: int) -> Task:
    """ax+b=dx+e."""
    left, right, slope, rest = polynomial(a, b), polynomial(d, e), a - d, e - b
    x = rest // slope
    gather = f"{a}x-{d}x={slope}x"
    steps = [gather, *sum_by_tens(e, -b), f"{slope}x={rest}", f"x={x}"]
    checked = [f"{a}-{d}={slope}", gather, *sum_by_digits(e, -b), f"{slope}x={rest}", f"{rest}/{slope}={x}"]
    both = a * x + b
    checked += [f"check: {a}*{operand(x)}{b:+d}={both}", f"{d}*{operand(x)}{e:+d}={both} ok"]
    equation = f"{left}={right}"
    return math_task(dice.choice((f"Solve {equation}.", f"{equation}. Find x.")), str(x), steps, checked)


def _linear_both_stock() -> Iterator[tuple[int, ...]]:
    for a, d, x, b in product(range(4, 10), range(2, 8), _DIGITS, _DIGITS):
        e = b + (a - d) * x
        if a - d >= 2 and e and abs(e) <= 50:
            yield a, b, d, e


def _evaluate(dice: Random, a: int, b: int, x: int, y: int) -> Task:
    """ax+by at a point."""
    expression, first, second = f"{a}x{b:+d}y", a * x, b * y
    total = first + second
    steps = [*product_by_tens(a, x), product_line(b, y), *sum_by_tens(first, second)]
    checked = [
        f"{a}*{x}{b:+d}*{y}",
        *product_by_tens(a, x),
        product_line(b, y),
        *sum_by_digits(first, second),
    ]
    checked += [f"check: {sum_line(total, -second)} ok"]
    at = f"x={x}, y={y}"
    question = dice.choice((f"Find {expression} for {at}.", f"{at}. Find {expression}."))
    return math_task(question, str(total), steps, checked)


def _evaluate_easy() -> Iterator[tuple[int, ...]]:
    yield from product(range(2, 6), repeat=4)


def _evaluate_signed() -> Iterator[tuple[int, ...]]:
    for a, b, x, y in product(range(2, 10), _DIGITS, range(2, 10), range(2, 10)):
        if abs(b) > 1 and max(a, b, x, y) > 5:
            yield a, b, x, y


def _evaluate_wide() -> Iterator[tuple[int, ...]]:
    for a, b, x, y in product(range(3, 10), _DIGITS, range(11, 20), range(3, 10)):
        if abs(b) > 2 and abs(a * x + b * y) <= 200:
            yield a, b, x, y


def _simplified(dice: Random, expression: str, open_lines: list[str], parts: tuple[int, ...], at_one: str) -> Task:
    """`parts` is (a, b, c, d) of ax+b+cx+d, the expression after expanding the brackets."""
    a, b, c, d = parts
    answer = polynomial(a + c, b + d)
    steps = [*open_lines, f"{a}x{c:+d}x={polynomial(a + c, 0)}"]
    checked = [*open_lines, sum_line(a, c), steps[-1]]
    if d:
        steps.append(sum_line(b, d))
        checked.append(sum_line(b, d))
    value = a + b + c + d
    checked += [f"check x=1: {at_one}={value}", f"{sum_line(a + c, b + d)} ok"]
    question = dice.choice((f"Simplify {expression}.", f"Write {expression} in short form."))
    return math_task(question, answer, steps, checked)


def _terms(dice: Random, _form: str, a: int, b: int, c: int, d: int) -> Task:
    """ax+b+cx+d."""
    expression = f"{a}x{b:+d}{c:+d}x{d:+d}"
    return _simplified(dice, expression, [], (a, b, c, d), f"{a}{b:+d}{c:+d}{d:+d}")


def _bracket(dice: Random, _form: str, a: int, b: int, c: int) -> Task:
    """a(x+b)+cx."""
    open_lines = [product_line(a, b), f"{a}x{a * b:+d}{c:+d}x"]
    at_one = f"{a}*{operand(1 + b)}{c:+d}"
    return _simplified(dice, f"{a}(x{b:+d}){c:+d}x", open_lines, (a, a * b, c, 0), at_one)


def _brackets(dice: Random, _form: str, a: int, b: int, c: int, d: int) -> Task:
    """a(x+b)-c(x+d)."""
    open_lines = [product_line(a, b), product_line(-c, d), f"{a}x{a * b:+d}-{c}x{-c * d:+d}"]
    at_one = f"{a}*{operand(1 + b)}-{c}*{operand(1 + d)}"
    return _simplified(dice, f"{a}(x{b:+d})-{c}(x{d:+d})", open_lines, (a, a * b, -c, -c * d), at_one)


def _terms_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c, d in product(range(2, 9), range(1, 10), range(2, 9), _DIGITS):
        if b + d:
            yield "terms", a, b, c, d


def _bracket_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c in product(range(2, 10), _DIGITS, _DIGITS):
        if a + c and abs(c) > 1:
            yield "bracket", a, b, c


def _brackets_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c, d in product(range(2, 10), _DIGITS, range(2, 10), _DIGITS):
        if a != c and a * b != c * d:
            yield "brackets", a, b, c, d


def _system(dice: Random, asked: str, a: int, total: int, gap: int) -> Task:
    """ax+y=total, x-y=gap."""
    x = (total + gap) // (a + 1)
    y = x - gap
    found = [f"{a + 1}x={total + gap}", f"x={x}"]
    back = [f"y={sum_line(x, -gap)}"] if asked == "y" else []
    steps = ["add", *sum_by_tens(total, gap), *found, *back]
    checked = ["add", *sum_by_digits(total, gap), *found, f"y={sum_line(x, -gap)}"]
    checked += [f"check: {product_line(a, x)}"] if a > 1 else []
    checked += [f"check: {sum_line(a * x, y)} ok"] if a == 1 else [f"{sum_line(a * x, y)} ok"]
    pair = f"{polynomial(a, 0)}+y={total}, x-y={gap}"
    question = dice.choice((f"{pair}. Find {asked}.", f"If {pair}, what is {asked}?"))
    return math_task(question, str(x if asked == "x" else y), steps, checked)


def _system_easy() -> Iterator[tuple[str | int, ...]]:
    for x, y in product(range(2, 21), range(1, 20)):
        if y < x:
            yield "x", 1, x + y, x - y


def _system_wide() -> Iterator[tuple[str | int, ...]]:
    for asked, x, y in product("xy", range(2, 46), range(-15, 46)):
        if y and x != y and (asked == "y" or not 0 < y < x <= 20):
            yield asked, 1, x + y, x - y


def _system_scaled() -> Iterator[tuple[str | int, ...]]:
    for asked, a, x, y in product("xy", range(2, 7), range(2, 16), range(-9, 16)):
        if y and x != y:
            yield asked, a, a * x + y, x - y


FAMILIES = (
    Family("linear", 1, _linear_easy, _linear),
    Family("linear", 2, _linear_wide, _linear),
    Family("linear", 3, _linear_both_stock, _linear_both),
    Family("evaluate", 1, _evaluate_easy, _evaluate),
    Family("evaluate", 2, _evaluate_signed, _evaluate),
    Family("evaluate", 3, _evaluate_wide, _evaluate),
    Family("simplify", 1, _terms_stock, _terms),
    Family("simplify", 2, _bracket_stock, _bracket),
    Family("simplify", 3, _brackets_stock, _brackets),
    Family("system", 1, _system_easy, _system),
    Family("system", 2, _system_wide, _system),
    Family("system", 3, _system_scaled, _system),
)
