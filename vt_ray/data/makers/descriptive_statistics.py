"""Statistics: mean, median, range and mode of short lists, and drawing from a bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from math import gcd
from random import Random

from vt_ray.data.makers.arithmetic import (
    latex,
    operand,
    product_line,
    quotient_line,
    sum_by_digits,
    sum_by_tens,
    sum_line,
)
from vt_ray.data.makers.family import Family, Task, math_task

_LISTS_PER_FAMILY = 2500


def _lists(
    size: int, low: int, high: int, fits: Callable[[tuple[int, ...]], bool]
) -> Callable[[], Iterator[tuple[int, ...]]]:
    """Returns a stock of sorted lists. The key is sorted, so another order of a list is not a new problem."""

    def draw() -> Iterator[tuple[int, ...]]:
        dice, found = Random(f"{size}/{low}/{high}"), set[tuple[int, ...]]()
        for _ in range(20 * _LISTS_PER_FAMILY):
            values = tuple(sorted(dice.choices(range(low, high + 1), k=size)))
            if fits(values):
                found.add(values)
            if len(found) == _LISTS_PER_FAMILY:
                break
        yield from found

    return draw


def _shuffled(dice: Random, values: tuple[int, ...]) -> list[int]:
    return dice.sample(values, len(values))


def _question(dice: Random, measure: str, shown: list[int]) -> str:
    listed = ", ".join(map(str, shown))
    return dice.choice((f"Find the {measure} of {listed}.", f"What is the {measure} of {listed}?"))


def _running_sum(values: list[int]) -> list[str]:
    totals = [sum(values[: i + 1]) for i in range(len(values))]
    return [sum_line(total, value) for total, value in zip(totals, values[1:], strict=False)]


def _mean(dice: Random, *values: int) -> Task:
    shown, total, size = _shuffled(dice, values), sum(values), len(values)
    mean = Fraction(total, size)
    steps = [*_running_sum(shown), quotient_line(total, size)]
    order = sorted(values)
    checked = ["sorted: " + ",".join(map(str, order)), *_finer_sum(order), quotient_line(total, size)]
    checked += [f"check: {size}*{mean}={total} ok"]
    return math_task(_question(dice, "mean", shown), latex(mean), steps, checked)


def _finer_sum(values: list[int]) -> list[str]:
    lines, total = [], values[0]
    for value in values[1:]:
        lines += sum_by_tens(total, value)
        total += value
    return lines


def _missing_value(dice: Random, _form: str, mean: int, *known: int) -> Task:
    """The list without one value, and the mean of the whole list."""
    shown, size, given = _shuffled(dice, known), len(known) + 1, sum(known)
    missing = size * mean - given
    steps = [product_line(size, mean), *_running_sum(shown), sum_line(size * mean, -given)]
    order = sorted(known)
    checked = [product_line(size, mean), *_finer_sum(order), *sum_by_tens(size * mean, -given)]
    checked += [f"check: {sum_line(given, missing)}", f"{size * mean}/{size}={mean} ok"]
    listed = ", ".join(map(str, shown))
    question = dice.choice((f"Mean of {listed}, x is {mean}. Find x.", f"{listed} and x have mean {mean}. Find x."))
    return math_task(question, str(missing), steps, checked)


def _missing_stock() -> Iterator[tuple[str | int, ...]]:
    dice = Random("missing")
    for _ in range(_LISTS_PER_FAMILY):
        known, mean = sorted(dice.choices(range(2, 31), k=dice.choice((2, 3)))), dice.randrange(5, 21)
        if 0 < (len(known) + 1) * mean - sum(known) <= 40:
            yield "missing", mean, *known


def _median(dice: Random, *values: int) -> Task:
    shown, order, half = _shuffled(dice, values), sorted(values), len(values) // 2
    by_sorting = "sorted: " + ",".join(map(str, order))
    drops, left = [], order
    while len(left) > 2:
        drops.append(f"drop {left[0]},{left[-1]}")
        left = left[1:-1]
    if len(left) == 1:
        check = f"check: {half} below, {half} above ok"
        lines = [f"middle: {left[0]}"]
        return math_task(
            _question(dice, "median", shown), str(left[0]), [by_sorting], [by_sorting, *drops, *lines, check]
        )
    low, high = left
    middle = Fraction(low + high, 2)
    halving = quotient_line(low + high, 2)
    checked = [by_sorting, *drops, *sum_by_digits(low, high), halving]
    gaps = f"check: {high}-{middle}={high - middle}"
    checked += [gaps, f"{middle}-{operand(low)}={middle - low} ok"]
    steps = [by_sorting, *sum_by_tens(low, high), halving]
    return math_task(_question(dice, "median", shown), latex(middle), steps, checked)


def _range(dice: Random, *values: int) -> Task:
    shown = _shuffled(dice, values)
    low, high = min(values), max(values)
    steps = [f"max {high}, min {low}", *sum_by_tens(high, -low)]
    highest = [max(shown[: i + 1]) for i in range(len(shown))]
    lowest = [min(shown[: i + 1]) for i in range(len(shown))]
    checked = ["max " + ",".join(map(str, highest)), "min " + ",".join(map(str, lowest))]
    checked += [*sum_by_digits(high, -low), f"check: {sum_line(low, high - low)} ok"]
    return math_task(_question(dice, "range", shown), str(high - low), steps, checked)


def _mode(dice: Random, *values: int) -> Task:
    shown, order, times = _shuffled(dice, values), sorted(values), Counter(values)
    mode, most = times.most_common(1)[0]
    by_sorting = "sorted: " + ",".join(map(str, order))
    counts = [f"{value}: {times[value]}" for value in sorted(times)]
    check = f"check: {mode} is there {most} times ok"
    return math_task(
        _question(dice, "mode", shown),
        str(mode),
        [by_sorting, f"{mode}: {most}"],
        [by_sorting, *counts, check],
    )


def _has_mode(values: tuple[int, ...]) -> bool:
    times = sorted(Counter(values).values())
    return len(times) > 2 and times[-1] > times[-2]


def _distinct(values: tuple[int, ...]) -> bool:
    return len(set(values)) == len(values)


def _reduced(top: int, bottom: int) -> tuple[list[str], list[str]]:
    """Returns the lines that reduce top/bottom: short, and with the common divisor."""
    common = gcd(top, bottom)
    if common == 1:
        return [], [f"gcd({top},{bottom})=1"]
    low = Fraction(top, bottom)
    fine = [f"gcd({top},{bottom})={common}", f"{top}/{common}={low.numerator}"]
    return [f"{top}/{bottom}={low}"], [*fine, f"{bottom}/{common}={low.denominator}"]


def _draw_one(dice: Random, red: int, *others: int) -> Task:
    """P(red); `others` are the numbers of blue and optionally green."""
    total = red + sum(others)
    answer = Fraction(red, total)
    short, fine = _reduced(red, total)
    sums = _running_sum([red, *others])
    checked = [*sums, f"red {red} of {total}", *fine, f"check: {total}*{answer}={red} ok"]
    bag = ", ".join(f"{n} {colour}" for n, colour in zip((red, *others), ("red", "blue", "green"), strict=False))
    question = dice.choice((f"Bag: {bag}. P(red)?", f"A bag has {bag} balls. P(red)?"))
    return math_task(question, latex(answer), [*sums, *short], checked)


def _draw_two(dice: Random, second: str, red: int, blue: int) -> Task:
    """P(red, then `second`), drawn without replacement."""
    total, left = red + blue, red - 1 if second == "red" else blue
    top, bottom = red * left, total * (total - 1)
    answer = Fraction(top, bottom)
    short, fine = _reduced(top, bottom)
    products = [product_line(red, left), product_line(total, total - 1)]
    checked = [sum_line(red, blue), f"{red}/{total}*{left}/{total - 1}", *products, *fine]
    checked += [f"check: {bottom}*{answer}={top} ok"]
    question = f"Bag: {red} red, {blue} blue. Draw 2. P(red, then {second})?"
    return math_task(question, latex(answer), [sum_line(red, blue), *products, *short], checked)


def _two_colours() -> Iterator[tuple[int, ...]]:
    yield from product(range(1, 21), repeat=2)


def _three_colours() -> Iterator[tuple[int, ...]]:
    yield from product(range(1, 13), repeat=3)


def _two_draws() -> Iterator[tuple[str | int, ...]]:
    for second, red, blue in product(("red", "blue"), range(2, 17), range(1, 17)):
        if red + blue <= 18:
            yield second, red, blue


FAMILIES = (
    Family("mean", 1, _lists(3, 1, 20, lambda v: sum(v) % 3 == 0), _mean),
    Family("mean", 2, _lists(4, 1, 25, lambda v: sum(v) % 2 == 0), _mean),
    Family("mean", 3, _missing_stock, _missing_value),
    Family("median", 1, _lists(3, 1, 30, _distinct), _median),
    Family("median", 2, _lists(5, 1, 60, _distinct), _median),
    Family("median", 3, _lists(4, 1, 60, _distinct), _median),
    Family("range", 1, _lists(3, 1, 40, _distinct), _range),
    Family("range", 2, _lists(5, 1, 99, _distinct), _range),
    Family("range", 3, _lists(4, -60, 60, lambda v: v[0] < 0 < v[-1]), _range),
    Family("mode", 1, _lists(4, 1, 15, _has_mode), _mode),
    Family("mode", 2, _lists(6, 1, 20, _has_mode), _mode),
    Family("mode", 3, _lists(7, 10, 40, _has_mode), _mode),
    Family("chance", 1, _two_colours, _draw_one),
    Family("chance", 2, _three_colours, _draw_one),
    Family("chance", 3, _two_draws, _draw_two),
)
