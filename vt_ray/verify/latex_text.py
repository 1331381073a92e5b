"""LaTeX answers as text: one spelling for what is written many ways, and splitting outside of brackets.

    "$\\dfrac12\\,$."  --normalise-->  "\\frac{1}{2}"

Everything here is pure and takes time linear in the text (times a small constant number of passes).
"""

from __future__ import annotations

import re
from functools import lru_cache

_UNICODE = {
    "−": "-", "–": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ",
    "°": r"^\circ ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "√": r"\sqrt ", "±": r"\pm ", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}",
    "²": "^{2}", "³": "^{3}", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "\u00a0": " ",
    "，": ",", "：": ":", "；": ";", "。": ".", "’": "'", "′": "'",
}  # fmt: skip
# The full-width forms of ASCII (digits, letters, signs). Not NFKC, which would turn x² into x2.
_UNICODE |= {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)}
_TRANSLATION = str.maketrans(_UNICODE)

# A number in groups of three as the whole of a group, as in \frac{1}{20,000}; not the set \{100,200\}.
_GROUPED_IN_BRACES = re.compile(r"(?<!\\)\{\d{1,3}(?:,\d{3})+\}")
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s+", " "),  # first: a long run of spaces makes the patterns below quadratic
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\.?", ""),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits)(?![A-Za-z])", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\!", ""),
        (r"\{,\}|(?<=\d)\\,(?=\d{3}(?!\d))", ","),
        (r"(?<!\\)\\[,;: ]|~|\\(?:q?quad|enspace|thinspace|hfill|hspace\{[^{}]{0,20}\})(?![A-Za-z])", " "),
        (r"\\\\\[\d*\.?\d*\s?(?:pt|em|ex|mm|cm)\]", r"\\\\"),
        (r"\\(?:(?:text)?color)\{[A-Za-z]+\}|\\underline(?=\s*\{)", ""),
        (r"(?:\{|^)([^{}\\]*)\\choose(?![A-Za-z])([^{}\\]*)(?:\}|$)", r"\\binom{\1}{\2}"),
        (r"(?<=[\w)}])\s*\*\*\s*(?=[\w({-])", "^"),
        # 1e-8 and 3E+8 are numbers, 2e-1 is two e less one
        (r"(?<![\w.\\])(1|\d+\.\d+|\d+(?=E|e\d))[eE]([+-]?\d{1,4})(?![\w.])", r"\1\\times 10^{\2}"),
        (r"(?<![\d/.,^_{])(\d{1,6}) (\d{1,6})/(\d{1,6})(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"\\(?:leq|leqslant)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\neq(?![A-Za-z])|(?<![\d)])!=", r"\\ne "),  # but 5!=120
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert)(?![A-Za-z])", "|"),
        (r"\\(?:lbrack)(?![A-Za-z])", "["),
        (r"\\(?:rbrack)(?![A-Za-z])", "]"),
        (r"\\(?:textbf|textit|textrm|textup|textsf|mbox|hbox|mathit|mathsf)(?=\s*\{)", r"\\text"),
        (r"\\(?:mathbf|boldsymbol|bm|mathstrut)(?=\s*\{)", ""),
        (r"\\(?:varnothing)(?![A-Za-z])", r"\\emptyset"),
        (r"\\(?:mathbb\{R\}|mathbb R|Reals|R)(?![A-Za-z])", r"\\mathbb{R}"),
        (r"\\text\{\s*i\s*\}|\\mathrm\{\s*i\s*\}", "i"),
        (r"\\text\{\s*e\s*\}|\\mathrm\{\s*e\s*\}", "e"),
        (
            r"\^\{\s*\\circ\s*\}|\\degrees?(?![A-Za-z])|\s*\\text\{\s*degrees?\s*\}|(?<=\d)\s+degrees? ?$",
            r"^\\circ ",
        ),
        (r"\s*\\text\{\s*(?:\\?%|per\s?cent|pct\.?)\s*\}|(?<=\d)\s+per\s?cent ?$", r"\\%"),
        (r"(?<!\\)%", r"\\%"),
        (r"\^\s*(\d+|[A-Za-z])", r"^{\1}"),  # x^10 is meant as x^{10}
        (r"_\s*([0-9A-Za-z])", r"_{\1}"),
        (r"\\frac\s*(\\(?:pi|theta|alpha|beta|lambda|phi|omega)(?![A-Za-z]))", r"\\frac{\1}"),
        (r"\\(frac|binom)\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\\1{\2}{\3}"),
        (r"\\frac\s*([0-9A-Za-z])\s*(?=[{\\])", r"\\frac{\1}"),
        (r"(\\frac\s*\{[^{}]*\})\s*([0-9A-Za-z]|\\(?:pi|theta|alpha|beta|lambda|phi|omega)(?![A-Za-z]))", r"\1{\2}"),
        (r"\\sqrt\s*([0-9A-Za-z])", r"\\sqrt{\1}"),
        (r"(?<![\\A-Za-z])infinity(?![A-Za-z])|(?<![\\A-Za-z])oo(?![A-Za-z])", r"\\infty "),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<!\\)\\ ?$", ""),
        (r"(?<=\d) (?=\d{3}(?!\d))", ""),  # 1 000 000
        (r"(?<=\d) (?=\d)", r"\\space "),  # "5 6" is neither 56 nor 11
        (r"\s+", " "),
    )
)
_ELLIPSIS = re.compile(r"\.{3,}|…")  # 3.14... goes on, and is not 3.14
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_MAX_WRAPPERS = 8
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # with the backslash in front of it, a brace is a character
_OPENERS = "([{"
_CLOSERS = ")]}"


@lru_cache(maxsize=1_024)  # the gold answer of a group is asked for with each of its completions
def normalise(latex: str) -> str:
    """One spelling of an answer: no dollars, sizes, spaces around it or full stop behind it."""
    text = _ELLIPSIS.sub(r"\\ldots ", latex.translate(_TRANSLATION)).strip()
    for _ in range(_MAX_WRAPPERS):
        shorter = _unwrapped(text.rstrip(" .,;"))
        if shorter == text:
            break
        text = shorter
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _GROUPED_IN_BRACES.sub(lambda match: match[0].replace(",", ""), text)
    return peel(text.strip().rstrip(".,; ").strip())


def _unwrapped(text: str) -> str:
    for opening, closing in _WRAPPERS:
        inner = text[len(opening) : len(text) - len(closing)]
        around = text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening + closing)
        unescaped = inner.replace(r"\$", "")
        if around and opening not in unescaped and closing not in unescaped:
            return inner.strip()
    return text


def squash(text: str) -> str:
    """The text without spaces, but for the one that ends a command: `\\pi r` is not `\\pir`."""
    return re.sub(r"(\\[A-Za-z]+) (?=[A-Za-z])|\s", lambda m: f"{m[1]} " if m[1] else "", text)


def matching_braces(text: str) -> dict[int, int]:
    """Position of each `{` to that of its `}`, in one pass. `\\{` and `\\}` are characters, not groups."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs


def peel(text: str) -> str:
    """`{{5}}` to `5`: the braces that enclose the whole text are no part of it."""
    if not text.startswith("{"):
        return text
    pairs = matching_braces(text)
    start, end = 0, len(text)
    while start < end - 1 and pairs.get(start) == end - 1:
        start, end = start + 1, end - 1
    return text[start:end].strip()


def depths(text: str) -> list[int] | None:
    """How many brackets each character is in, a bracket not in itself; None if they do not balance.

    Any bracket closes any other, for the sake of `[0, 1)`; `\\{` counts like `{`.
    """
    levels: list[int] = []
    depth = 0
    for char in text:
        depth -= char in _CLOSERS
        levels.append(depth)
        depth += char in _OPENERS
        if depth < 0:
            return None
    return levels if depth == 0 else None


def split_top(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The pieces of `text` between the matches of `separator` outside of all brackets, and those matches."""
    levels = depths(text)
    if levels is None:
        return [text], []
    pieces: list[str] = []
    found: list[str] = []
    start = 0
    for match in separator.finditer(text):
        if levels[match.start()] == 0:
            pieces.append(text[start : match.start()].strip())
            found.append(match[0].strip())
            start = match.end()
    return [*pieces, text[start:].strip()], found


def enclosed(text: str, opening: str, closing: str) -> str | None:
    """What stands between `opening` and `closing` where the pair encloses the whole text, else None."""
    if not (text.startswith(opening) and text.endswith(closing)) or len(text) < len(opening) + len(closing):
        return None
    levels = depths(text)
    if levels is None:
        return None
    inner = range(len(opening), len(text) - len(closing))
    return text[inner.start : inner.stop].strip() if all(levels[i] >= 1 for i in inner) else None
