"""The words of a question, for a comparison that ignores case and punctuation."""

from __future__ import annotations

import re

# "!" is a factorial before an operator or a bracket. Elsewhere it may end a sentence.
_WORDS = re.compile(r"[^\W_]+|[-+*/^=<>×÷±√≤≥≠]|!(?=\s*[-+*/^=<>×÷)])")


def question_words(question: str) -> str:
    """Returns words, numbers and operators in lower case, separated by one space."""
    return " ".join(_WORDS.findall(question.lower()))
