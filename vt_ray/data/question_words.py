"""The words of a question, for a comparison that ignores case and punctuation."""

from __future__ import annotations

import re


def question_words(question: str) -> str:
    """Returns words, numbers and operators in lower case, separated by one space."""
    return " ".join(re.findall(r"[^\W_]+|[-+*/^=<>]", question.lower()))
