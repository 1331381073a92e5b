"""The Python program in a completion.

    text --final_text--> text after the thinking --fenced blocks--> source

Pure, and linear in the text.
"""

from __future__ import annotations

import io
import re
import textwrap
import tokenize
from collections.abc import Iterator

from vt_ray.verify.extraction.final_text import final_text

# No two parts can match the same characters, so that a long line does not take quadratic time. A byte order mark may
# precede a fence.
_FENCE = re.compile(r"^([ \t\ufeff]*)(`{3,})([^`\n]*)$", re.MULTILINE)
# The text that may follow an opening fence: a language, then attributes such as `title="a.py"` or `{.numberLines}`.
_INFO = re.compile(r"([\w+.#-]*)[ \t]*((\{.*|[\w.-]+=.*|:\S+|#.*)?)")
_PYTHON = re.compile(r"(python|pypy|py)[\d.]*", re.IGNORECASE)
_CLOSED_IN_LINE = re.compile(r"(?<!`)`{3,}+[ \t]*+(?:\n|\Z)")  # print(a)```
_MAX_CLOSING_INDENT = 3  # beyond the indent of the opening fence, as in Markdown; a deeper fence is part of the program
_TRIPLE_QUOTES = ('"""', "'''")
_MAX_TOKENIZED = 8  # blocks of one text that are tokenized, to bound the time


def extract_program(text: str) -> str | None:
    """Returns the last block with a Python tag, else the last block without a tag, else None.

    Empty blocks do not count. A block without a tag after the program is usually a sample output, so a tag takes
    precedence over the order. A fence with text after it closes a block unless the text is a language tag. A last block
    without a closing fence extends to the end of the text, because a stop token may have removed the fence.
    """
    tagged = untagged = None
    for info, block in _blocks(final_text(text) or ""):
        if block.strip() and _PYTHON.fullmatch(info):
            tagged = block
        elif block.strip() and not info:
            untagged = block
    program = tagged if tagged is not None else untagged
    return textwrap.dedent(program).removeprefix("\ufeff") if program is not None else None


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yields (language, content) of each fenced block. Linear in the text, except for `_MAX_TOKENIZED` blocks."""
    opening: re.Match[str] | None = None
    tokenized = 0
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence if _language(fence) is not None else None
            continue
        if _is_inside(fence, opening):
            continue
        block = text[opening.end() + 1 : fence.start()]
        if tokenized < _MAX_TOKENIZED and any(block.count(quotes) % 2 for quotes in _TRIPLE_QUOTES):
            tokenized += 1
            if _ends_inside_a_string(block):
                continue
        yield _language(opening) or "", block
        opening = fence if _language(fence) else None
    if opening is not None:
        yield _language(opening) or "", _CLOSED_IN_LINE.split(text[opening.end() + 1 :], maxsplit=1)[0]


def _language(fence: re.Match[str]) -> str | None:
    """Returns the language of an opening fence, "" without a tag; None if the text after the fence is not a tag."""
    info = _INFO.fullmatch(fence[3].strip())
    return info[1] if info else None


def _is_inside(fence: re.Match[str], opening: re.Match[str]) -> bool:
    """Whether the fence is a line inside the open block: it is shorter than the opening fence, or indented further."""
    indent, least = (len(f[1].replace("\ufeff", "").expandtabs()) for f in (fence, opening))
    return len(fence[2]) < len(opening[2]) or indent > least + _MAX_CLOSING_INDENT


def _ends_inside_a_string(block: str) -> bool:
    """Whether the Python source `block` ends inside a string in triple quotes, such as a docstring with Markdown."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO(textwrap.dedent(block)).readline):
            pass
    except tokenize.TokenError as error:
        return "string" in str(error)
    except SyntaxError:  # an inconsistent indentation
        return False
    return False
