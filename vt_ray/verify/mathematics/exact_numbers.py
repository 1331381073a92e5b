r"""Comparison of two answers without algebra: exact arithmetic on short literals, and equal texts.

    "\\frac12", "0.5"  --exact_verdict-->  True | False | None (the algebra has to decide)

Pure, linear in the text; it never evaluates an expression.
"""

from __future__ import annotations

import re
from fractions import Fraction

from vt_ray.verify.mathematics.latex_text import normalise, without_spaces

MAX_ANSWER_CHARS = 4_000
MAX_DIGITS = 1_000

_INTEGER = r"\d+"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>{_INTEGER})?\\frac\{{(?P<fsign>[+-]?)(?P<top>{_INTEGER})\}}\{{(?P<bottom>{_INTEGER})\}}"
    rf"|(?P<left>{_INTEGER})/(?P<right>{_INTEGER})"
    rf"|(?P<grouped>\d{{1,3}}(?:,\d{{3}})+)(?P<grouped_decimals>\.\d+)?"
    rf"|(?P<before>\d*\.\d*)\\overline\{{(?P<period>\d+)\}}"
    r"|(?P<mantissa>\d{1,40}(?:\.\d{1,40})?)(?:\\times|\\cdot|\*) ?10\^\{(?P<exponent>[+-]?\d{1,3})\}"
    rf"|(?P<digits>{_INTEGER})(?P<point>\.)?|(?P<decimal>\d*\.\d+))"
)


def exact_verdict(gold: str, answer: str) -> bool | None:
    r"""Whether the two are equal by text or exact arithmetic; None if these cannot decide.

    Integers, fractions (\frac, a/b, mixed numbers) and terminating decimals are compared exactly. If one of them is a
    decimal, a difference of at most half of the sixth decimal is accepted (1/3 and 0.333333), if it is also small
    relative to the numbers. An integer gold needs the integer: 5.0 is 5, 4.9999999 is not.
    """
    gold, answer = normalise(gold), normalise(answer)
    listed = ", " in gold or ", " in answer  # 100, 200 is two numbers, 100,200 is one
    gold, answer = without_spaces(gold), without_spaces(answer)
    if gold == answer:
        return True if gold else None
    if listed:
        return None
    gold_number, answer_number = exact_number(gold), exact_number(answer)
    if gold_number is None or answer_number is None:
        return None
    if gold_number.denominator > 1 and (is_decimal(gold) or is_decimal(answer)):
        return close_decimals(gold_number, answer_number)
    return gold_number == answer_number


def is_decimal(latex: str) -> bool:
    """Whether the number may have been rounded: it has a decimal point and no repeating digits."""
    return "." in latex and "overline" not in latex


def close_decimals(gold: Fraction, answer: Fraction) -> bool:
    """Whether two numbers are equal to six decimals and relative to their size: 1e-7 is not 2e-7."""
    difference, size = abs(gold - answer), max(abs(gold), abs(answer))
    relative = Fraction(1, 10_000) if size > Fraction(1, 1_000) else Fraction(2, 1_000_000)
    return difference <= Fraction(5, 10_000_000) and difference <= relative * size


def exact_number(text: str) -> Fraction | None:
    """Returns the number if `text`, normalised and without spaces, is a short literal, else None."""
    if len(text) > MAX_DIGITS:  # int() takes time quadratic in the digits
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    value = _magnitude(match)
    return value if value is None or match["sign"] != "-" else -value


def _magnitude(match: re.Match[str]) -> Fraction | None:
    if match["top"]:
        if match["whole"] and match["fsign"]:
            return None
        top, bottom = int((match["fsign"] or "") + match["top"]), int(match["bottom"])
        return int(match["whole"] or 0) + Fraction(top, bottom) if bottom else None
    if match["left"]:
        bottom = int(match["right"])
        return Fraction(int(match["left"]), bottom) if bottom else None
    if match["grouped"]:
        return Fraction(match["grouped"].replace(",", "") + (match["grouped_decimals"] or ""))
    if match["mantissa"]:
        return Fraction(match["mantissa"]) * Fraction(10) ** int(match["exponent"])
    if match["period"]:  # 0.1666...: the period divided by as many nines, shifted after the last digit before it
        behind = len(match["before"].partition(".")[2])
        start = Fraction(match["before"] + "0" if match["before"] != "." else "0")
        return start + Fraction(int(match["period"]), (10 ** len(match["period"]) - 1) * 10**behind)
    return Fraction(match["digits"] or match["decimal"])
