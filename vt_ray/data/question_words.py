"""The words of a question, for a comparison that ignores case and punctuation."""

from __future__ import annotations

import re

# "!" is a factorial before an operator or a closing round bracket, and directly before another bracket, a dollar sign
# or a backslash. Elsewhere it may end a sentence; after a backslash it is a space of LaTeX.
_WORDS = re.compile(r"[^\W_]+|[-+*/^=<>×÷±√≤≥≠]|(?<!\\)!(?=\s*[-+*/^=<>×÷)]|[(\]}$\\])")


def question_words(question: str) -> str:
    """Returns words, numbers and operators in lower case, separated by one space."""
    return " ".join(_WORDS.findall(question.lower()))
