r"""Algebra about plain expressions, for the child process: parsed by math-verify's parser, compared by number first.

    "\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}" --latex2sympy--> values at sample points --equal?--> symbolic proof if unsure

Evaluating is 10 to 100 times faster than simplifying, tells 2^{-99} from 2^{-98}, and does not mistake x for X.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from functools import lru_cache
from typing import Any

from vt_ray.verify.math_answer import close_decimals

_DIGITS = 50  # decimal digits at which two values must agree
_GUARD_DIGITS = 8
_MAX_EXTRA_DIGITS = 2_000  # beyond that magnitude only equal trees are equal
_POINTS = 4
_LETTERS_OF_E = frozenset({"e"})


class Unreadable(Exception):
    """The gold answer cannot be parsed: the dataset's or the verifier's fault, not the model's."""


class SympyAlgebra:
    """Implements `math_guards.Algebra` with sympy. One thread; may hang or allocate without end: run it in a child."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        _parse(r"\frac{1}{2}+x")  # loads the parser's tables now, not within the first deadline

    def same_value(self, gold: str, answer: str) -> bool:
        """See the protocol; raises Unreadable."""
        gold_value = _gold(gold)
        answer_value = _parse(answer)
        return answer_value is not None and _same(gold_value, answer_value, "." in gold or "." in answer)

    def same_relation(self, gold: tuple[str, str], answer: tuple[str, str], positive: bool) -> bool:
        """See the protocol; raises Unreadable."""
        gold_difference = _gold(gold[0]) - _gold(gold[1])
        sides = [_parse(side) for side in answer]
        if sides[0] is None or sides[1] is None:
            return False
        return _proportional(gold_difference, sides[0] - sides[1], positive)


def _gold(latex: str) -> Any:
    value = _parse(latex)
    if value is None:
        raise Unreadable(latex[:80])
    return value


@lru_cache(maxsize=512)
def _parse(latex: str) -> Any:
    """A sympy expression with `e` and `i` as the constants, decimals as exact rationals; None if it is none."""
    import sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy, normalize_latex

    try:
        tidy = normalize_latex(
            latex.replace("'", r"_{prime}"),  # the parser drops primes
            NormalizationConfig(basic_latex=True, malformed_operators=True, nits=True, boxed="none"),
        )
        tree = latex2sympy(
            tidy, is_real=None, normalization_config=None, conversion_config=ConversionConfig(lowercase_symbols=False)
        )
        if not isinstance(tree, sympy.Expr):
            return None
        return tree.xreplace(_constants(tree))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser's own errors have no common class
        return None


def _constants(tree: Any) -> dict[Any, Any]:
    import sympy

    named = {symbol: {"i": sympy.I, "e": sympy.E}.get(symbol.name, sympy.Symbol(symbol.name)) for symbol in tree.free_symbols}
    exact = {number: sympy.Rational(str(number)) for number in tree.atoms(sympy.Float) if number.is_finite}
    return {**named, **exact}


def _same(gold: Any, answer: Any, decimals: bool) -> bool:
    if gold == answer:
        return True
    if decimals and not (gold.free_symbols or answer.free_symbols):
        return _close(gold, answer)
    compared = 0
    for point in _points(gold.free_symbols | answer.free_symbols):
        verdict = _same_at(gold.xreplace(point), answer.xreplace(point))
        if verdict is False:
            return False
        compared += verdict is True
    return compared >= min(2, _needed(gold, answer)) or _proven_equal(gold, answer)


def _needed(gold: Any, answer: Any) -> int:
    return 2 if gold.free_symbols | answer.free_symbols else 1


def _points(symbols: Any) -> list[dict[Any, Any]]:
    """Fixed generic points, the same for one name on both sides, of either sign: |x| is not x."""
    import sympy

    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    if not ordered:
        return [{}]
    points = []
    for index in range(_POINTS):
        values = {}
        for place, symbol in enumerate(ordered):
            sign = -1 if (index == 1 or (index == 3 and place % 2)) else 1
            values[symbol] = sign * sympy.Rational(7919 * (place + 1) + 104729 * (index + 1), 65537 + 331 * place)
        points.append(values)
    return points


def _same_at(gold: Any, answer: Any) -> bool | None:
    """Whether two constants are equal; None where either has no value, or one is real and the other is not."""
    if gold.is_Rational and answer.is_Rational:
        return bool(gold == answer)
    digits = _DIGITS + max(_extra_digits(gold), _extra_digits(answer))
    if digits > _DIGITS + _MAX_EXTRA_DIGITS:
        return None
    gold_value, answer_value = _value(gold, digits), _value(answer, digits)
    if gold_value is None or answer_value is None:
        return None
    if bool(gold_value.is_real) != bool(answer_value.is_real) and (gold.has(*_unreal()) == answer.has(*_unreal())):
        return None
    size = max(abs(gold_value), abs(answer_value))
    difference = abs(gold_value - answer_value)
    if gold_value == 0 or answer_value == 0:
        return _proven_equal(gold, answer) if difference < 10**-_DIGITS else False
    return bool(difference <= size / 10 ** (digits - _GUARD_DIGITS))


def _unreal() -> tuple[Any, ...]:
    import sympy

    return (sympy.I,)


def _extra_digits(value: Any) -> int:
    """Digits before the point: 2^{100} and 2^{100}+1 differ in the 31st."""
    import sympy

    rough = _value(value, 15)
    if rough is None or rough == 0:
        return 0
    size = sympy.log(abs(rough), 10).evalf(15)
    return max(0, int(size)) if size.is_finite and size < 10**9 else 10**9


def _value(expression: Any, digits: int) -> Any:
    import sympy

    value = expression.evalf(digits)
    if not value.is_number or not value.is_finite or not isinstance(value, sympy.Expr):
        value = expression.doit().evalf(digits)
    ready = value.is_number and value.is_finite and all(p.is_Float or p.is_Rational for p in value.as_real_imag())
    return value if ready else None


def _close(gold: Any, answer: Any) -> bool:
    values = [_value(each, _DIGITS) for each in (gold, answer)]
    if any(value is None or not value.is_real for value in values):
        return False
    return close_decimals(*(Fraction(str(value)) for value in values))


def _proven_equal(gold: Any, answer: Any) -> bool:
    import sympy

    difference = sympy.simplify(gold - answer)
    return difference.is_zero is True


def _proportional(gold: Any, answer: Any, positive: bool) -> bool:
    """answer = c gold with a constant c (above 0 if `positive`), at generic points."""
    import sympy

    if gold.free_symbols != answer.free_symbols:
        return False
    ratios = []
    for point in _points(gold.free_symbols):
        values = [_value(side.xreplace(point), _DIGITS) for side in (gold, answer)]
        if values[0] is None or values[1] is None or values[0] == 0 or values[1] == 0:
            continue
        ratios.append(sympy.nsimplify(values[1] / values[0], rational=False) if False else values[1] / values[0])
    if len(ratios) < 2 or (positive and not all(ratio.is_real and ratio > 0 for ratio in ratios)):
        return False
    return all(abs(ratio - ratios[0]) < abs(ratios[0]) / 10 ** (_DIGITS - _GUARD_DIGITS) for ratio in ratios)
