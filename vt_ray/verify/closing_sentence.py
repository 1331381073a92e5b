r"""The answer of a completion without a box: what its last "the answer is ..." names.

"... so the final answer is \(7\) or \(8\), as said."  -->  "7,8"
"""

from __future__ import annotations

import re

_CLOSING = re.compile(r"\banswers?[*_]{0,2}\s*(?:is|are|:|=)(?!\w)", re.IGNORECASE)
_LEADING_MARKS = re.compile(r"[\s:=*_]*(?:(?:simply|just|indeed|thus|therefore|equal to)\s)?[\s:*_]*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|[.!?](?:\s|\*|$)")
_MAX_CHARS = 1_000
# Opening of a formula and how it closes. "\$" is money, and closes nothing.
_FORMULAS = (
    (re.compile(r"\$\$?"), re.compile(r"(?<!\\)\$")),
    (re.compile(r"\\\("), re.compile(r"\\\)")),
    (re.compile(r"\\\["), re.compile(r"\\\]")),
)
# Between two formulas that together are one answer: "$1$, $2$ and $3$".
_JOINT = re.compile(r"[$*\s]*(?:,\s*and|,\s*or|and|or|,|;)\s+(?=\$|\\\(|\\\[)")
# Behind a formula, a word that changes its value: "$5$ million" is not 5.
_CHANGED = re.compile(
    r"[$*\s]*(\\?%|percent\b|hundred\b|thousand\b|million\b|billion\b|dozens?\b|times\b|mod\b|(?:,\s*)?(?:or|not|and)\b"
    r"|,?\s*plus\b|,?\s*minus\b)"
)


def closing_sentence(text: str) -> str | None:
    """What the last closing sentence names, as LaTeX; None without one, or if it names nothing."""
    closings = [match.end() for match in _CLOSING.finditer(text)]
    if not closings:
        return None
    rest = text[closings[-1] : closings[-1] + _MAX_CHARS]
    rest = rest[_LEADING_MARKS.match(rest).end() :]  # type: ignore[union-attr]  # it matches the empty text too
    formulas = _formulas(rest)
    if formulas is not None:
        return formulas or None
    end = _SENTENCE_END.search(rest)
    return (rest[: end.start()] if end else rest).strip(" *$") or None


def _formulas(rest: str) -> str | None:
    """The formulas that `rest` begins with, joined by commas; None where it begins with something else."""
    found: list[str] = []
    position = 0
    while (span := _formula(rest, position)) is not None:
        found.append(rest[slice(*span[:2])].strip())
        position = span[2]
        joint = _JOINT.match(rest, position)
        if joint is None:
            break
        position = joint.end()
    if not found:
        return None
    changed = _CHANGED.match(rest, position)
    return ",".join(found) + (rf"\text{{ {changed[1]} }}" if changed else "")


def _formula(rest: str, position: int) -> tuple[int, int, int] | None:
    """(start of the content, its end, end of the formula) of one that opens at `position`."""
    for opening, closing in _FORMULAS:
        opened = opening.match(rest, position)
        if opened is None:
            continue
        closed = closing.search(rest, opened.end())
        if closed is None or "\n\n" in rest[opened.end() : closed.start()]:
            return None  # cut off, or a lone sign of money
        return opened.end(), closed.start(), closed.end()
    return None
