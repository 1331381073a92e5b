r"""Equality of plain expressions, in the child process: math-verify's parser, then numeric values, then proof.

    "\frac{x}{2}", "0.5x" --latex2sympy--> trees --evaluate at sample points--> equal? --unsure--> simplify

Evaluation is 10 to 100 times faster than simplification, and it distinguishes 2^{-99} from 2^{-98}. The trees are never
rebuilt, because sympy would then compute 9^{9^9}.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any

from vt_ray.verify.mathematics.exact_numbers import close_decimals, exact_number
from vt_ray.verify.mathematics.latex_parser import is_numeric_limit, parse_expression

_DIGITS = 40  # significant decimal digits of the values
_MANY_DIGITS = 400  # digits for a second comparison of equal values
_GUARD_DIGITS = 8  # digits that may differ by rounding
_MAX_EXTRA_DIGITS = 2_000  # numbers with more digits before the point are equal only if their texts are equal
_POINTS = 4
_MIN_POINTS = 2
# Sizes of additional points for functions with kinks: |x+5| is x+5 for all x > -5.
_KINK_SIZES = (Fraction(1, 30), Fraction(1, 3), Fraction(1), Fraction(12), Fraction(300))
_MAX_REACH = 10**9
_ALL_SIGNS = 3  # up to this number of symbols, all combinations of their signs are tried


class Unreadable(Exception):
    """The gold answer cannot be parsed: a fault of the data set or the verifier, not of the model."""


class SympyAlgebra:
    """Implements `equality.Algebra` with sympy. May run or allocate without bound: only for a child process."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        # Builds the parser's tables and triggers sympy's late imports now, not within the first deadline.
        self.same_value(r"\frac{1}{2}+x!+\sin{x}", r"0.5+\sin{x}+x!")
        _proven_zero(parse_expression(r"\sqrt{2}^{2}-2"))

    def same_value(self, gold: str, answer: str) -> bool:
        """See the protocol; raises Unreadable."""
        gold_tree, answer_tree = _gold(gold), _tree(answer)
        return answer_tree is not None and _same(gold_tree, answer_tree, "." in gold or "." in answer)

    def same_relation(self, gold: tuple[str, str], answer: tuple[str, str], positive: bool) -> bool:
        """See the protocol; raises Unreadable."""
        gold_sides = (_gold(gold[0]), _gold(gold[1]))
        answer_sides = (_tree(answer[0]), _tree(answer[1]))
        return None not in answer_sides and _proportional(gold_sides, answer_sides, positive)


def _gold(latex: str) -> Any:
    tree = _tree(latex)
    if tree is None:
        raise Unreadable(latex[:80])
    return tree


def _tree(latex: str) -> Any:
    r"""Returns a sympy tree, None if this is not an expression. 0.\overline{3} is exactly 1/3."""
    import sympy

    number = exact_number(latex)
    return parse_expression(latex) if number is None else sympy.Rational(number.numerator, number.denominator)


def _same(gold: Any, answer: Any, decimals: bool) -> bool:
    if gold == answer:
        return True
    symbols = gold.free_symbols | answer.free_symbols
    if decimals and not symbols and not gold.is_integer:
        return _close(gold, answer)
    alike = []
    for point in _points(symbols, gold, answer):
        verdict = _same_at(gold, answer, point, _DIGITS)
        if verdict is False:
            return False
        if verdict:
            alike.append(point)
    if len(alike) < (_MIN_POINTS if symbols else 1):
        return _proven_zero(gold - answer)
    if _hides_a_term(gold) or _hides_a_term(answer):
        return _proven_zero(gold - answer)
    # x + 10^{-40} is not x. One point is enough: a difference is zero at almost no point.
    return is_numeric_limit(gold, answer) or _same_at(gold, answer, alike[0], _MANY_DIGITS) is True


def _hides_a_term(tree: Any) -> bool:
    """Whether a sum has a term too small for `_MANY_DIGITS` digits of the sum: 1 + 1/2024!"""
    import sympy

    sums = (node for node in sympy.preorder_traversal(tree) if node.is_Add)
    numbers = (term for node in sums for term in node.args if not term.free_symbols)
    return any(abs(_digits_before_point(number, signed=True)) > _MANY_DIGITS - 2 * _GUARD_DIGITS for number in numbers)


def _points(symbols: set[Any], *trees: Any) -> list[dict[Any, Any]]:
    """Returns fixed generic points with values of both signs, because |x| is not x. A name has one value on both sides.

    A function may have other terms between its kinks than beyond them. Functions with kinks are therefore compared at
    many sizes and all combinations of signs, up to a size beyond every kink of a linear argument.
    """
    import sympy

    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    if not ordered:
        return [{}]
    signs: list[tuple[int, ...]] = [(1,), (-1,), (1,), (1, -1)]
    sizes = [Fraction(1)] * _POINTS
    if any(_has_kinks(tree) for tree in trees):
        for size in (*_KINK_SIZES, _reach(trees)):
            combinations = _sign_combinations(len(ordered))
            signs += combinations
            sizes += [size] * len(combinations)
    points: list[dict[Any, Any]] = []
    for index, (pattern, size) in enumerate(zip(signs, sizes, strict=True)):
        offset = index + 1 if index < _POINTS else 1 + index / 64
        points.append({})
        for place, symbol in enumerate(ordered):
            generic = sympy.Rational(7919 * (place + 1) + int(104729 * offset), 65537 + 331 * place)
            points[-1][symbol] = pattern[place % len(pattern)] * sympy.Rational(size) * generic
    return points


def _sign_combinations(count: int) -> list[tuple[int, ...]]:
    """Returns all combinations of signs of `count` symbols; a fixed sample for more than `_ALL_SIGNS` symbols."""
    if count <= _ALL_SIGNS:
        return list(product((1, -1), repeat=count))
    dice = Random(0)
    return [tuple(dice.choices((1, -1), k=count)) for _ in range(2 * 2**_ALL_SIGNS)]


def _has_kinks(tree: Any) -> bool:
    """Whether the tree may have a kink inside its domain: |x|, floors, \\sqrt{x^2}; but not \\sqrt{x} or ln(x)."""
    import sympy

    kinked = (sympy.Abs, sympy.sign, sympy.floor, sympy.ceiling, sympy.Max, sympy.Min, sympy.Mod, sympy.Piecewise)
    branched = (sympy.asin, sympy.acos, sympy.atan, sympy.acot, sympy.asec, sympy.acsc)
    if tree.has(*kinked, *branched):
        return True
    roots = [power.base for power in tree.atoms(sympy.Pow) if not power.exp.is_integer]
    return any(power.free_symbols for base in roots for power in base.atoms(sympy.Pow))


def _reach(trees: tuple[Any, ...]) -> Fraction:
    """Returns a size beyond -b/a for all numbers a and b in the trees."""
    import sympy

    sizes = [abs(Fraction(int(n.p), int(n.q))) for tree in trees for n in tree.atoms(sympy.Rational) if n != 0]
    reach = 3 * max(sizes, default=Fraction(1)) / min(sizes, default=Fraction(1))
    return min(max(reach, Fraction(3_000)), Fraction(_MAX_REACH))


def _same_at(gold: Any, answer: Any, point: dict[Any, Any], digits: int) -> bool | None:
    """Whether both have the same value at a point, to `digits` decimals; None if this is unknown.

    It is unknown if a value is undefined, or if one value is real and the other is not. It is also unknown if the
    values differ and a part of one is not real, although i does not occur: ln(x^2) is 2 ln(x), and \\sqrt{ab} is
    \\sqrt{a}\\sqrt{b}, only where these are defined.
    """
    if gold.is_Rational and answer.is_Rational:
        return bool(gold == answer)
    values = [_value(side, point, _DIGITS) for side in (gold, answer)]
    if None in values or (point and values[0].is_real != values[1].is_real):
        return None
    if 0 in values and max(abs(value) for value in values) < Fraction(1, 10**_DIGITS):
        return _proven_zero(gold - answer)  # after cancellation, a zero looks like a very small number
    if not _agree(values[0], values[1], _DIGITS):
        inside = (
            not point or _speaks_of_i(gold, answer) or all(_real_throughout(side, point) for side in (gold, answer))
        )
        return False if inside else None
    extra = max(_digits_before_point(value) for value in values)
    if extra > _MAX_EXTRA_DIGITS:
        return None
    if digits + extra > _DIGITS:
        values = [_value(side, point, digits + extra) for side in (gold, answer)]
    return None if None in values else _agree(values[0], values[1], digits + extra)


def _real_throughout(tree: Any, point: dict[Any, Any]) -> bool:
    """Whether roots, powers, logarithms and inverse functions in the tree have real values at the point."""
    import sympy

    partial = (sympy.Pow, sympy.log, sympy.asin, sympy.acos, sympy.asec, sympy.acsc)
    values = [_value(node, point, 15) for node in tree.atoms(*partial) if node.free_symbols]
    return None not in values and all(value.is_real for value in values)


def _speaks_of_i(*trees: Any) -> bool:
    import sympy

    return any(tree.has(sympy.I) for tree in trees)


def _agree(gold: Any, answer: Any, digits: int) -> bool:
    return bool(abs(gold - answer) <= max(abs(gold), abs(answer)) / 10 ** (digits - _GUARD_DIGITS))


def _digits_before_point(value: Any, signed: bool = False) -> int:
    """Returns the number of digits before the point: 2^{100} and 2^{100}+1 differ in the 31st.

    With `signed`, a number below 1 has a negative count, the number of zeros after the point.
    """
    size = abs(value).evalf(15)
    # The binary exponent of the float gives the logarithm without computing the number.
    digits = int((size._mpf_[2] + size._mpf_[3]) * 0.30103) + 1 if size.is_Float else 0
    return digits if signed else max(0, digits)


def _value(tree: Any, point: dict[Any, Any], digits: int) -> Any:
    """Returns the value as a finite real or complex number, else None."""
    value = tree.evalf(digits, subs=point)
    if not _is_finite_number(value):  # sums, integrals and limits may have to be evaluated first
        value = tree.doit().evalf(digits, subs=point)
    return value if _is_finite_number(value) else None


def _is_finite_number(value: Any) -> bool:
    return bool(value.is_number and value.is_finite) and all(
        part.is_Float or part.is_Rational for part in value.as_real_imag()
    )


def _close(gold: Any, answer: Any) -> bool:
    values = [_value(tree, {}, _DIGITS) for tree in (gold, answer)]
    if None in values or not all(value.is_real and abs(value) < 10**_DIGITS for value in values):
        return False
    return close_decimals(Fraction(str(values[0])), Fraction(str(values[1])))


def _proven_zero(difference: Any) -> bool:
    import sympy

    return sympy.simplify(difference).is_zero is True


def _proportional(gold: tuple[Any, Any], answer: tuple[Any, Any], positive: bool) -> bool:
    """Whether (left - right) of both differ by a constant factor, above 0 if `positive`."""
    gold_symbols = gold[0].free_symbols | gold[1].free_symbols
    if gold_symbols != answer[0].free_symbols | answer[1].free_symbols:
        return False
    ratios = []
    for point in _points(gold_symbols, *gold, *answer):
        values = [_value(side, point, _DIGITS) for side in (*gold, *answer)]
        if None in values or values[0] == values[1] or values[2] == values[3]:
            continue
        ratios.append((values[2] - values[3]) / (values[0] - values[1]))
    if len(ratios) < _MIN_POINTS or (positive and not all(ratio.is_real and ratio > 0 for ratio in ratios)):
        return False
    return all(abs(ratio - ratios[0]) <= abs(ratios[0]) / 10 ** (_DIGITS // 2) for ratio in ratios)
