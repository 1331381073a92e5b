"""Arithmetic written line by line, so that each line is nearly a table look-up.

a, b --> sum_line      "47+38=85"                              one line
     --> sum_by_tens   "47+30=77", "77+8=85"                   two easy lines
     --> sum_by_digits "40+30=70", "7+8=15", "70+15=85"        three easier lines
"""

from __future__ import annotations

from fractions import Fraction

Number = int | Fraction


def latex(value: Number) -> str:
    r"""Returns the value as written in the box: `5`, `-\frac{3}{5}`."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def operand(value: Number) -> str:
    """Returns the value as the right operand of `*` or `-`: negative values in brackets."""
    return f"({value})" if value < 0 else str(value)


def polynomial(*coefficients: int) -> str:
    """Returns a polynomial, highest power first: `polynomial(3, 0, -1)` is `3x^2-1`."""
    degree = len(coefficients) - 1
    text = "".join(_monomial(c, degree - i) for i, c in enumerate(coefficients) if c)
    return text.removeprefix("+") or "0"


def _monomial(coefficient: int, power: int) -> str:
    if power == 0:
        return f"{coefficient:+d}"
    number = {1: "+", -1: "-"}.get(coefficient, f"{coefficient:+d}")
    return number + ("x" if power == 1 else f"x^{power}")


def sum_line(a: int, b: int) -> str:
    """Returns `a+b` in one line; a negative `b` becomes a subtraction."""
    return f"{a}{b:+d}={a + b}"


def sum_by_tens(a: int, b: int) -> list[str]:
    """Returns `a+b` in lines: first the tens of `b` are added, then its ones."""
    tens = _tens(b)
    if abs(a) < 10 or tens in (0, b):
        return [sum_line(a, b)]
    return [sum_line(a, tens), sum_line(a + tens, b - tens)]


def sum_by_digits(a: int, b: int) -> list[str]:
    """Returns `a+b` in lines: tens plus tens, ones plus ones, then their sum."""
    tens_a, tens_b = _tens(a), _tens(b)
    if tens_a in (0, a) or tens_b in (0, b):
        return sum_by_tens(a, b)
    tens, ones = tens_a + tens_b, a + b - tens_a - tens_b
    return [sum_line(tens_a, tens_b), sum_line(a - tens_a, b - tens_b), sum_line(tens, ones)]


def product_line(a: int, b: int) -> str:
    """Returns `a*b` in one line."""
    return f"{a}*{operand(b)}={a * b}"


def product_by_tens(a: int, b: int) -> list[str]:
    """Returns `a*b` in lines, with a two-digit `b` split into tens and ones."""
    tens = _tens(b)
    if tens in (0, b):
        return [product_line(a, b)]
    ones = b - tens
    return [product_line(a, tens), product_line(a, ones), sum_line(a * tens, a * ones)]


def quotient_line(top: int, bottom: int) -> str:
    """Returns `top/bottom=value`, or only `top/bottom` if nothing cancels."""
    value, text = Fraction(top, bottom), f"{top}/{bottom}"
    return text if str(value) == text else f"{text}={value}"


def _tens(value: int) -> int:
    size = abs(value) // 10 * 10
    return size if value >= 0 else -size
