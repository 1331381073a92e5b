r"""A completion's final answer as LaTeX, and the verdict that needs no algebra.

    text --extract_answer--> "\\frac12" --exact_verdict(gold, .)--> True | False | None (ask the algebra)

Pure, linear in the text, never evaluates anything a model wrote.
"""

from __future__ import annotations

import re
from fractions import Fraction

from vt_ray.verify.closing_sentence import closing_sentence
from vt_ray.verify.latex_text import matching_braces, normalise, peel, squash

MAX_ANSWER_CHARS = 4_000
MAX_DIGITS = 1_000

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BARE_BOX = re.compile(r"[^\s${}\\]+")
# What may stand between two boxes that together are one answer: "\boxed{1}, \boxed{2}" or "\boxed{1} and
# \boxed{2}".
_BETWEEN_BOXES = re.compile(r"[\s$,;.*&]*(?:and|or|\\text\{\s*(?:and|or)\s*\}|\\quad|\\qquad)?[\s$,;.*&]*")
_BETWEEN_CHARS = 40
_INTEGER = r"\d+"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>{_INTEGER})?\\frac\{{(?P<fsign>[+-]?)(?P<top>{_INTEGER})\}}\{{(?P<bottom>{_INTEGER})\}}"
    rf"|(?P<left>{_INTEGER})/(?P<right>{_INTEGER})"
    rf"|(?P<grouped>\d{{1,3}}(?:,\d{{3}})+)(?P<grouped_decimals>\.\d+)?"
    rf"|(?P<before>\d*\.\d*)\\overline\{{(?P<period>\d+)\}}"
    r"|(?P<mantissa>\d{1,40}(?:\.\d{1,40})?)(?:\\times|\\cdot|\*) ?10\^\{(?P<exponent>[+-]?\d{1,3})\}"
    rf"|(?P<digits>{_INTEGER})(?P<point>\.)?|(?P<decimal>\d*\.\d+))"
)


def extract_answer(text: str) -> str | None:
    r"""The answer in the last box, else in the last sentence that says "the answer is ...", else None.

    Of nested boxes the outermost counts. Boxes that stand side by side at the end are one answer, a list:
    naming 41 and 42 is not answering 42. `\boxed 5` and `\fbox{5}` are boxes. A last box that never closes,
    or holds nothing, is no answer, whatever came before it: the completion was cut off while it answered.
    """
    starts = [match.start() for match in _BOX.finditer(text)]
    if not starts:
        return closing_sentence(text)
    boxes = _outermost_boxes(text)
    if not boxes or boxes[-1][1] <= starts[-1]:
        return None
    answers: list[str] = []
    next_start = len(text)
    for start, end, content in reversed(boxes):
        if answers and not _side_by_side(text[end:next_start]):
            break
        next_start = start
        if content not in answers:
            answers.insert(0, content)
    return ", ".join(answers) if all(answers) else None


def _side_by_side(between: str) -> bool:
    return len(between) <= _BETWEEN_CHARS and _BETWEEN_BOXES.fullmatch(between) is not None


def _outermost_boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of each closed box that is in no other closed box, in order."""
    pairs = matching_braces(text)
    boxes: list[tuple[int, int, str]] = []
    for match in _BOX.finditer(text):
        start, opening = match.start(), match.end()
        if boxes and start < boxes[-1][1]:
            continue
        if opening in pairs:
            boxes.append((start, pairs[opening] + 1, _unboxed(text[opening + 1 : pairs[opening]])))
        elif bare := _BARE_BOX.match(text, opening):
            boxes.append((start, bare.end(), bare[0].rstrip(".,;")))
    return boxes


def _unboxed(content: str) -> str:
    return peel(_BOX.sub("", content).strip())


def exact_verdict(gold: str, answer: str) -> bool | None:
    r"""Whether the two are equal, as far as the text or exact arithmetic can tell; None where they cannot.

    Integers, fractions (\frac, a/b, mixed numbers) and terminating decimals are compared exactly with each
    other. Where either is a decimal, a difference of at most half of the sixth decimal passes (1/3 and
    0.333333), if it is small beside the numbers too. An integer gold wants the integer: 5.0 is 5, 4.9999999 is not.
    """
    gold, answer = normalise(gold), normalise(answer)
    listed = ", " in gold or ", " in answer  # 100, 200 is two numbers, 100,200 is one
    gold, answer = squash(gold), squash(answer)
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
    """Whether this may have been rounded: a number with a point, and not with a period behind it."""
    return "." in latex and "overline" not in latex


def close_decimals(gold: Fraction, answer: Fraction) -> bool:
    """Equal to six decimals, and beside their size: 1e-7 is not 2e-7, nor 6.63e-34 quite 6.64e-34."""
    difference, size = abs(gold - answer), max(abs(gold), abs(answer))
    relative = Fraction(1, 10_000) if size > Fraction(1, 1_000) else Fraction(2, 1_000_000)
    return difference <= Fraction(5, 10_000_000) and difference <= relative * size


def exact_number(text: str) -> Fraction | None:
    """The number that `text`, normalised and without spaces, is a short literal of; else None."""
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
    if match["period"]:  # 0.1666...: the period, over as many nines, behind the last digit before it
        behind = len(match["before"].partition(".")[2])
        start = Fraction(match["before"] + "0" if match["before"] != "." else "0")
        return start + Fraction(int(match["period"]), (10 ** len(match["period"]) - 1) * 10**behind)
    return Fraction(match["digits"] or match["decimal"])
