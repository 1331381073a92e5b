"""The text of an option in place of its letter. Pure, and linear in the text.

options ("cell wall", "mitochondria"):   "mitochondria"  -->  "B"        "The cell wall, or not"  -->  None
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ARTICLE = re.compile(r"^(?:the|an|a)\s+(?=\S{2})", re.IGNORECASE)
_ONE_LETTER = re.compile(r"[(\[]?[A-Za-z][)\]]?\.?")
# What may follow the text of an option in a sentence. After a comma, another value may follow.
_END = re.compile(r"\s*(?:$|[.!?;](?:\s|$)|\(|\b(?:because|since|as|which|so)\b)")


def option_with_text(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the one option with this text; None without one, or if two options have the text.

    `text` and `options` are without markup. Spaces and a full stop do not count. An article and capitals count only if
    two options differ by them alone. An option whose text is a letter is left out: its text names another option.
    """
    for normal in (_normal, _without_article, _without_capitals):
        wanted = normal(text)
        found = [
            letter
            for letter, option in zip(_LETTERS, options, strict=False)
            if wanted and normal(option) == wanted and not _ONE_LETTER.fullmatch(option.strip())
        ]
        if len(found) == 1:
            return found[0]
    return None


def option_after(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the option whose text, or letter and text, begins `text` and ends a sentence there."""
    spaced = " ".join(text.split())
    for letter, option in zip(_LETTERS, options, strict=False):
        if _begins(rf"[(\[]?{letter}[)\].:]+\s*", option, spaced):  # the text may name other letters: "(D) A and B"
            return letter
    for option in sorted(options, key=len, reverse=True):
        if _begins(r"(?:(?:the|an|a)\s+)?", _ARTICLE.sub("", option), spaced):
            return option_with_text(option, options)
    return None


def _begins(before: str, option: str, text: str) -> bool:
    shown = " ".join(option.split()).rstrip(".")
    begin = re.match(before + re.escape(shown), text, re.IGNORECASE) if shown else None
    return begin is not None and _END.match(text[begin.end() :]) is not None


def _normal(text: str) -> str:
    return " ".join(text.split()).rstrip(". ")


def _without_article(text: str) -> str:
    return _ARTICLE.sub("", _normal(text))


def _without_capitals(text: str) -> str:
    return _without_article(text).casefold()
