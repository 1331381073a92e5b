r"""Reads the form of an answer from its text: a number with a unit, a set, a pair, an inequality, a word ...

    latex --normalise--> text --first reader that recognises it--> Form; its parts are read in the same way

Pure. The time is linear in the text for each level of brackets, and there are at most `_MAX_DEPTH` levels.
"""

from __future__ import annotations

import re

from vt_ray.verify.mathematics.answer_words import (
    ALL_REALS,
    NO_SOLUTION,
    REALS,
    case_is_meaningless,
    plain_words,
    spoken_number,
)
from vt_ray.verify.mathematics.forms import (
    Based,
    Expression,
    Form,
    Quantity,
    Relation,
    Residue,
    Sequence,
    Union,
    Words,
    is_name,
)
from vt_ray.verify.mathematics.inequalities import joined_inequalities
from vt_ray.verify.mathematics.latex_text import inside_brackets, normalise, split_outside_brackets, without_spaces
from vt_ray.verify.mathematics.matrices import read_table
from vt_ray.verify.mathematics.set_difference import without, without_points
from vt_ray.verify.mathematics.units import split_unit

_MAX_DEPTH = 12

_UNION = re.compile(r"\\cup(?![A-Za-z])")
_COMMA = re.compile(
    r"[,;]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\text\{\s*[,;]?\s*(?:and|or)?\s*\}|\\(?:lor|vee|land|wedge)(?![A-Za-z])|\\&"
)
_AND = re.compile(r"and|\\land|\\wedge|&")
_OR = re.compile(r"or|\\vee")
_CUT_OFF = re.compile(r"^(?:and|or)(?![A-Za-z])|(?<![A-Za-z])(?:and|or)$")  # "4 or" names no second value
_ONE_TEXT = re.compile(r"\\(?:text|mathrm)\s*\{([^{}]*)\}")
# The words between two values: a noun of the first one, and a conjunction.
_NOUN_AND = re.compile(r"(\\(?:text|mathrm)\{[^{}]*[A-Za-z])(?:,\s*|\s)(and|or)\s*\}(?=\s*[\d\\-])")
# One grouped number, with a sign, a name, a currency or a unit around it, outside the brackets of a set or a tuple.
_THOUSANDS = re.compile(r"([^\d,(\[{]*)(\d{1,3}(?:,\d{3})+)(?!\d)([^,]*)")
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv)(?![A-Za-z])|=|<|>")
_MODULUS = re.compile(r"^(.*?)\(?\s*\\(?:pmod|bmod|mod|pod)(?![A-Za-z])(.*)$|^(.*?)\(\s*mod\s+(.*)\)$", re.DOTALL)
_BASED = re.compile(
    r"(-?)(\()?([0-9A-Z]+?(?:\.[0-9A-Z]+?)?)(?(2)\))(?:_\{?\(?(?:base)?|\(?(?:in)?base)([a-z]+|\d{1,2})\)?\}?",
    re.IGNORECASE,
)
_PREFIXED = re.compile(r"0([bxo])([0-9A-F]+)", re.IGNORECASE)
_PREFIXES = {"b": 2, "o": 8, "x": 16}
# Points have an order: the angle ABC is not BAC, although the products of A, B and C are equal.
_GEOMETRIC = re.compile(
    r"m?\\(?:angle|triangle|overline|overrightarrow|overleftrightarrow|widehat|odot)\s*\{?([A-Z]['_\d]*){2,}\}?"
)
_TEXT_WRAP = re.compile(r"\\(?:text|mathrm)\{([^{}]*)\}")
_CLOCK = re.compile(r"(\d+(?:\s*:\s*\d+)+)(?:\s*(?:\\text\{\s*)?([ap])\.?\s?m\.?\}?)?", re.IGNORECASE)
_ANSWER = r"(?:(?:the|my|final|correct) )*ans(?:wer)?\.?(?: is)?"
_ANNOUNCED = re.compile(rf"\\text\{{\s*{_ANSWER}\s*[:=]?\s*\}}[:=]?\s*(?=\S)|^{_ANSWER}\s*[:=]\s*(?=\S)", re.IGNORECASE)
_LEADING_SIGN = re.compile(r"^\s*(?:=|\\(?:approx|Rightarrow|Longrightarrow|implies|therefore)(?![A-Za-z]))\s*(?=\S)")
_REASON = re.compile(
    r"\s*\(?\s*\\text\{\s*\(?(?:since|because)(?![A-Za-z])(?:(?!or)[^,;])*$"
    r"|(?<=\S)\s*,?\s*(?:\\text\{\s*,?\s*for (?:all|any|every)(?: real)?\s*\}|\\forall)\s*[A-Za-z]"
    r"(?:\s*\\in\s*\\mathbb\{[A-Z]\})?$"
)
_NUMBER_SET = re.compile(r"\\mathbb\{?[A-Z]\}?(?:\^\{?[+*\d]\}?)?")
_OPERATOR = re.compile(r"[-+*/<>=]|\\(?:le|ge|ne|times|div|cdot|cup|cap|in|subset|approx) ?")  # as a whole answer
_WITHOUT = re.compile(r"\\(?:setminus|smallsetminus|backslash)(?![A-Za-z])|[-\\](?=\s*\\\{)")
_NO_BRACES = str.maketrans("", "", "{} ")
_REALS_BEYOND = re.compile(
    r"(?:all|any|every) (?:reals?|real numbers?) (greater|larger|less|smaller) than (or equal to )?(\S+)"
)
_NAMED_POINT = re.compile(r"[A-Z](?:_\{?\w\}?)?\s*(\((?=.*\d)[^A-Za-z()]*,[^A-Za-z()]*\))")
_BRACKETS = (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"))
_INTERVAL_GOLD = {r"\mathbb{R}": r"(-\infty,\infty)"}


def parse_form(latex: str) -> Form:
    """Returns the form of an answer as a data set or a model wrote it. Text that is not recognised is an Expression."""
    return _parse(normalise(latex), 0)


def _parse(text: str, depth: int) -> Form:
    text = _ANNOUNCED.sub("", normalise(text) if depth else text, count=1)
    if (begun := _LEADING_SIGN.match(text)) is not None:
        text = normalise(text[begun.end() :])
    text = _REASON.sub("", text)
    compact = without_spaces(text)
    if depth > _MAX_DEPTH:
        return Expression(compact)
    if (grouped := _THOUSANDS.fullmatch(text)) is not None:
        text = grouped[1] + grouped[2].replace(",", "") + grouped[3]
        compact = without_spaces(text)
    for parse in (
        _clock,
        _modulus,
        _table,
        _list,
        _relation,
        _ratio,
        _union,
        _difference,
        _bracketed,
        _based,
        _quantity,
        _words,
        _signs,
    ):
        form = parse(text, depth + 1)
        if form is not None:
            return form
    return Expression(compact)


def _clock(text: str, depth: int) -> Form | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    time = Words(re.sub(r"^0(?=\d)", "", without_spaces(match[1])))
    return Quantity(time, match[2].lower() + "m") if match[2] else time


def _words(text: str, depth: int) -> Form | None:
    if _NUMBER_SET.fullmatch(text) or _GEOMETRIC.fullmatch(text) or _OPERATOR.fullmatch(text):
        return Words(without_spaces(text).translate(_NO_BRACES))
    if (beyond := _REALS_BEYOND.fullmatch(_TEXT_WRAP.sub(r"\1", text))) is not None:
        return _parse(
            f"x {'>' if beyond[1] in ('greater', 'larger') else '<'}{'=' if beyond[2] else ''} {beyond[3]}", depth
        )
    words = plain_words(text)
    if words is None:
        return None
    if NO_SOLUTION.fullmatch(words):
        return Sequence("{}", ())
    if (reals := ALL_REALS.fullmatch(words)) is not None:
        return _parse(REALS[reals[1].replace("-", "")], depth)
    return Words(words, case_is_meaningless(text)) if not words.lstrip("-").isdigit() else Expression(words)


def _modulus(text: str, depth: int) -> Form | None:
    match = _MODULUS.match(text)
    if match is None:
        return None
    value, modulus = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    return Residue(_parse(value.strip(), depth), without_spaces(normalise(modulus.strip(" (){}"))))


def _list(text: str, depth: int) -> Form | None:
    whole = _ONE_TEXT.fullmatch(text)  # \text{A, C}
    pieces, found = split_outside_brackets(whole[1] if whole else _NOUN_AND.sub(r"\1} \2 ", text), _COMMA)
    if found and _CUT_OFF.search(text):
        return None
    pieces = [piece for piece in pieces if piece]  # "1, 2, and 3" has an empty one
    if not found or not pieces:
        return None
    items = tuple(_parse(piece, depth) for piece in pieces)
    if len(items) == 1:
        return items[0]
    first = items[0]
    one_name = isinstance(first, Relation) and first.signs == ("=",) and is_name(first.parts[0])
    if isinstance(first, Relation) and one_name and not any(isinstance(item, Relation) for item in items[1:]):
        values = (one for item in (first.parts[1], *items[1:]) for one in _alternatives(item))
        return Relation((first.parts[0], Sequence("", tuple(values))), ("=",))  # n = 2, 3, 4
    if isinstance(first, Relation) and first.signs == (r"\ne",) and not any(isinstance(i, Relation) for i in items[1:]):
        items = (first, *(Relation((first.parts[0], item), first.signs) for item in items[1:]))  # x \ne 1, 2
    joined = Sequence("", tuple(one for item in items for one in _alternatives(item)))
    if any(_OR.search(separator) for separator in found):
        return joined
    conjunction = any(_AND.search(separator) for separator in found)
    return joined_inequalities(joined, conjunction) or without_points(joined, conjunction) or joined


def _alternatives(item: Form) -> tuple[Form, ...]:
    r"""Returns the two values of an item like \pm 2."""
    return item.items if isinstance(item, Sequence) and item.brackets == "" else (item,)


def _ratio(text: str, depth: int) -> Form | None:
    pieces, found = split_outside_brackets(text, re.compile(r"\s*(?:\\colon|:)\s*"))
    if not found or not all(pieces):
        return None
    return Sequence(":", tuple(_parse(piece, depth) for piece in pieces))


def _relation(text: str, depth: int) -> Form | None:
    pieces, signs = split_outside_brackets(text, _RELATION)
    if not signs or not all(pieces):
        return None
    parts = tuple(_parse(piece, depth) for piece in pieces)
    signs = ["=" if sign in (r"\in", r"\equiv") else sign for sign in signs]
    return Relation(parts, tuple(signs))


def _union(text: str, depth: int) -> Form | None:
    pieces, found = split_outside_brackets(text, _UNION)
    if not found or not all(pieces):
        return None
    parts = tuple(_parse(piece, depth) for piece in pieces)
    if all(isinstance(part, Sequence) and part.brackets == "{}" for part in parts):
        return Sequence("{}", tuple(item for part in parts for item in part.items))  # type: ignore[union-attr]
    return Union(parts)


def _difference(text: str, depth: int) -> Form | None:
    pieces, found = split_outside_brackets(text, _WITHOUT)
    if len(found) != 1 or not all(pieces):
        return None
    return without(_parse(pieces[0], depth), _parse(pieces[1], depth))


def _bracketed(text: str, depth: int) -> Form | None:
    if text in _INTERVAL_GOLD:
        text = _INTERVAL_GOLD[text]
    if (point := _NAMED_POINT.fullmatch(text)) is not None:
        text = point[1]
    if text == r"\emptyset":
        return Sequence("{}", ())
    inside = inside_brackets(text, r"\{", r"\}")
    if inside is not None:
        return _set(inside, depth)
    for opening, closing in _BRACKETS:
        inside = inside_brackets(text, opening, closing)
        if inside is None:
            continue
        pieces, found = split_outside_brackets(inside, re.compile("[,;]"))
        if found and opening + closing == "()" and (both := _signs(text, depth)) is not None:
            return both  # (1, \pm 2) is two points
        if found and all(pieces):
            return Sequence(opening + closing, tuple(_parse(piece, depth) for piece in pieces))
        if opening + closing == "()" and inside:
            return _parse(inside, depth)
        if (matrix := _table(inside, depth)) is not None:
            return matrix
        return Sequence("[]", (_parse(inside, depth),)) if opening + closing == "[]" and inside else None
    return None


def _set(inside: str, depth: int) -> Form:
    if not inside:
        return Sequence("{}", ())
    builder, found = split_outside_brackets(inside, re.compile(r"\\mid(?![A-Za-z])|:|\|"))
    if len(builder) == 2 and found:
        return _described(builder[0], builder[1], depth)
    pieces, _ = split_outside_brackets(inside, re.compile("[,;]"))
    items = (_parse(piece, depth) for piece in pieces if piece)
    return Sequence("{}", tuple(one for item in items for one in _alternatives(item)))


def _described(member: str, condition: str, depth: int) -> Form:
    r"""Returns the condition of a set `x \in \mathbb{R}` with `x > 1`; other sets of numbers stay as they are."""
    element = _parse(member, depth)
    if isinstance(element, Relation) and element.parts[1:] == (_parse(r"\mathbb{R}", depth),):
        element = element.parts[0]
    if is_name(element):
        return _parse(condition, depth)
    return Sequence("{:}", (element, _parse(condition, depth)))


def _table(text: str, depth: int) -> Form | None:
    return read_table(text, lambda part: _parse(part, depth))


def _based(text: str, depth: int) -> Form | None:
    bare = without_spaces(_TEXT_WRAP.sub(r"\1", text))
    if (prefixed := _PREFIXED.fullmatch(bare)) is not None:
        return Based(prefixed[2].upper(), _PREFIXES[prefixed[1].lower()])
    match = _BASED.fullmatch(bare)
    if match is None:
        return None
    sign, digits, name = match[1], match[3].upper(), match[4]
    base = int(name) if name.isdigit() else spoken_number(name) or 0
    if not 2 <= base <= 36 or not all(int(digit, 36) < base for digit in digits if digit != "."):
        return None
    if digits.isalpha() and len(digits) == 1:  # a_{12} is the twelfth a, not ten
        return None
    return Expression(sign + digits) if base == 10 else Based(sign + digits, base)


def _quantity(text: str, depth: int) -> Form | None:
    split = split_unit(text)
    if split is None or r"\text" in split[0] or r"\mathrm" in split[0]:
        return None
    value, unit = split
    return Quantity(_parse(value, depth), unit) if unit else _parse(value, depth)


def _signs(text: str, depth: int) -> Form | None:
    if text.count(r"\pm") + text.count(r"\mp") != 1:
        return None
    plus = text.replace(r"\pm", "+").replace(r"\mp", "-").lstrip("+ ")
    minus = text.replace(r"\pm", "-").replace(r"\mp", "+").lstrip("+ ")
    return Sequence("", (_parse(plus, depth), _parse(minus, depth)))
