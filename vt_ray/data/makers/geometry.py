"""Geometry: rectangles, angles, right triangles and distances, areas of triangles and trapezoids."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement, product
from random import Random

from vt_ray.data.makers.arithmetic import (
    latex,
    operand,
    product_by_tens,
    product_line,
    quotient_line,
    sum_by_digits,
    sum_by_tens,
    sum_line,
)
from vt_ray.data.makers.family import Family, Task, math_task

_TRIPLES = [(a, b, c) for c in range(5, 51) for a in range(3, c) for b in range(a, c) if a * a + b * b == c * c]


def _shown(dice: Random, a: int, b: int) -> tuple[int, int]:
    """Returns the pair in the order of the question. The key is sorted: 7 by 12 and 12 by 7 are one problem."""
    return (a, b) if dice.random() < 0.5 else (b, a)


def _perimeter(dice: Random, _asked: str, a: int, b: int) -> Task:
    p, q = _shown(dice, a, b)
    half = a + b
    steps = [*sum_by_tens(p, q), product_line(2, half)]
    checked = [*sum_by_digits(p, q), *product_by_tens(2, half)]
    checked += [f"check: {2 * half}/2={half}", f"{sum_line(half, -q)} ok"]
    question = dice.choice((f"Rectangle {p} by {q}. Perimeter?", f"Perimeter of a {p} by {q} rectangle?"))
    return math_task(question, str(2 * half), steps, checked)


def _rectangle_area(dice: Random, _asked: str, a: int, b: int) -> Task:
    p, q = _shown(dice, a, b)
    area = a * b
    steps = ["width*height", *product_by_tens(a, b)]
    checked = ["width*height", *_doubling(a, b), f"check: {area}/{a}={b} ok"]
    question = dice.choice((f"Rectangle {p} by {q}. Area?", f"Area of a {p} by {q} rectangle?"))
    return math_task(question, str(area), steps, checked)


def _doubling(a: int, b: int) -> list[str]:
    """Returns a*b in lines by halving: half of a times b, doubled, plus b if a is odd."""
    half = a // 2
    lines = [*product_by_tens(half, b), sum_line(half * b, half * b)]
    return lines + [sum_line(2 * half * b, b)] if a % 2 else lines


def _rectangle(dice: Random, asked: str, a: int, b: int) -> Task:
    write = _perimeter if asked == "perimeter" else _rectangle_area
    return write(dice, asked, a, b)


def _rectangle_back(dice: Random, asked: str, side: int, other: int) -> Task:
    """The area from one side and the perimeter, or the perimeter from one side and the area."""
    half, area = side + other, side * other
    if asked == "area-from-perimeter":
        steps = [f"{2 * half}/2={half}", *sum_by_tens(half, -side), *product_by_tens(side, other)]
        checked = [
            *steps,
            f"check: {area}/{side}={other}",
            sum_line(side, other),
            f"{product_line(2, half)} ok",
        ]
        question = f"A rectangle has perimeter {2 * half} and a side {side}. Area?"
        return math_task(question, str(area), steps, checked)
    steps = [f"{area}/{side}={other}", *sum_by_tens(other, side), product_line(2, half)]
    checked = [steps[0], *sum_by_digits(other, side), *product_by_tens(2, half)]
    checked += [f"check: {2 * half}/2={half}", sum_line(half, -side), f"{product_line(side, other)} ok"]
    question = f"A rectangle has area {area} and a side {side}. Perimeter?"
    return math_task(question, str(2 * half), steps, checked)


def _rectangle_small() -> Iterator[tuple[str | int, ...]]:
    yield from (("area", a, b) for a, b in combinations_with_replacement(range(2, 11), 2))
    yield from (("perimeter", a, b) for a, b in combinations_with_replacement(range(2, 21), 2))
    yield from (("perimeter", a, b) for a, b in product(range(2, 11), range(21, 46)))


def _rectangle_wide() -> Iterator[tuple[str | int, ...]]:
    yield from (("area", a, b) for a, b in product(range(3, 10), range(11, 35)) if a * b <= 200)
    yield from (("perimeter", a, b) for a, b in combinations_with_replacement(range(11, 56), 2) if b > 20)


def _rectangle_back_stock() -> Iterator[tuple[str | int, ...]]:
    for asked, side, other in product(("area-from-perimeter", "perimeter-from-area"), range(2, 10), range(2, 31)):
        if side * other <= 200:
            yield asked, side, other


def _third_angle(dice: Random, a: int, b: int) -> Task:
    p, q = _shown(dice, a, b)
    known, third = a + b, 180 - a - b
    steps = [*sum_by_tens(p, q), *sum_by_tens(180, -known)]
    checked = [*sum_by_tens(180, -p), *sum_by_tens(180 - p, -q)]
    checked += ["check:", *sum_by_digits(p, q), f"{sum_line(known, third)} ok"]
    question = dice.choice((f"Triangle angles {p} and {q}. Third angle?", f"Angles {p}, {q}. Third triangle angle?"))
    return math_task(question, str(third), steps, checked)


def _fourth_angle(dice: Random, a: int, b: int, c: int) -> Task:
    p, q, r = dice.sample((a, b, c), 3)
    known, fourth = a + b + c, 360 - a - b - c
    steps = [sum_line(p, q), *sum_by_tens(p + q, r), *sum_by_tens(360, -known)]
    checked = [*sum_by_tens(360, -p), *sum_by_tens(360 - p, -q), *sum_by_tens(360 - p - q, -r)]
    checked += [f"check: {sum_line(p, q)}", sum_line(p + q, r), f"{sum_line(known, fourth)} ok"]
    question = f"Quadrilateral angles {p}, {q}, {r}. Fourth angle?"
    return math_task(question, str(fourth), steps, checked)


def _round_angles() -> Iterator[tuple[int, ...]]:
    for a, b in combinations_with_replacement(range(5, 171, 5), 2):
        if a + b < 180:
            yield a, b


def _any_angles() -> Iterator[tuple[int, ...]]:
    for a, b in combinations_with_replacement(range(11, 120), 2):
        if a + b < 170 and a % 10 and b % 10 and (a % 5 or b % 5):
            yield a, b


def _quadrilaterals() -> Iterator[tuple[int, ...]]:
    for a, b, c in combinations_with_replacement(range(30, 156, 5), 3):
        if 20 <= 360 - a - b - c <= 180:
            yield a, b, c


def _squares(dice: Random, asked: str, a: int, b: int) -> Task:
    """The square of the third side of a right triangle, from two sides."""
    sign = 1 if asked == "hypotenuse" else -1
    first, second = a * a, sign * b * b
    answer = first + second
    squares = [f"{a}^2={first}", f"{b}^2={b * b}"]
    steps = [*squares, sum_line(first, second)]
    checked = [product_line(a, a), product_line(b, b), *sum_by_digits(first, second)]
    checked += [f"check: {sum_line(answer, -second)} ok"]
    given = f"legs {a} and {b}" if sign > 0 else f"hypotenuse {a}, leg {b}"
    wanted = "Hypotenuse" if sign > 0 else "Other leg"
    question = f"Right triangle, {given}. {wanted} squared?"
    return math_task(question, str(answer), steps, checked)


def _squares_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b in product(range(2, 15), repeat=2):
        if a <= b and a * a + b * b <= 250:
            yield "hypotenuse", a, b
        if b < a:
            yield "leg", a, b


def _root_of(dice: Random, asked: str, a: int, b: int) -> Task:
    """The third side, from a Pythagorean triple."""
    sign = 1 if asked == "side-hypotenuse" else -1
    total = a * a + sign * b * b
    root = round(total**0.5)
    squares = [f"{a}^2={a * a}", f"{b}^2={b * b}"]
    steps = [*squares, sum_line(a * a, sign * b * b), f"{root}^2={total}"]
    checked = [*squares, *sum_by_digits(a * a, sign * b * b), f"{root}^2={total}"]
    checked += [f"check: {total}{-sign * b * b:+d}={a * a} ok"]
    given = f"legs {a} and {b}" if sign > 0 else f"hypotenuse {a}, leg {b}"
    wanted = "Hypotenuse" if sign > 0 else "Other leg"
    return math_task(f"Right triangle, {given}. {wanted}?", str(root), steps, checked)


def _root_stock() -> Iterator[tuple[str | int, ...]]:
    for a, b, c in _TRIPLES:
        yield from (("side-hypotenuse", a, b), ("side-leg", c, a), ("side-leg", c, b))


def _distance(dice: Random, x1: int, y1: int, x2: int, y2: int) -> Task:
    """Two points whose distance is a whole number."""
    dx, dy = x2 - x1, y2 - y1
    total = dx * dx + dy * dy
    root = round(total**0.5)
    gaps = [f"{x2}-{operand(x1)}={dx}", f"{y2}-{operand(y1)}={dy}"]
    steps = [*gaps, f"{dx * dx}+{dy * dy}={total}", f"{root}^2={total}"]
    checked = [*gaps, f"{dx}*{operand(dx)}={dx * dx}", f"{dy}*{operand(dy)}={dy * dy}"]
    checked += [*sum_by_digits(dx * dx, dy * dy), f"{root}^2={total}"]
    checked += [f"check: {root}*{root}={total} ok"]
    question = dice.choice((f"Distance from ({x1},{y1}) to ({x2},{y2})?", f"How far is ({x1},{y1}) from ({x2},{y2})?"))
    return math_task(question, str(root), steps, checked)


def _distance_stock() -> Iterator[tuple[int, ...]]:
    # Only x2 > x1: with swapped points, the same problem would have two keys.
    for (a, b, c), x, y, sign, swap in product(_TRIPLES, range(-4, 7), range(-4, 7), (1, -1), (0, 1)):
        dx, dy = (b, a) if swap else (a, b)
        if c <= 17:
            yield x, y, x + dx, y + sign * dy


def _triangle_area(dice: Random, base: int, height: int) -> Task:
    double = base * height
    area = Fraction(double, 2)
    steps = [*product_by_tens(height, base), quotient_line(double, 2)]
    checked = [
        "base*height/2",
        *_doubling(height, base),
        quotient_line(double, 2),
        f"check: 2*{area}={double} ok",
    ]
    question = dice.choice(
        (
            f"Triangle, base {base}, height {height}. Area?",
            f"Area of a triangle, base {base}, height {height}?",
        )
    )
    return math_task(question, latex(area), steps, checked)


def _triangle_even() -> Iterator[tuple[int, ...]]:
    for base, height in product(range(2, 21), range(2, 10)):
        if base * height % 2 == 0:
            yield base, height


def _triangle_any() -> Iterator[tuple[int, ...]]:
    for base, height in product(range(3, 46), range(3, 10)):
        if base * height % 2 or base > 20:
            yield base, height


def _trapezoid_area(dice: Random, short: int, long: int, height: int) -> Task:
    both = short + long
    double = both * height
    area = Fraction(double, 2)
    steps = [sum_line(short, long), *product_by_tens(height, both), quotient_line(double, 2)]
    checked = [*sum_by_digits(short, long), *_doubling(height, both), quotient_line(double, 2)]
    checked += [f"check: 2*{area}={double} ok"]
    p, q = _shown(dice, short, long)
    return math_task(f"Trapezoid, bases {p} and {q}, height {height}. Area?", latex(area), steps, checked)


def _trapezoids() -> Iterator[tuple[int, ...]]:
    for short, long, height in product(range(2, 20), range(3, 30), range(3, 10)):
        if short < long and (short + long) * height <= 300:
            yield short, long, height


FAMILIES = (
    Family("rectangle", 1, _rectangle_small, _rectangle),
    Family("rectangle", 2, _rectangle_wide, _rectangle),
    Family("rectangle", 3, _rectangle_back_stock, _rectangle_back),
    Family("angle", 1, _round_angles, _third_angle),
    Family("angle", 2, _any_angles, _third_angle),
    Family("angle", 3, _quadrilaterals, _fourth_angle),
    Family("right-triangle", 1, _squares_stock, _squares),
    Family("right-triangle", 2, _root_stock, _root_of),
    Family("right-triangle", 3, _distance_stock, _distance),
    Family("area", 1, _triangle_even, _triangle_area),
    Family("area", 2, _triangle_any, _triangle_area),
    Family("area", 3, _trapezoids, _trapezoid_area),
)
