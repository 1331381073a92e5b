r"""The rules by which VibeThinker's own evaluation compares a response with the gold answer. Pure.

    response --what follows </think>--> last \boxed{} --as text, as number, as parts of a tuple--> True, False, or pairs

The evaluation (https://github.com/WeiboAI/VibeThinker, eval/math) uses the math reward of rllm, branch deepcoder. These
are the same rules, written anew, so that a figure can be compared with the paper's. They are not this verifier's own
rules: a percent sign and a unit do not count, and 0.5 equals 1/2 but 0.25 equals 1/4 only by algebra.
"""

from __future__ import annotations

import re

from vt_ray.verify.vibethinker.latex_to_text import latex_to_text

Pair = tuple[str, str]

_CLOSING = "</think>"
_WHOLE_TEXT = re.compile(r"^\\text\{(.+?)\}$")
_UNITS = "degree cm centimeter meter mile second minute hour day week month year foot feet inch yard".split()  # noqa: SIM905
_THOUSANDS = re.compile(r"(\d)(,)(\d\d\d)($|\D)")
_FRACTION = re.compile(r"^-?[0-9]+.?/0*[1-9][0-9]*.?$")
_BRACKETS = "()[]"
_MILLIONS = (("million", "*10^6"), ("billion", "*10^9"), ("trillion", "*10^12"))
_POWERS = re.compile(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]+")
_MAX_LETTERS = 2


def boxed_answer(response: str) -> str | None:
    """Returns the content of the last box between the first `</think>` and the next; None without both."""
    parts = response.split(_CLOSING)
    return _last_box(parts[1]) if len(parts) > 1 else None


def gold_answer(gold: str) -> str | None:
    """Returns the content of the gold answer's box, the whole text without a box, None for a box that does not end."""
    return _last_box(gold) if "\\boxed" in gold else gold


def compared(answer: str, gold: str) -> bool | list[Pair]:
    """Returns whether two answers are equal, or the pairs (gold, answer) that must be equal by algebra."""
    if _as_mathd(answer) == _as_mathd(gold):
        return True
    wanted, given = _as_number_or_text(gold), _as_number_or_text(answer)
    if wanted == given:
        return True
    if not given:
        return False
    wanted_parts, given_parts = _parts(wanted), _parts(given)
    brackets_differ = len(wanted_parts) > 1 and (wanted[0], wanted[-1]) != (given[0], given[-1])
    if brackets_differ or len(wanted_parts) != len(given_parts):
        return False
    pairs = list(zip(wanted_parts, given_parts, strict=True))
    verdicts = [_part_is_equal(*pair) for pair in pairs]
    if not pairs or False in verdicts:
        return False
    return [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict is None] or True


def has_algebra(expression: str) -> bool:
    """Whether an expression is compared by algebra: at most two letters, and no power that could take long."""
    letters = {c for c in expression.replace("sqrt", "").replace("frac", "") if c.isalpha()}
    return len(letters) <= _MAX_LETTERS and not _POWERS.search(expression)


def _part_is_equal(wanted: str, given: str) -> bool | None:
    """Returns None if algebra decides. A fraction must be reduced as the gold answer, an integer must be one."""
    if _FRACTION.search(wanted) and _FRACTION.search(given):
        return wanted == given
    return False if _is_integer(wanted) != _is_integer(given) else None


def _last_box(text: str) -> str | None:
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if text[end] == "}" and depth == 0:
            box = text[start : end + 1]
            return box[len("\\boxed{") : -1] if box.startswith("\\boxed{") else None
    return None


# --- the rule of MATH's authors: equal as text after these changes ---


def _as_mathd(answer: str) -> str:
    text = answer.strip()
    if match := _WHOLE_TEXT.search(text):
        text = match[1].strip()
    try:
        return _stripped(text)
    except (IndexError, ValueError):  # a form that the rules do not know stays as it is
        return text


def _stripped(text: str) -> str:
    for old, new in (("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", "")):
        text = text.replace(old, new)
    for old in ("\\right", "^{\\circ}", "^\\circ", "\\$"):
        text = text.replace(old, "")
    if "\\text{ " in text:  # a unit
        text, _ = text.split("\\text{ ")
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = "0" + text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:  # "x = 5"
        text = sides[1]
    text = _braced(_braced(text, "\\sqrt", 1).replace(" ", ""), "\\frac", 2)
    if text == "0.5":
        return "\\frac{1}{2}"
    ratio = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    is_plain = ratio is not None and all(str(int(part)) == part for part in ratio.groups())
    return f"\\frac{{{ratio[1]}}}{{{ratio[2]}}}" if ratio and is_plain else text


def _braced(text: str, macro: str, arguments: int) -> str:
    r"""Returns the text with braces around one-character arguments: \sqrt3, \frac12. Raises IndexError at its end."""
    head, *tails = text.split(macro)
    for tail in tails:
        if tail[0] == "{":
            head += macro + tail
        elif arguments == 1:
            head += f"{macro}{{{tail[0]}}}{tail[1:]}"
        elif len(tail) < 2:
            return text
        elif tail[1] == "{":
            head += f"{macro}{{{tail[0]}}}{tail[1:]}"
        else:
            head += f"{macro}{{{tail[0]}}}{{{tail[1]}}}{tail[2:]}"
    return head


# --- the rule before algebra: numbers, and text without case, units and spaces ---


def _as_number_or_text(answer: str) -> str:
    text = match[1] if (match := _WHOLE_TEXT.search(answer)) else answer
    for old, new in (("\\%", "%"), ("\\$", "$"), ("$", ""), ("%", ""), (" or ", " , "), (" and ", " , "), *_MILLIONS):
        text = text.replace(old, new)
    for unit in _UNITS:
        text = re.sub(rf"{unit}(es)?(s)? *(\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text[:1] == "{" and text[-1:] == "}":
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    if _is_whole(text):
        text = str(round(float(text)))
    if "\\" in text:
        text = latex_to_text(text)
    text = re.sub(r"- *", "-", text)
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", text)  # a mixed number
    text = text.replace(" ", "").replace("{", "").replace("}", "").lower()
    return str(int(float(text.replace(",", "")))) if _is_integer(text) else text


def _is_whole(text: str) -> bool:
    try:
        number = float(text)
        return abs(number - round(number)) <= 1e-7
    except (ValueError, OverflowError):  # not a number, nan or inf
        return False


def _is_integer(text: str) -> bool:
    return _is_whole(_without_thousands(text))


def _without_thousands(text: str) -> str:
    while (shorter := _THOUSANDS.sub(r"\1\3\4", text)) != text:
        text = shorter
    return text


def _parts(text: str) -> list[str]:
    """Returns the parts of a tuple or an interval, else the text alone."""
    text = _without_thousands(text)
    inside = text[1:-1]
    if len(text) > 2 and text[0] in _BRACKETS and text[-1] in _BRACKETS and not set(inside) & set(_BRACKETS):
        return [part.strip() for part in inside.split(",")]
    return [text] if text else []
