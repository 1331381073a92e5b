r"""The shapes that an answer can have: an expression, words, a set, a pair, an inequality ... Pure data.

    "x \in [0,1) \cup \{2\}"  -->  Relation(x, Union(Sequence("[)", 0, 1), Sequence("{}", 2)))

Computer algebra drops what distinguishes these ((3,4) and {3,4}, cm and m, 101_2 and 101_3, AB and BA), so
that the shape is read first, and algebra only ever sees the plain expressions inside. `math_reader` reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GREEK = r"\\(?!pi(?![A-Za-z])|infty|emptyset|frac|sqrt|text)[A-Za-z]+"
_NAME = re.compile(
    rf"(?:[A-Za-z]|{_GREEK}|\\(?:text|mathrm|operatorname)\{{[A-Za-z ]+\}}|m?\\angle ?[A-Z]+|[A-Z][A-Z]+)"
    r"(?:_(?:\w|\{\w+\}))?'*(?:\^\{-1\})?(?:\([a-z0-9](?:,[a-z0-9])*\))?"
)
_AT_A_NUMBER = re.compile(r"\(.*\d.*\)")


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


def is_name(form: Form) -> bool:
    r"""Whether this can stand to the left of `=` as a name: `x`, `f(x)`, `\theta`, `x_1`, "Area"."""
    if isinstance(form, Words):
        return form.words.isalpha() or form.words.startswith("\\")  # \angle ABC
    if isinstance(form, Sequence):  # (x, y) = (1, 2)
        return form.brackets == "()" and all(is_name(item) for item in form.items)
    return isinstance(form, Expression) and _NAME.fullmatch(form.latex) is not None


def name_of(form: Form) -> str:
    """The name that `is_name` saw, without arguments that are letters: `f` of `f(x)`, but `f(2)`."""
    if isinstance(form, Sequence):
        return ",".join(name_of(item) for item in form.items)
    if isinstance(form, Words):
        return form.words
    latex = form.latex if isinstance(form, Expression) else ""
    return latex if _AT_A_NUMBER.search(latex) else latex.partition("(")[0]
