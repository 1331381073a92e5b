r"""The shape of an answer, read from its text: a number with a unit, a set, a pair, an inequality, a word?

    "x \in [0,1) \cup \{2\}"  --parse_form-->  Relation(x, Union(Sequence("[)", 0, 1), Sequence("{}", 2)))

Computer algebra drops what distinguishes these ((3,4) and {3,4}, cm and m, 101_2 and 101_3, AB and BA), so
that the shape is read first, and algebra only ever sees the plain expressions inside. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vt_ray.verify.latex_text import enclosed, normalise, split_top, squash
from vt_ray.verify.math_answer import exact_number
from vt_ray.verify.math_words import plain_words, split_unit

_MAX_DEPTH = 12

_UNION = re.compile(r"\\cup(?![A-Za-z])")
_COMMA = re.compile(
    r"[,;]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\text\{\s*,?\s*(?:and|or)\s*\}|\\(?:lor|vee)(?![A-Za-z])"
)
# One grouped number, and around it a sign, a name, a currency, a unit; not within the brackets of a set or a
# tuple.
_THOUSANDS = re.compile(r"([^\d,(\[{]*)(\d{1,3}(?:,\d{3})+)(?!\d)([^,]*)")
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv)(?![A-Za-z])|=|<|>")
_MODULUS = re.compile(r"^(.*?)\(?\s*\\(?:pmod|bmod|mod|pod)(?![A-Za-z])(.*)$|^(.*?)\(\s*mod\s+(.*)\)$", re.DOTALL)
_MATRIX = re.compile(r"\\begin\{([pb]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_BASED = re.compile(r"([0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)_\{?(?:\\text\{)?(\d{1,2})\}{0,2}")
_CLOCK = re.compile(r"\d+(?:\s*:\s*\d+)+")
_GREEK = r"\\(?!pi(?![A-Za-z])|infty|emptyset|frac|sqrt|text)[A-Za-z]+"
_NAME = re.compile(
    rf"(?:[A-Za-z]|{_GREEK}|\\(?:text|mathrm|operatorname)\{{[A-Za-z ]+\}}|\\angle ?[A-Z]+|[A-Z][A-Z]+)"
    r"(?:_(?:\w|\{\w+\}))?'*(?:\^\{-1\})?(?:\([a-z](?:,[a-z])*\))?"
)
_BRACKETS = (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"))
_INTERVAL_GOLD = {r"\mathbb{R}": r"(-\infty,\infty)"}


@dataclass(frozen=True)
class Expression:
    """A plain expression, for exact arithmetic or algebra. `latex` has no superfluous spaces."""

    latex: str


@dataclass(frozen=True)
class Words:
    """Something said in words, in capitals, or written with colons: equal to the same words only."""

    words: str


@dataclass(frozen=True)
class Quantity:
    """A value with a unit."""

    value: Form
    unit: str


@dataclass(frozen=True)
class Based:
    """Digits in a stated base."""

    digits: str
    base: int


@dataclass(frozen=True)
class Residue:
    """A value modulo something."""

    value: Form
    modulus: str


@dataclass(frozen=True)
class Sequence:
    """Items in brackets: `{}` a set, `` a bare list, `()`, `[]`, `(]` and `[)` pairs, tuples or intervals."""

    brackets: str
    items: tuple[Form, ...]


@dataclass(frozen=True)
class Union:
    """Sets joined by cup."""

    parts: tuple[Form, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of entries."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True)
class Relation:
    r"""`parts[0] signs[0] parts[1] ...`; the signs are `=`, `<`, `>`, `\le`, `\ge`, `\ne` and `\approx`."""

    parts: tuple[Form, ...]
    signs: tuple[str, ...]


Form = Expression | Words | Quantity | Based | Residue | Sequence | Union | Matrix | Relation


def parse_form(latex: str) -> Form:
    """The shape of an answer as a dataset or a model wrote it. What is not understood is an Expression."""
    return _parse(normalise(latex), 0)


def is_name(form: Form) -> bool:
    r"""Whether this can stand to the left of `=` as a name: `x`, `f(x)`, `\theta`, `x_1`, "Area"."""
    if isinstance(form, Words):
        return form.words.isalpha()
    if isinstance(form, Sequence):  # (x, y) = (1, 2)
        return form.brackets == "()" and all(is_name(item) for item in form.items)
    return isinstance(form, Expression) and _NAME.fullmatch(form.latex) is not None


def name_of(form: Form) -> str:
    """The name that `is_name` saw, without the arguments: `f` of `f(x)`."""
    if isinstance(form, Sequence):
        return ",".join(name_of(item) for item in form.items)
    return form.words if isinstance(form, Words) else getattr(form, "latex", "").partition("(")[0]


def _parse(text: str, depth: int) -> Form:
    text = normalise(text) if depth else text
    compact = squash(text)
    if depth > _MAX_DEPTH:
        return Expression(compact)
    if (grouped := _THOUSANDS.fullmatch(text)) is not None:
        text = grouped[1] + grouped[2].replace(",", "") + grouped[3]
        compact = squash(text)
    for parse in (
        _clock,
        _modulus,
        _list,
        _relation,
        _union,
        _bracketed,
        _matrix,
        _based,
        _words,
        _quantity,
        _signs,
    ):
        form = parse(text, depth + 1)
        if form is not None:
            return form
    return Expression(compact)


def _clock(text: str, depth: int) -> Form | None:
    return Words(squash(text)) if _CLOCK.fullmatch(text) else None


def _words(text: str, depth: int) -> Form | None:
    words = plain_words(text)
    if words is None:
        return None
    if words in ("no solution", "no solutions", "no real solution", "no real solutions", "empty set"):
        return Sequence("{}", ())
    return Words(words) if not words.lstrip("-").isdigit() else Expression(words)


def _modulus(text: str, depth: int) -> Form | None:
    match = _MODULUS.match(text)
    if match is None:
        return None
    value, modulus = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    return Residue(_parse(value.strip(), depth), squash(normalise(modulus.strip(" (){}"))))


def _list(text: str, depth: int) -> Form | None:
    pieces, found = split_top(text, _COMMA)
    pieces = [piece for piece in pieces if piece]  # "1, 2, and 3" has an empty one
    if not found or not pieces:
        return None
    items = tuple(_parse(piece, depth) for piece in pieces)
    if len(items) == 1:
        return items[0]
    first = items[0]
    one_name = isinstance(first, Relation) and first.signs == ("=",) and is_name(first.parts[0])
    if isinstance(first, Relation) and one_name and not any(isinstance(item, Relation) for item in items[1:]):
        return Relation((first.parts[0], Sequence("", (first.parts[1], *items[1:]))), ("=",))  # n = 2, 3, 4
    return Sequence("", items)


def _relation(text: str, depth: int) -> Form | None:
    pieces, signs = split_top(text, _RELATION)
    if not signs or not all(pieces):
        return None
    parts = tuple(_parse(piece, depth) for piece in pieces)
    signs = ["=" if sign in (r"\in", r"\equiv") else sign for sign in signs]
    return Relation(parts, tuple(signs))


def _union(text: str, depth: int) -> Form | None:
    pieces, found = split_top(text, _UNION)
    return Union(tuple(_parse(piece, depth) for piece in pieces)) if found and all(pieces) else None


def _bracketed(text: str, depth: int) -> Form | None:
    if text in _INTERVAL_GOLD:
        text = _INTERVAL_GOLD[text]
    if text == r"\emptyset":
        return Sequence("{}", ())
    inside = enclosed(text, r"\{", r"\}")
    if inside is not None:
        return _set(inside, depth)
    for opening, closing in _BRACKETS:
        inside = enclosed(text, opening, closing)
        if inside is None:
            continue
        pieces, found = split_top(inside, re.compile("[,;]"))
        if found and all(pieces):
            return Sequence(opening + closing, tuple(_parse(piece, depth) for piece in pieces))
        if opening + closing == "()" and inside:
            return _parse(inside, depth)
        return Sequence("[]", (_parse(inside, depth),)) if opening + closing == "[]" and inside else None
    return None


def _set(inside: str, depth: int) -> Form:
    if not inside:
        return Sequence("{}", ())
    builder, found = split_top(inside, re.compile(r"\\mid(?![A-Za-z])|:|\|"))
    if len(builder) == 2 and found:
        return _parse(builder[1], depth)
    pieces, _ = split_top(inside, re.compile("[,;]"))
    return Sequence("{}", tuple(_parse(piece, depth) for piece in pieces if piece))


def _matrix(text: str, depth: int) -> Form | None:
    match = _MATRIX.fullmatch(text)
    if match is None or r"\begin" in match[2]:
        return None
    rows = [row for row in match[2].split(r"\\") if row.strip()]
    return Matrix(tuple(tuple(_parse(entry.strip(), depth) for entry in row.split("&")) for row in rows))


def _based(text: str, depth: int) -> Form | None:
    match = _BASED.fullmatch(squash(text))
    if match is None or not 2 <= int(match[2]) <= 36 or not match[1][0].isdigit():
        return None
    return Expression(match[1]) if match[2] == "10" else Based(match[1].upper(), int(match[2]))


def _quantity(text: str, depth: int) -> Form | None:
    if text.endswith(r"\%"):
        percent = exact_number(squash(text[:-2]))
        return Expression(f"({squash(text[:-2])})/100" if percent is None else str(percent / 100))
    value, unit = split_unit(text)
    return Quantity(_parse(value, depth), unit) if unit else None


def _signs(text: str, depth: int) -> Form | None:
    if text.count(r"\pm") + text.count(r"\mp") != 1:
        return None
    plus = text.replace(r"\pm", "+").replace(r"\mp", "-").lstrip("+ ")
    minus = text.replace(r"\pm", "-").replace(r"\mp", "+").lstrip("+ ")
    return Sequence("", (_parse(plus, depth), _parse(minus, depth)))
