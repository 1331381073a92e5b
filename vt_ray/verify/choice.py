r"""Multiple choice: which letter a completion settled on.

"... so \boxed{\text{(B) } 42}"  -->  "B"
"""

from __future__ import annotations

import re

from vt_ray.records import Verdict
from vt_ray.verify.math_answer import extract_answer

_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|textrm|bf|rm)(?![A-Za-z])\s*")
_MAX_CHARS = 500
# The letter alone, or in front of its option's text; then another "(C)" in that text means two were named.
_LETTER = re.compile(r"[(\[]?\s*([A-Za-z])\s*(?:[).:,\]]+|$)(.*)", re.DOTALL)
_INTRODUCTION = re.compile(
    r"^(?:the\s+)?(?:(?:final|correct)\s+)?(?:answer|option|choice|letter)(?:\s+is)?\s*:?\s*(?=[(\[A-Z])", re.I
)
_FULL_WIDTH = {0xFEE0 + code: code for code in range(0x21, 0x7F)}
_OTHER_OPTION = re.compile(
    r"^\s*[A-Za-z]\s*(?:$|[,/&])|\([A-Za-z]\)|(?<![A-Za-z])[A-Z][).:]|^\s*(?:,|/|&|and\b|or\b)\s*\(?[A-Za-z](?![A-Za-z])"
)
_AND_ANOTHER = re.compile(r"[\s.)*$}]*(?:,|/|&|and\b|or\b)\s*(?:option\s*)?[*$]*\(?[A-Z](?![A-Za-z'])")
_FIRST_PERSON = re.compile(r"\s+[a-z]+")  # "the answer is I think"
_SENTENCE = re.compile(
    r"\b(?:answer|option|choice)\s*(?:is|:)\s*:?\s*(?:option|choice|letter)?\s*"
    r"(?:[$*\s]|\\\(|\\(?:text|textbf|mathrm|mathbf)\s*\{|\{)*(\(\s*[A-Za-z]\s*\)|[A-Z])(?![A-Za-z'])",
    re.IGNORECASE,
)


def choice_verdict(gold: str, text: str) -> Verdict:
    """Compare the letter a completion chose with the gold letter ("B" or "(B)")."""
    gold_letter = _letter(gold)
    if gold_letter is None:
        return Verdict("unverified", f"gold unreadable: {gold[:20]!r} is no letter of a choice")
    chosen = extract_choice(text)
    if chosen is None:
        return Verdict("wrong", "no_answer")
    return Verdict("correct") if chosen == gold_letter else Verdict("wrong", "wrong_answer")


def extract_choice(text: str) -> str | None:
    """The letter, in capitals, in the last box; without any box, of the last sentence "the answer is (B)".

    Two letters are no choice, and a box that holds none is not made good by an earlier sentence.
    """
    text = text.translate(_FULL_WIDTH)
    if "\\boxed" in text or "\\fbox" in text:
        return _letter(extract_answer(text) or "")
    sentences = list(_SENTENCE.finditer(text))
    if not sentences or _AND_ANOTHER.match(text, sentences[-1].end()):
        return None
    last = sentences[-1]
    letter = last[1].strip("() \t")
    if letter == "I" and _FIRST_PERSON.match(text, last.end()):
        return None
    # "the answer is a number": a small letter needs its brackets
    return letter.upper() if letter.isupper() or last[1].startswith("(") else None


def _letter(answer: str) -> str | None:
    if len(answer) > _MAX_CHARS:
        return None
    bare = _COMMAND.sub("", answer).translate(str.maketrans("", "", "{}$*~\\\"'`")).strip()
    bare = _INTRODUCTION.sub("", bare)
    match = _LETTER.fullmatch(bare)
    if match is None or _OTHER_OPTION.search(match[2]):
        return None
    return match[1].upper()
