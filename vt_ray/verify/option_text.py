"""The text of an option in place of its letter. Pure, and linear in the text.

options ("cell wall", "mitochondria"):   "mitochondria"  -->  "B"        "The cell wall, or not"  -->  None
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=\S{2})")
_ONE_LETTER = re.compile(r"[(\[]?[A-Za-z][)\]]?\.?")
# What may follow the text of an option in a sentence. After a comma, another value may follow.
_END = re.compile(r"\s*(?:$|[.!?;](?:\s|$)|\(|\b(?:because|since|as|which|so)\b)")


def option_with_text(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the one option with this text; None without one, or if two options have the text.

    `text` and `options` are without markup. Capitals, spaces, an article and a full stop do not count. An option whose
    text is a letter is left out, because its text names another option.
    """
    wanted = _normal(text)
    found = [
        letter
        for letter, option in zip(_LETTERS, options, strict=False)
        if wanted and _normal(option) == wanted and not _ONE_LETTER.fullmatch(option.strip())
    ]
    return found[0] if len(found) == 1 else None


def option_after(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the option whose text begins `text` and ends a sentence there."""
    spaced = " ".join(text.split())
    for option in sorted(options, key=len, reverse=True):
        shown = _ARTICLE.sub("", " ".join(option.split()).rstrip("."))
        begin = re.match(rf"(?:(?:the|an|a)\s+)?{re.escape(shown)}", spaced, re.IGNORECASE) if shown else None
        if begin and _END.match(spaced[begin.end() :]):
            return option_with_text(option, options)
    return None


def _normal(text: str) -> str:
    return _ARTICLE.sub("", " ".join(text.casefold().split()).rstrip(". "))
