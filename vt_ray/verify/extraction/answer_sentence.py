r"""The answer of a completion without a box: the value in its last sentence "the answer is ...". Pure, linear.

"... so the final answer is \(7\) or \(8\), as said."  -->  "7,8"
"""

from __future__ import annotations

import re

from vt_ray.verify.extraction.box_context import words_behind
from vt_ray.verify.extraction.negation import denied_before, taken_back

_TAIL_CHARS = 20_000  # only this much at the end of the text is searched
_CLOSING = re.compile(
    r"\banswers?(?: to (?:the|this) (?:\w+ )?(?:problem|question|exercise))?[*_]{0,2}\s*(?:is|are|:|=)(?!\w)"
    r"|答案(?:是|为|為|:|：)|<answer>(?=\s*[^\s<])|^####[^\S\n]+(?=[-$\d.][^\n]*\s*\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_LEADING_MARKS = re.compile(
    r"[\s:=*_]*(?:,?\s*(?:simply|just|indeed|thus|then|therefore|of course,|clearly|exactly|equal to|given by"
    r"|the (?:number|integer|value))\s+){0,2}[\s:*_]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\n|[.!?](?:\s|\*|$)|[。！？]|</answer>")
# Words after a plain answer that explain it: "5, because ...", "5, which is prime".
_EXPLANATION = re.compile(
    r",?\s+(?:(?:because|since|which|so|thus|hence|by(?!\s*[\d$])|and (?:we|this|that|it|so|thus|hence))\b"
    r"|\((?:since|because|as|which|this|that|we|where|\d+ (?:is|=))"
    r"|as (?:required|desired|expected|stated|claimed|shown|said)\b|[:;][-)(]|[✅🎉🙂😊])"
    r"|:\s+(?:the|this|that|it|we|since|because)\b",
    re.IGNORECASE,
)
_MAX_CHARS = 1_000
# The opening and the closing of a formula. "\$" is a dollar sign and closes nothing.
_FORMULAS = (
    (re.compile(r"\$\$?"), re.compile(r"(?<!\\)\$")),
    (re.compile(r"\\\("), re.compile(r"\\\)")),
    (re.compile(r"\\\["), re.compile(r"\\\]")),
)
# The text between two formulas that form one answer: "$1$, $2$ and $3$".
_JOINT = re.compile(r"[$*\s]*(?:,\s*and|,\s*or|and|or|,|;)\s+(?=\$|\\\(|\\\[)")


def answer_sentence(text: str) -> str | None:
    """Returns the value in the last "the answer is ...", as LaTeX; None without such a sentence or if it is denied."""
    text = text[-_TAIL_CHARS:]
    closings = list(_CLOSING.finditer(text))
    if not closings or denied_before(text[: closings[-1].start()]):
        return None
    rest = text[closings[-1].end() :][:_MAX_CHARS]
    rest = rest[_LEADING_MARKS.match(rest).end() :]  # type: ignore[union-attr]  # it matches the empty text too
    formulas, end = _formulas(rest)
    if formulas:
        changed = words_behind(rest[end:])
        return None if changed is None else ",".join(formulas) + changed or None
    ended = _SENTENCE_END.search(rest)
    said = rest[: ended.start()] if ended else rest
    if ended and taken_back(rest[ended.start() :]):
        return None
    if (explained := _EXPLANATION.search(said)) is not None:
        if taken_back(said[explained.start() :]):
            return None
        said = said[: explained.start()]
    return said.replace("**", "").strip(" *$") or None


def _formulas(rest: str) -> tuple[list[str], int]:
    """Returns the formulas at the beginning of `rest`, and the end of the last one."""
    found: list[str] = []
    position = end = 0
    while (span := _formula(rest, position)) is not None:
        found.append(rest[slice(*span[:2])].strip())
        position = end = span[2]
        joint = _JOINT.match(rest, position)
        if joint is None:
            break
        position = joint.end()
    return found, end


def _formula(rest: str, position: int) -> tuple[int, int, int] | None:
    """Returns (start of the content, end of the content, end of the formula) of the formula at `position`."""
    for opening, closing in _FORMULAS:
        opened = opening.match(rest, position)
        if opened is None:
            continue
        closed = closing.search(rest, opened.end())
        if closed is None or "\n\n" in rest[opened.end() : closed.start()]:
            return None  # the formula is cut off, or the sign is a currency
        return opened.end(), closed.start(), closed.end()
    return None
