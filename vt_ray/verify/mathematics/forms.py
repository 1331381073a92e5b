r"""The forms of an answer: an expression, words, a set, a pair, an inequality ... Pure data.

    "x \in [0,1) \cup \{2\}"  -->  Relation(x, Union(Sequence("[)", 0, 1), Sequence("{}", 2)))

Computer algebra does not distinguish some forms ((3,4) and {3,4}, cm and m, 101_2 and 101_3, AB and BA). The form is
therefore read first (`form_reader`), and algebra gets only the plain expressions inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_GREEK_LETTERS = """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho
sigma tau upsilon phi varphi chi psi omega Gamma Delta Lambda Xi Pi Sigma Phi Theta Psi Omega ell hbar"""
_GREEK = rf"\\(?:{'|'.join(_GREEK_LETTERS.split())})(?![A-Za-z])"
_ACCENTS = "vec hat bar tilde dot ddot overline widehat mathcal mathbb mathfrak mathscr mathrm"
_ACCENTED = rf"\\(?:{'|'.join(_ACCENTS.split())})\{{?(?:[A-Za-z]|{_GREEK})\}}?"
# Words that change the value and are not its name: "not = 5" is not 5.
_NO_NAME_WORDS = """not no never nor neither isn doesn half third quarter twice thrice double triple times percent
square cube root inverse reciprocal negative minus plus less more least most over under below above between except
wrong incorrect false one two three four five six seven eight nine ten hundred"""
_NO_NAME = re.compile(rf"\b(?:{'|'.join(_NO_NAME_WORDS.split())})\b", re.IGNORECASE)
_AROUND_NAMES = re.compile(r"\\triangle|\\angle|[(){}_,' ]")  # \text{Var}(X), x_{\text{max}}
_NAME = re.compile(
    rf"(?:[A-Za-z]|{_GREEK}|{_ACCENTED}|\\(?:gcd|lcm)|\\operatorname\{{[A-Za-z]+\}}|m?\\angle ?[A-Z]+|[A-Z][A-Z]+)"
    r"(?:_(?:\w|\{(?:\w|\\(?:max|min)|[-+,]|\\(?:text|mathrm)\{[A-Za-z]+\})+\}|\\(?:max|min)))?'*(?:\^\{-1\})?"
    r"(?:\([a-z0-9](?:,[a-z0-9])*\))?"
)
# A function at a number, f(-1) or f(\frac{1}{2}); but x(10) may be a product.
_AT = r"[fghpqFGHPQRSTVN](?:_\{?\w\}?)?'*(?:\^\{\(?\w\)?\})?\((?:[-+/^.,\d{}]|\\(?:frac|sqrt|pi)(?![A-Za-z]))+\)"
_OF_A_CAPITAL = r"\\operatorname\{[A-Za-z]+\}\(?[A-Z]\)?"  # the rank or the trace of A
# The probability or the expectation of an event, written with a capital or in words.
_CHANCE = r"(?:\\?Pr|P|E|Var|Cov|[nN]|\\(?:mathbb|mathrm)\{(?:P|E|Pr|Var|Cov)\})"
_EVENT = rf"{_CHANCE}(?:_\{{?\w\}}?)?[(\[](?=.*[A-Z])[^()\[\]]*[)\]]"
_EXTREME = r"\\(?:max|min|sup|inf|deg|dim|det)(?:_\{[^{}]*\})? ?[A-Za-z(){}]*"
_SIZE = rf"\|(?:[A-Z][A-Z]?|[zw]|{_ACCENTED})(?:_\{{\w\}})?\||\\?\#[A-Z]|\\\|[^|=]*\\\|"
_VALUE_NAME = re.compile(f"{_AT}|{_OF_A_CAPITAL}|{_EVENT}|{_EXTREME}|{_SIZE}")
_AT_A_NUMBER = re.compile(r"\(.*\d.*\)")


@dataclass(frozen=True)
class Expression:
    """A plain expression, for exact arithmetic or algebra. `latex` has no superfluous spaces."""

    latex: str


@dataclass(frozen=True)
class Words:
    """Words, capitals, or text with colons: equal only to the same words.

    `any_case` is True for certain words, which are equal in any case; ABC and abc are not.
    """

    words: str
    any_case: bool = field(default=False, compare=False)


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
    """A value with a modulus."""

    value: Form
    modulus: str


@dataclass(frozen=True)
class Sequence:
    """Items in brackets: `{}` a set, `` a bare list, `()`, `[]`, `(]` and `[)` pairs, tuples or intervals."""

    brackets: str
    items: tuple[Form, ...]


@dataclass(frozen=True)
class Union:
    r"""Sets joined by \cup."""

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
    r"""Whether the form can be a name to the left of `=`: `x`, `f(x)`, `\theta`, `x_1`, "Area"."""
    if isinstance(form, Words):
        letters = _AROUND_NAMES.sub("", form.words).isalpha() or form.words.startswith("\\")  # \angle ABC
        return letters and _NO_NAME.search(form.words) is None
    if isinstance(form, Sequence):  # (x, y) = (1, 2), a : b = 3 : 2
        return form.brackets in ("()", ":") and all(is_name(item) for item in form.items)
    return isinstance(form, Expression) and _NAME.fullmatch(form.latex) is not None


def names_a_value(form: Form) -> bool:
    """Whether the form is a name or denotes a value: `f(10)`, `P(A)`, `E[X]`, `|S|`, the area `[ABC]`, `x_{max}`.

    Returns False for |x| and for a product like x(10): |x| = 5 does not mean that x is 5.
    """
    if isinstance(form, Sequence) and form.brackets == "[]" and len(form.items) == 1:
        inner = form.items[0]
        text = inner.words if isinstance(inner, Words) else getattr(inner, "latex", "")
        return len(text) >= 3 and text.lstrip("\\triangle").isupper()
    return is_name(form) or (isinstance(form, Expression) and _VALUE_NAME.fullmatch(form.latex) is not None)


def name_of(form: Form) -> str:
    """Returns the name of a form for which `is_name` holds, without letter arguments: `f` for `f(x)`, but `f(2)`."""
    if isinstance(form, Sequence):
        return ",".join(name_of(item) for item in form.items)
    if isinstance(form, Words):
        return form.words
    latex = form.latex if isinstance(form, Expression) else ""
    return latex if _AT_A_NUMBER.search(latex) else latex.partition("(")[0]
