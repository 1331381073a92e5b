r"""Gold answers of problem files as text that the verifier can read.

0.00005 | "\boxed{5}" | "[\"10\"]" | ["1", "2"]  --gold_text-->  "0.00005" | "5" | "10" | "1, 2"
"""

from __future__ import annotations

import ast
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from vt_ray.data.json_text import loads

if TYPE_CHECKING:
    from vt_ray.data.problem_rows import Row

# Placeholders of data sets for problems without an answer that can be graded (NuminaMath, exported tables).
_PLACEHOLDERS = {
    *(
        "proof",
        "see proof",
        "prove",
        "to prove",
        "notfound",
        "not found",
        "answer not found",
        "no answer",
        "n/a",
        "nan",
    ),
    *("null", "[]", "see solution", "see explanation", "tbd", "todo"),
}
# What may stand around a placeholder: "$\text{Proof.}$", "\boxed{}".
_AROUND = re.compile(r"\\(?:boxed|fbox|text[a-z]*|mathrm|mbox)(?![A-Za-z])|[${}().\s]+")
# A list of texts, written as text. "[0, 3]" is an interval: its elements have no quotes.
_WRITTEN_LIST = re.compile(r"""\s*\[\s*['"]""")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*(\{|[^\s${}\\]+)")
_CONTROL = re.compile(r"[\x00-\x1f]")


def is_blank(value: Any) -> bool:
    """Whether a gold answer is absent: null, not a number, white space, a placeholder, or a list of such values."""
    if isinstance(value, str) and _WRITTEN_LIST.match(value):
        value = _elements(value) or value
    if isinstance(value, (list, tuple)):
        return all(map(is_blank, value))
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, str) and _is_placeholder(value))


def _is_placeholder(text: str) -> bool:
    """Whether a text holds no answer: nothing within boxes, brackets and dollar signs, or a placeholder.

    `None` as Python writes it is a missing value of an exported table; `none` and `\\text{None}` are answers.
    """
    bare = " ".join(_AROUND.sub(" ", text).split()).lower()
    return not bare or text.strip() == "None" or bare in _PLACEHOLDERS or text.strip().lower() in _PLACEHOLDERS


def _is_shown(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and bool(value.strip()))


def gold_text(row: Row, name: str, value: Any) -> str:
    """Returns the gold answer `value` of the field `name` as text. All elements of a list are parts of the answer.

    Raises MissingGoldError if there is no answer, ProblemFileError if it cannot be written as text.
    """
    if is_blank(value):
        found = f"is {value if isinstance(value, float) else value.strip()!r:.40}" if _is_shown(value) else "is empty"
        raise row.missing_gold(
            f"field {name!r} {found}: expected the gold answer; fill it in, delete the row, or leave such rows out "
            "with drop_unanswered: true beside the path"
        )
    if isinstance(value, str) and _WRITTEN_LIST.match(value):
        elements = _elements(value)
        if elements is None:
            raise row.error(
                f"{name}={value!r:.80} begins like a list but is not a list: expected ['...'], each backslash doubled"
            )
        value = elements
    if isinstance(value, (list, tuple)):
        return ", ".join(dict.fromkeys(_text(row, name, element) for element in value))
    return _text(row, name, value)


def _text(row: Row, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)) or is_blank(value):
        raise row.error(f"field {name!r} is of type {type(value).__name__}: expected text or a number")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps is stored as floats
    if isinstance(value, float | Decimal):
        return f"{Decimal(str(value)).normalize():f}"  # never 5e-05, which reads as 5e - 05
    text = row.encodable(name, str(value).strip())
    found = boxes(text)
    if not all(found):
        raise row.error(f"field {name!r} holds a box without an answer ({text!r:.80}): expected \\boxed{{answer}}")
    return ", ".join(dict.fromkeys(found)) if found else text


def boxes(text: str) -> list[str]:
    """Returns the content of each innermost box, in order; "" for a box that never closes."""
    found: list[str] = []
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        end = match.end()
        if match[1] != "{":
            found.append(match[1])
            continue
        depth = 1
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0) * (text[end - 1] != "\\")
            end += 1
        content = "" if depth else text[match.end() : end - 1].strip()
        found += boxes(content) or [content]
    return found


def _elements(text: str) -> list[Any] | None:
    """Returns the elements of a list of texts in JSON or Python syntax, None for other text.

    A control character inside an element comes from a single backslash: "\\f" of "\\frac" was read as a form feed.
    """
    for parse in (loads, ast.literal_eval):
        try:
            elements = parse(text.strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        texts = [element.rstrip() for element in elements if isinstance(element, str)]
        return None if any(map(_CONTROL.search, texts)) else elements
    return None
