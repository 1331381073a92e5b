"""LaTeX answers as text: normalised spelling, and splitting outside brackets.

    "$\\dfrac12\\,$."  --normalise-->  "\\frac{1}{2}"

All functions are pure and take time linear in the text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vt_ray.verify.mathematics.unicode_to_latex import to_latex

# Commands of style, which do not change the value. _STYLES take no argument, _FRAMES keep their argument, _TEXTS turn
# their argument into words, and the last kind is invisible.
_STYLES = """displaystyle textstyle scriptstyle limits nolimits bf rm it tt sf sc bfseries itshape tiny small normalsize
large Large LARGE huge Huge strut mathstrut nonumber notag relax null noindent allowbreak centering"""
_FRAMES = "mathbf boldsymbol bm pmb mathnormal ensuremath boxed fbox framebox underline num"
_TEXTS = "textbf textit textrm textup textsf textnormal textmd texttt textsc textsl emph mbox hbox mathit mathsf mathtt"
_INVISIBLE = r"[vh]?phantom tag label"
_FUNCTIONS = "arc(?:sin|cos|tan) sinh cosh tanh sin cos tan cot sec csc log ln exp"
_GREEK = "alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi psi omega"


def _any_of(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


_LETTER = rf"(?:[A-Za-z]|\\{_any_of(_GREEK)}(?![A-Za-z]))"
_NUMERAL = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PARENTHESES = r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)"
_FRACTION = r"\\frac\{[^{}]*\}\{[^{}]*\}"

# A number in groups of three that fills a group, as in \frac{1}{20,000}; not the set \{100,200\}.
_GROUPED_IN_BRACES = re.compile(r"(?<!\\)\{\d{1,3}(?:,\d{3})+\}")
# A number whose groups are joined by thin spaces or {,}: no list is written in this way, even in \{ \}.
_TIGHT_GROUP = r"\s*(?:,\s*\\!|\\!\s*,|\{,\}|\\,)\s*"
_TIGHT_GROUPS = re.compile(rf"(?<![\d.,])\d{{1,3}}(?:{_TIGHT_GROUP}\d{{3}}(?!\d))+")
# The first part of "3 hours 20 minutes".
_IN_TEXT = r"\s*(?:\\(?:text|mathrm)\s*\{)?\s*"
_LARGER_UNIT = (
    rf"(?<=\d){_IN_TEXT}(weeks?|days?|hours?|hrs?|h|minutes?|mins?|feet|foot|ft|pounds?|lbs?)(?:,?\s+and|,)?\s*\}}?\s*"
    rf"(?=\d+{_IN_TEXT}(?:days?|hours?|hrs?|h|minutes?|mins?|seconds?|secs?|inch(?:es)?|ounces?|oz)(?![A-Za-z]))"
)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s+", " "),  # first: a long run of spaces makes the patterns below quadratic
        (r"^\$([^$]+)(?<!\\)\$(?=\s*(?:\\?%|[A-Za-z]{2}))(?!\s*(?:and|or|to|by)\b)", r"\1 "),  # $28$ percent
        (r"\\left\s*\.|\\right\s*\.(?!\d)", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
        (rf"\\{_any_of(_STYLES)}(?![A-Za-z])", " "),
        (rf"\\(?:text|page)?color(?:box)?\{{[A-Za-z]+\}}|\\{_any_of(_FRAMES)}(?=\s*\{{)", ""),
        (rf"\\{_any_of(_INVISIBLE)}\s*\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}", " "),
        (r"(?<=\S)\s*\\(?:checkmark|square|blacksquare|Box|qed)(?![A-Za-z])\s*$", ""),
        (r"\\(?:[dtc]|nice|s|flat)frac(?![A-Za-z])", r"\\frac"),
        (r"(?<!\\)\\!", ""),
        (r"\{,\}", ","),
        (r"(?<!\\)\\[,;: ]|~|\\(?:q?quad|enspace|thinspace|hfill|hspace\{[^{}]{0,20}\})(?![A-Za-z])", " "),
        (r"\\cr(?![A-Za-z])|\\\\\[\d*\.?\d*\s?(?:pt|em|ex|mm|cm)\]", r"\\\\"),
        (r"\.\.\.+", r"\\ldots "),
        (r"(?<=[\w)}])\s*\*\*\s*(?=[\w({-])", "^"),
        # 1e-8 and 3E+8 are numbers, 2e-1 is two e less one
        (r"(?<![\w.\\])(1|\d+\.\d+|\d+(?=E|e\d|e-0\d))[eE]([+-]?\d{1,4})(?![\w.])", r"\1\\times 10^{\2}"),
        (r"(?<![\d/.,^_{])(\d{1,6}) (\d{1,6})/(\d{1,6})(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"\\(?:leq|leqslant)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\neq(?![A-Za-z])|\\not\s*=|(?<![\d)])!=", r"\\ne "),  # but 5!=120
        (r"\\(?:not\s*<|nless(?![A-Za-z]))", r"\\ge "),
        (r"\\(?:not\s*>|ngtr(?![A-Za-z]))", r"\\le "),
        (r"\\(?:not\s*\\le|nleq(?:slant)?)(?![A-Za-z])", ">"),
        (r"\\(?:not\s*\\ge|ngeq(?:slant)?)(?![A-Za-z])", "<"),
        (r"\\(?:not\s*\\in|notin)(?![A-Za-z])", r"\\in \\mathbb{R}\\setminus "),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert)(?![A-Za-z])", "|"),
        (r"\\lbrack(?![A-Za-z])", "["),
        (r"\\rbrack(?![A-Za-z])", "]"),
        (r"\\bigcup(?![A-Za-z])|(?<=[)\]}])\s*U\s*(?=[(\[\\])", r"\\cup "),
        (r"(^|\\cup|\\in|=)\s*\](?=[^\[\],;\s]+\s*[,;])", r"\1("),  # ]a,b[ is (a,b)
        (r"(?<=[^\[\],;\s])\[\s*(?=$|\\cup|\\setminus)", ")"),
        (r"\+/-|\+-(?=\s*\d)", r"\\pm "),
        (rf"\\{_any_of(_TEXTS)}(?=\s*\{{)", r"\\text"),
        (rf"\\(?:operatorname\*?|mathrm|text)\s*\{{\s*({_any_of(_FUNCTIONS)})\s*\}}", r"\\\1 "),
        (r"\\lg(?![A-Za-z])", r"\\log_{10} "),
        (r"\\(?:text|mathrm)\s*\{(\s*(?::|to)\s*)\}(?=\s*\d)", r"\1"),  # 3\text{ : }2
        (r"(?<=\d)\s*(?:\\colon(?![A-Za-z])|(?<![A-Za-z\\])to(?![A-Za-z]))\s*(?=\d)", ":"),
        (r"\(?\s*\\(?:text|mathrm)\s*\{\s*\(?\s*mod(?:ulo)?(?![A-Za-z])\s*([^{}()]*)\)?\s*\}", r"\\bmod \1"),
        (r"(?<=[+-])\s*\\(?:text|mathrm)\s*\{\s*C\s*\}", "C"),
        (_LARGER_UNIT, r"\\text{ \1} and "),
        (r"\\frac\{\\(text|mathrm)\{([a-z]+)\}\}\{\\(?:text|mathrm)\{([a-z]+)\}\}", r"\\\1{\2/\3}"),
        (r"^\\operatorname\*?\s*(?=\{[A-Za-z]+\}$)", r"\\text"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"\\(?:mathbb\{R\}|mathbb R|Reals|R)(?![A-Za-z])", r"\\mathbb{R}"),
        (r"\\text\{\s*i\s*\}|\\mathrm\{\s*i\s*\}", "i"),
        (r"\\text\{\s*e\s*\}|\\mathrm\{\s*e\s*\}", "e"),
        (r"\\textdollar(?![A-Za-z])", r"\\$"),
        (
            r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|(?<=\d)\s*\^\s*(?:\{\s*o\s*\}|o(?![A-Za-z]))"
            r"|\\degrees?(?![A-Za-z])|(?<=\d)\s*\\deg(?![A-Za-z])|\s*\\text\{\s*degrees?\s*\}"
            r"|(?<=\d)\s+degrees?[ \\]*$",
            r"^\\circ ",
        ),
        (
            r"\s*\\text\{\s*(?:\\?%|per\s?cent(?:age)?|pct\.?)\s*\}|(?<=\d)\s+(?:per\s?cent(?:age)?|pct\.?)[ \\]*$",
            r"\\%",
        ),
        (r"(?<!\\)%", r"\\%"),
        (rf"(?<![\\A-Za-z])({_any_of(_FUNCTIONS)})(?=\s*[({{^_\\]|\s?\d|\s?[A-Za-z](?![A-Za-z]))", r"\\\1 "),
        (r"(?<![\\A-Za-z])sqrt(?![A-Za-z]{2})", r"\\sqrt "),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        # An exponent without braces is the whole number or the letter after it, with its sign.
        (rf"\^\s*(-?\s*(?:{_NUMERAL}|{_LETTER}))", r"^{\1}"),
        (rf"\^\s*{_PARENTHESES}(?!\s*\()", r"^{\1}"),
        (rf"_\s*(\d+|{_LETTER})", r"_{\1}"),
        (r"\\(frac|binom)\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\\1{\2}{\3}"),
        (rf"\\frac\s*([0-9A-Za-z](?=\s*[{{\\])|\\{_any_of(_GREEK)}(?![A-Za-z]))", r"\\frac{\1}"),
        (rf"(\\frac\s*\{{[^{{}}]*\}})\s*([0-9A-Za-z]|{_LETTER})", r"\1{\2}"),
        (rf"\^\s*({_FRACTION})", r"^{\1}"),
        # A root without braces covers the whole number: \sqrt16 means 4, although TeX typesets a root of 1.
        (rf"(\\sqrt(?:\[[^\[\]]*\])?)\s*(-?\s*{_NUMERAL}|{_LETTER}|{_FRACTION})", r"\1{\2}"),
        (rf"(\\sqrt(?:\[[^\[\]]*\])?)\s*{_PARENTHESES}", r"\1{\2}"),
        (r"(?<![\\A-Za-z])[Ii]nfinity(?![A-Za-z])|(?<![\\A-Za-z])oo(?![A-Za-z])", r"\\infty "),
        # The period of a decimal: 0.1\bar6, 0.\dot{1}4\dot{2}.
        (r"(?<=\d)(\.\d*)\\(?:bar|dot|overline)\s*(?:\{\s*(\d+)\s*\}|(\d))(?![\d\\])", r"\1\\overline{\2\3}"),
        (r"(?<=\d)(\.\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?(?![\d\\])", r"\1\\overline{\2\3\4}"),
        (r"(?:\{\})?[_^]\{(\d+)\}\s*C_\{?(\d+)\}?|(?<![A-Za-z\\])C_\{(\d{2,})\}\^\{(\d+)\}", r"\\binom{\1\3}{\2\4}"),
        (r"\{\}_\{([^{}]*)\}\s*C_\{([^{}]*)\}|(?<![A-Za-z\\])C\((\d*[a-z]),\s*(\w)\)", r"\\binom{\1\3}{\2\4}"),
        (r"(?<!\\)\\ ?$", ""),
        (r"(?<=\d) (?=\d{3}(?!\d))", ""),  # 1 000 000
        (r"(?<=\d) (?=\d)", r"\\space "),  # "5 6" is neither 56 nor 11
        (r"\s+", " "),
    )
)
_INFIX = re.compile(r"\\(over|choose)(?![A-Za-z])")
_TAKES_A_GROUP = re.compile(r"(?:[\]}^_]|\\[A-Za-z]+)\s*$")
_MAX_INFIX = 16
_WHOLE_TEXT = re.compile(r"\\(?:text|mathrm)\s*(?=\{)")
_FORMULA = re.compile(r"[\d\\=+^<>]|\b[A-Za-z] - [A-Za-z]\b")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ('"', '"'))
_MAX_WRAPPERS = 8
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # after a backslash, a brace is a character
_OPENERS = "([{"
_CLOSERS = ")]}"


@lru_cache(maxsize=1_024)  # the gold answer of a group is normalised for each of its completions
def normalise(latex: str) -> str:
    """Returns the normalised answer: without dollar signs, sizes, outer spaces and final full stop."""
    text = to_latex(latex)
    for _ in range(_MAX_WRAPPERS):
        text = _rewritten(_without_wrappers(text))
        inner = _text_with_formula(text)
        if inner is None and _unwrapped(text) == text:
            break
        text = text if inner is None else inner
    return text


def _without_wrappers(text: str) -> str:
    text = text.strip()
    for _ in range(_MAX_WRAPPERS):
        shorter = _unwrapped(_without_stop(text))
        if shorter == text:
            break
        text = shorter
    return text


def _without_stop(text: str) -> str:
    """Removes the punctuation at the end of a sentence. Three dots mean a continuation and are kept."""
    bare = text.rstrip(" .,;")
    return text if text.count(".", len(bare)) > 1 else bare


def _rewritten(text: str) -> str:
    text = _TIGHT_GROUPS.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _infix_as_prefix(text) if r"\over" in text or r"\choose" in text else text
    text = _GROUPED_IN_BRACES.sub(lambda match: match[0].replace(",", ""), text)
    return without_outer_braces(text.strip().rstrip(".,; ")).rstrip(".,; ")


def _infix_as_prefix(text: str) -> str:
    r"""Rewrites `{a \over b}` as `\frac{a}{b}` and `{a \choose b}` as `\binom{a}{b}`, within their group."""
    for _ in range(_MAX_INFIX):
        infix = _INFIX.search(text)
        if infix is None:
            break
        pairs = matching_braces(text)
        around = max((start for start, end in pairs.items() if start < infix.start() < end), default=-1)
        end = pairs.get(around, len(text))
        name = "frac" if infix[1] == "over" else "binom"
        prefix = rf"\{name}{{{text[around + 1 : infix.start()].strip()}}}{{{text[infix.end() : end].strip()}}}"
        before = text[: max(around, 0)]
        text = before + (f"{{{prefix}}}" if _TAKES_A_GROUP.search(before) else prefix) + text[end + 1 :]
    return text


def _text_with_formula(text: str) -> str | None:
    r"""Returns `1/2` for `\text{1/2}`; None if one \text does not enclose the whole text, or holds words."""
    command = _WHOLE_TEXT.match(text)
    if command is None or matching_braces(text).get(command.end()) != len(text) - 1:
        return None
    inner = text[command.end() + 1 : -1]
    return inner if _FORMULA.search(inner) else None


def _unwrapped(text: str) -> str:
    for opening, closing in _WRAPPERS:
        inner = text[len(opening) : len(text) - len(closing)]
        around = text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening + closing)
        unescaped = inner.replace(r"\$", "")
        if around and opening not in unescaped and closing not in unescaped:
            return inner.strip()
    return text


def without_spaces(text: str) -> str:
    """Removes spaces, except a space that ends a command: `\\pi r` is not `\\pir`."""
    return re.sub(r"(\\[A-Za-z]+) (?=[A-Za-z])|\s", lambda m: f"{m[1]} " if m[1] else "", text)


def matching_braces(text: str) -> dict[int, int]:
    """Maps the position of each `{` to the position of its `}`. `\\{` and `\\}` are characters, not groups."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs


def without_outer_braces(text: str) -> str:
    """Removes braces that enclose the whole text: `{{5}}` becomes `5`."""
    if not text.startswith("{"):
        return text
    pairs = matching_braces(text)
    start, end = 0, len(text)
    while start < end - 1 and pairs.get(start) == end - 1:
        start, end = start + 1, end - 1
    return text[start:end].strip()


def bracket_depths(text: str) -> list[int] | None:
    """Returns the bracket depth of each character (a bracket has the depth outside it); None if unbalanced.

    Any closing bracket closes any opening one, because of `[0, 1)`; `\\{` counts like `{`.
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


def split_outside_brackets(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """Splits `text` at the matches of `separator` outside all brackets. Returns the pieces and the matches."""
    levels = bracket_depths(text)
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


def inside_brackets(text: str, opening: str, closing: str) -> str | None:
    """Returns the text between `opening` and `closing` if the pair encloses the whole text, else None."""
    if not (text.startswith(opening) and text.endswith(closing)) or len(text) < len(opening) + len(closing):
        return None
    levels = bracket_depths(text)
    if levels is None:
        return None
    inner = range(len(opening), len(text) - len(closing))
    return text[inner.start : inner.stop].strip() if all(levels[i] >= 1 for i in inner) else None
