r"""The text that decontamination compares: wrappers, LaTeX spacing, case, punctuation and symbols are removed.

    "Please reason step by step ... Find $2\,x$." --clean--> "find $2 x$." --words--> ["find", "2", "x"]

A word is a run of letters or a run of digits, so that `2x`, `2 x` and `2\,x` are the same words. arXiv 2511.06221
removes punctuation and symbols and unifies case before it matches 10-grams.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Separates texts in one buffer.
SEPARATOR = "\x00"

# Sentences that data sets put around a question, below some words of each. A sentence is looked for only where these
# words are; otherwise its case, punctuation and spaces may differ.
WRAPPERS = {
    "by step": (
        r"Let's think step by step and output the final answer within \boxed{}.",
        r"Please reason step by step, and put your final answer within \boxed{}.",
        "Let's think step by step and output the final answer after",
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.",
        "Answer the following multiple choice question. The last line of your response should be of the following "
        "format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.",
    ),
    "own line": ('Remember to put your answer on its own line after "Answer:".',),
    "latex": (r"Present the answer in LaTeX format: \boxed{Your answer}",),
    "math problem": (
        "Solve the following math problem efficiently and clearly.",
        "Solve the following math problem.",
    ),
    "markdown": (
        "Please solve the programming task below using a self-contained code snippet in a markdown code block.",
    ),
    "python": (
        "Solve the following coding problem using the programming language python:",
        "Write Python code to solve the problem. Present the code in ```python Your code ``` at the end.",
        "You are an expert Python programmer. You will be given a question (problem specification) and will generate a "
        "correct Python program that matches the specification and passes all tests.",
    ),
}

_LETTERS = r"[^\W\d_]+"
# Ideographs and kana have no spaces between words: each character is a word.
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
# A character outside ASCII that is no letter or digit, and a digit of another script.
_SYMBOL = re.compile(r"[^\x00-\x7f](?<!\w)")
_DIGIT = re.compile(r"[^\x00-\x7f](?<=\d)")
_WORD = re.compile(rf"{_LETTERS}|\d+")
_TOKEN = re.compile(rf"{_LETTERS}|\d+|[-+*/^=<>]")
_SENTENCE_END = re.compile(r"(?<=[.?!:])\s+|\n+")
# Commands that change only the appearance; \dfrac and \tfrac are \frac.
_LATEX = re.compile(
    rb"\\(?:(?:qquad|quad|left|right|displaystyle|textstyle|thinspace|medspace|thickspace|enspace|limits|nolimits"
    rb"|mathrm|mathbf|textbf|textit|text|mbox|operatorname|begin|end|bigg?[lr]?)(?![a-z])|[dt](?=frac(?![a-z])))"
)


def _wrapper_pattern(wrapper: str) -> re.Pattern[bytes]:
    # Bytes from 128 on are letters outside ASCII.
    gap = r"[^\w\x00\x80-\xff]+"
    pattern = gap.join(_WORD.findall(wrapper.lower())) + r"[^\w\x00\x80-\xff\\$(]*"
    return re.compile(pattern.encode())


_WRAPPER_PATTERNS = {
    said.encode(): [_wrapper_pattern(wrapper) for wrapper in wrappers] for said, wrappers in WRAPPERS.items()
}


def clean(texts: Sequence[str]) -> list[str]:
    """Returns the texts in lower case, without wrappers and LaTeX spacing commands; punctuation is kept."""
    return clean_buffer(texts).decode().split(SEPARATOR)


def clean_buffer(texts: Sequence[str]) -> bytes:
    """Returns what `clean` does, as UTF-8 with SEPARATOR between the texts: bytes are searched fastest."""
    separator = SEPARATOR.encode()
    buffer = separator.join([text.encode() if text.isascii() else _unified(text).encode() for text in texts]).lower()
    if buffer.count(separator) >= max(len(texts), 1):  # a text contains it
        buffer = separator.join([_unified(text).encode() for text in texts])
    for said, patterns in _WRAPPER_PATTERNS.items():
        if said in buffer:
            for pattern in patterns:
                buffer = pattern.sub(b" ", buffer)
    if b"\\" in buffer:
        buffer = _LATEX.sub(b" ", buffer)
    return buffer


def words(text: str) -> list[str]:
    """Returns the words of one raw text."""
    return _WORD.findall(clean([text])[0])


def word_spans(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Returns one raw text as `clean` gives it, and the place (start, end) of each of its words there."""
    cleaned = clean([text])[0]
    return cleaned, [found.span() for found in _WORD.finditer(cleaned)]


def tokens(text: str) -> list[str]:
    """Returns the words and operators of one raw text: `12+3` and `12-3` differ."""
    return _TOKEN.findall(clean([text])[0])


def sentence_tokens(text: str) -> list[list[str]]:
    """Returns the tokens of each sentence of one raw text. A sentence ends at `. ? ! :` or at a line break."""
    sentences = (_TOKEN.findall(sentence) for sentence in _SENTENCE_END.split(clean([text])[0]))
    return [sentence for sentence in sentences if sentence]


def _unified(text: str) -> str:
    """Unicode in one form: compatibility characters unified, symbols and marks removed, ideographs apart.

    Its characters outside ASCII are letters.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace(SEPARATOR, " ")
    text = _SYMBOL.sub(" ", text.replace("\u2212", "-").replace("_", " "))
    if text.isascii():
        return text
    text = _DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
    return _IDEOGRAPH.sub(r" \g<0> ", text)
