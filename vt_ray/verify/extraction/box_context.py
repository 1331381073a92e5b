r"""The value of a box together with the text around it. Pure; reads `REACH` characters on each side.

    "$x = -\boxed{5}\pi$"  --value_in_context-->  "-5\pi"          "$\boxed{5}$ million"  -->  "5\text{ million}"

A sign, a factor, a function, a unit, a percent sign or a base outside the box is part of the value. Text beyond an
equals sign, an arrow or a comma is not. If LaTeX is cut in an unusual place, the result is unreadable and therefore a
wrong answer; it is never the bare number of the box.
"""

from __future__ import annotations

import re

from vt_ray.verify.extraction.negation import taken_back
from vt_ray.verify.mathematics.units import split_unit

REACH = 200
PARAGRAPH = 4_000  # characters before a value in which the beginning of its formula is searched

# The usual text around a box, which does not change its value: "the answer is $x = " and "$." or the end of the line.
_NOTHING_BEFORE = re.compile(
    r"(?:^|(?<!\d):|(?<![<>!~])(?<!\\not)(?<!\\not )=|(?<!\\)\$|\\\(|\\\[|\*\*|(?<![\\A-Za-z])[A-Za-z]{2,}) ?$"
)
_NOTHING_BEHIND = re.compile(r"(?:\$|\\\)|\\\])?\.?(?:\$|\*\*)?\s*$")

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_REWRITES = (
    (re.compile(r"\\(?:begin|end|tag|label|hspace|vspace|phantom)\s*\{[^{}]*\}"), ","),
    (re.compile(r"</?[A-Za-z]+>"), ","),
    (re.compile(r"\\(?:text)?color\s*\{[^{}]*\}"), ""),
    (
        re.compile(
            r"\\(?:displaystyle|textstyle|limits|boldmath|bf|rm|it|[hH]uge|LARGE|[lL]arge|left|right|[bB]igg?[lrm]?)(?![A-Za-z])"
        ),
        "",
    ),
    (re.compile(r"\\not\s*=|(?<![\w)}])!="), r"\\ne "),  # but 5!=120
    (re.compile(r"(?<![A-Za-z^_}])\{\s*([A-Za-z]{2,})\s*\}"), r" \1"),
    (re.compile(r"<="), r"\\le "),
    (re.compile(r">="), r"\\ge "),
    (re.compile(r"\\[,;:! ]|~"), " "),
)
_CUTTING_NAMES = (
    "quad|qquad|square|blacksquare|Box|qed|checkmark|therefore|because|implies|iff|Rightarrow|Longrightarrow|rightarrow"
    "|longrightarrow|leadsto|to|Leftrightarrow|leftarrow|Leftarrow|hfill|in|text[a-z]*|mbox|mathrm|item|hline|par|newline"
    "|approx|simeq|sim|cong|equiv|AA|colon|lor|vee|land|wedge|operatorname"
)
_CUT = rf"[=;&]|\\\\|\\(?:{_CUTTING_NAMES})(?![A-Za-z])|,(?!\d{{3}}(?!\d))|\.(?!\d|\\overline|(?<=\d\.)$)"
_COLON = r"|:(?!\s*\d)(?!(?<=\d:)\s*$)"  # but not the colon of a ratio
_PROSE = r"|\n|(?<!\\)\$|[!?#|\"'`—–]|\*\*|(?<![\\A-Za-z])[A-Za-z]{2,}|[\u3001\u3002\u3040-\u9fff\uff0c\uff1a]"
# "5 m" and "5 {m} / {s}" in a formula: letters after a space are units; without the space they are factors.
_LETTER_UNIT = re.compile(r"(?:\s+|\s*\{\s*)[mgsVJKNCAWLh](?![A-Za-z])\s*\}?(?=\s*(?:$|[,.;/}$]|\^\{?-?\d|\\))")
_MODULUS = re.compile(r"\\[pb]?mod(?![A-Za-z])|\(\s*mod\b|\\text\s*\{\s*\(?mod\b")
_UNIT = r"|\\mu\s*\\(?:math|text)|(?<=[\s{])[A-Za-z]{3,}|(?<=[\s{])(?:eV|Hz|nm|cm|mm|km|kg)\b"
_CUT_IN_FORMULA, _CUT_IN_PROSE = re.compile(_CUT + _UNIT + _COLON), re.compile(_CUT + _UNIT + _PROSE + "|:")
_WRAPPERS = re.compile(r"\\(?:text[a-z]*|math[a-z]+|mbox|hbox|bm|boldsymbol|underline|emph)\s*\{([^{}]*)$")
# A tuple, an interval or a set with the box as its last or first member: "(-\infty, \boxed{5})", "[\boxed{5}, 9]".
_OPENING, _CLOSING = r"(?:(?<![A-Za-z])[(\[]|\\\{)", r"(?:[)\]]|\\\})"
_MEMBERS = r"(?:(?!\\f?box)[^()\[\]$])*"
_ENCLOSING = (
    (re.compile(rf"{_OPENING}{_MEMBERS},\s*$"), re.compile(rf"\s*{_CLOSING}")),
    (re.compile(rf"{_OPENING}\s*$"), re.compile(rf"\s*,{_MEMBERS}{_CLOSING}")),
)
_BULLET = re.compile(r"(?:^|\n)\s*[-−+*•>]\s+$|[\w:.)*]\s+[-−]\s+$")
_BINDS_BACK = re.compile(r"(?:[-+−/^_<>$({\[|]|\*|\\[A-Za-z]+|\\\$)\s*$")
_BINDS_ON = re.compile(r"\s*(?:[-+−/<>][\s$]*[\w\\({]|\^|_[\w{]|\\[A-Za-z%]|%|\*\s*[\d\\(])|[\w({!.,]")
_ATOM = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[A-Za-z]|\\d?frac\{[^{}]*\}\{[^{}]*\}|\\sqrt\{[^{}]*\}|\\pi")

_CHANGING_NAMES = """hundred thousand million billion trillion quadrillion quintillion dozen score lakh crore percent
percentage factorial squared cubed doubled tripled halved quadrupled half halve quarter mod modulo choose fold
th third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth fifteenth twentieth hundredth thousandth"""
_CHANGING = frozenset(word + plural for word in _CHANGING_NAMES.split() for plural in ("", "s"))
_ALTERNATIVE = re.compile(
    r"[\s,(]*(?:(?:or|else|but (?:also|not)|except|and (?:also|not)|(?:less|more|fewer|greater|larger|smaller) than"
    r"|plus|minus|to)[\s$\\(]+(?:[\d-]|\\?[A-Za-z]\b|\\[A-Za-z]|zero|one|two|three|four|five|six|seven|eight|nine|ten\b)"
    r"|or (?:more|less|fewer|greater|higher|lower|larger|smaller|so|else|maybe|perhaps|possibly|even|any|none)\b"
    r"|(?:else|if|unless|otherwise|provided|only (?:if|when)|plus or minus|out of|below zero|point [$\d])\b"
    r"|(?:but|though|although|while|and)[\s$\\(]+-?[\d.]+[\s$\\)]+"
    r"(?:is|are|(?:w|c)ould be|may be|might be)(?: also)? (?:possible|correct|right|valid|allowed|too\b(?! )|as well)"
    r"|to the (?:power|\w+th)\b|but (?:it )?(?:might|could|may)\b|(?:possibly|perhaps|maybe|alternatively)[\s,$]+\d)"
    r"|[,;][\s$\\(]*-?\d+(?:\.\d+)?\s*(?:$|[$,;)\]}.\\])",
    re.IGNORECASE,
)
_NEXT_VALUE = re.compile(
    r"[\s,(]*(?:(?:and|to|through|over|by|vs\.?|versus|rather|modulo|mod|choose|times|x)\s+|(?:\\to\b|[/+±×·*^–−&|]|-{1,3}|\.{2,})\s*)(?:[$\d(]|\\[(\[A-Za-z])"
)
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,} [A-Za-z]{2,}")  # words outside of \text: no formula
_END_OF_FORMULA = re.compile(r"(?:\s*(?:\$\$?|\\\)|\\\]))?[*_]*")
_ATTACHED = re.compile(
    r"(?!(?:is|as|so|and|or|in|for|the|we|by|if|to|at)\b)(?:[A-Za-z]{1,3}|[\^_]\{?\w+\}?)(?![A-Za-z])"
)
_DIGITS_GO_ON = re.compile(r"\.\d+|,\d{3}(?!\d)")
_BASE = re.compile(r"\s*\(?(?:in )?base[\s$\\(]*(\d{1,2})")
_PERCENT = re.compile(r"[^\S\n]*\\?%")
_WORDS = re.compile(r"[^\S\n]*\(?([A-Za-z]+(?:(?: | ?/ ?)[A-Za-z]+){0,3})(\^\{?\d\}?)?")
_COMPOUND = re.compile(r"\s?[\^/]")
_TEXT = re.compile(r"\\(?:text[a-z]*|mathrm|mbox|operatorname)\s*\{([^{}]*)\}")
_CHANGED_BEFORE = re.compile(
    r"(?:\b(?:twice|double|triple|half(?: of)?|times|plus|between|root of|square of|cube of|reciprocal of|negative of)"
    r"|(?:other|rather) than|apart from|(?:all|every|any)\w*(?: \w+)? but"
    r"|(?<!no )(?<!not )\b(?:more|less|fewer|greater|larger|smaller) than)[\s$*(]*$",
    re.IGNORECASE,
)
_NEGATED_BEFORE = re.compile(r"\b(?:minus|negative)[\s$*(]*$|(?:^|[\s(=:])[-−]\$\$?\s*$", re.IGNORECASE)


def value_in_context(before: str, content: str, behind: str) -> str | None:
    """Returns `content` with the parts of the text around its box that belong to it; None if they deny the value."""
    behind = behind[:REACH]
    words = _TEXT.sub(r" \1 ", before[-REACH:])
    if _CHANGED_BEFORE.search(words):
        return None
    if _NEGATED_BEFORE.search(words):
        content = f"-{_grouped(content)}"
    if _NOTHING_BEFORE.search(before[-REACH:]) and _NOTHING_BEHIND.match(behind):
        return content
    left, right, rest = _formula(before[-PARAGRAPH:], behind)
    left, right, unread = _own_part(left[-REACH:], right, in_prose=rest is None)
    changed = words_behind(unread if rest is None or unread.strip() else rest)
    if changed is None:
        return None
    return _put_together(left, content, right + changed)


def words_behind(text: str) -> str | None:
    r"""Returns what the words after a value add to it, as LaTeX: `\%`, `\text{ million}`, a unit, or "".

    Returns None if the words offer another value, state a condition or deny the value: then there is no answer.
    """
    text = _TEXT.sub(r" \1 ", text[: 2 * REACH])
    text = re.sub(r"[^\S\n]+", " ", text)
    text = text[_END_OF_FORMULA.match(text).end() :]  # type: ignore[union-attr]  # it matches the empty text too
    if (attached := _ATTACHED.match(text) or _DIGITS_GO_ON.match(text)) is not None:
        return attached[0]
    if (base := _BASE.match(text)) is not None:
        return f"_{{{base[1]}}}"
    if _PERCENT.match(text):
        return r"\%"
    if taken_back(text) or _NEXT_VALUE.match(text) or _ALTERNATIVE.match(text):
        return None
    words = _WORDS.match(text)
    if words is None or _COMPOUND.match(text, words.end()):  # the first unit of "cm m^{-2}" alone would be another unit
        return ""
    return _change(words[1].split(), words[2] or "")


def _change(words: list[str], power: str) -> str:
    r"""Returns the first word if it changes a value, or the longest unit at the beginning, as `\text{ million}`."""
    if words[0].lower() in _CHANGING:
        return rf"\text{{ {words[0]}}}"
    if words[0] == "in":  # the preposition, not inches
        return ""
    for count in range(len(words), 0, -1):
        unit = " ".join(words[:count])
        if split_unit(rf"5\text{{ {unit}}}") is not None:
            return rf"\text{{ {unit}}}" + (power if count == len(words) else "")
    return ""


def _formula(before: str, behind: str) -> tuple[str, str, str | None]:
    """Returns the formula before and after the box, and the text after the formula. Without a formula: the paragraph
    before the box, the text after it, and None."""
    paragraph = before.rpartition("\n\n")[2]
    for opening, closing in ((r"\(", r"\)"), (r"\[", r"\]")):
        start = paragraph.rfind(opening)
        if start > paragraph.rfind(closing) and closing in behind and paragraph[start - 1 : start] != "\\":
            inside, _, rest = behind.partition(closing)
            return paragraph[start + 2 :], inside, rest
    dollars = [match.end() for match in re.finditer(r"(?<!\\)\$\$?", paragraph)]
    closed = re.search(r"(?<!\\)\$\$?", behind)
    if len(dollars) % 2 == 1 and closed is not None and not _SENTENCE.search(_TEXT.sub("", paragraph[dollars[-1] :])):
        return paragraph[dollars[-1] :], behind[: closed.start()], behind[closed.end() :]
    return paragraph, behind, None


def _own_part(left: str, right: str, in_prose: bool) -> tuple[str, str, str]:
    """Returns the part of the value before the box, the part after it, and the remaining text after that."""
    for opening, closing in () if in_prose else _ENCLOSING:
        if (opened := opening.search(left)) and (closed := closing.match(right)):
            return opened[0], closed[0], right[closed.end() :]
    names_remainder = "\\equiv" in left  # "n \equiv \boxed{3} \pmod 7"
    left = _TEXT.sub(",", _BOX.sub("", left))
    if in_prose and _BULLET.search(left):
        left = ""
    for pattern, replacement in _REWRITES:
        left, right = pattern.sub(replacement, left), pattern.sub(replacement, right)
    while (wrapper := _WRAPPERS.search(left)) is not None:
        if wrapper[1].strip() or not right.lstrip().startswith("}"):  # \text{The answer is \boxed{5}}
            left = wrapper[1]
        else:  # -\mathbf{\boxed{5}}: the text before the wrapper counts
            left, right = left[: wrapper.start()], right.lstrip()[1:]
    cut = _CUT_IN_PROSE if in_prose else _CUT_IN_FORMULA
    left = left[max((match.end() for match in cut.finditer(left)), default=0) :]
    if in_prose and not _BINDS_BACK.search(left):
        left = left[len(left) - len(re.split(r"\s", left)[-1]) :]
    own = "" if _LETTER_UNIT.match(right) else right if not in_prose or "{" in left or _BINDS_ON.match(right) else ""
    if names_remainder:
        own = _MODULUS.split(own, maxsplit=1)[0]
    end = _end(own, left.count("{") - left.count("}"), cut)
    end = len(own[:end].rstrip())
    return _without_brackets(left, own[:end]) + (right[end:],)


def _end(text: str, opened: int, cut: re.Pattern[str]) -> int:
    """Returns where the value ends in `text`: at a cut outside braces, or at a brace that closes more than `opened`."""
    cuts = {match.start() for match in cut.finditer(text)}
    depth = opened
    for position, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth < 0 or (depth == 0 and position in cuts):
            return position
    return len(text)


def _without_brackets(left: str, right: str) -> tuple[str, str]:
    """Returns both parts without brackets that hold only the value, and without operators that have no operand."""
    left, right = left.strip().lstrip("+ "), right.rstrip(" \n.-+/*([{")
    left = "" if not left.strip(r"({[\ *_$") and left != r"\$" else left
    return left, "" if not left and not right.strip(r")}]\ *_$") else right


def _put_together(left: str, content: str, right: str) -> str:
    if not left and not right:
        return content
    digits_meet = left[-1:].isdigit() or left.endswith(".")
    return f"{left}{f'({content})' if digits_meet else _grouped(content)}{right}"


def _grouped(content: str) -> str:
    return content if _ATOM.fullmatch(content) else f"({content})"
