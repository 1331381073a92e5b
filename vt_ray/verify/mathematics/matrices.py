r"""Matrices, systems of equations and functions by cases, read from LaTeX environments. Pure.

    "\frac{1}{3}\begin{pmatrix}1\\2\end{pmatrix}"  -->  Matrix of 1/3 and 2/3
    "\begin{cases}x=-2\\y=1\end{cases}"            -->  the list x=-2, y=1

`parse` reads the parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.forms import Expression, Form, Matrix, Sequence, Words
from vt_ray.verify.mathematics.latex_text import without_spaces

_MATRIX = re.compile(r"\\begin\{([pb]?(?:small)?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_CASES = re.compile(
    r"(?:\\\{)?\s*\\begin\{(cases|array|aligned|align\*?|gathered)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL
)
_FACTOR = re.compile(r"(?:[-+\d./(){}\s]|\\(?:frac|sqrt|pi|cdot|times)(?![A-Za-z]))+(?=\(?\s*\\begin\{)")
_TRANSPOSED = re.compile(
    r"\^\s*\{?\s*(?:\\(?:text|mathrm|mathsf|mathbf))?\s*\{?\s*(?:[Tt]|\\(?:top|intercal))\s*\}{0,2}$"
)
_CONDITION = re.compile(r"^(?:\\text\{\s*(?:if|for|when|where)\s*\}|(?:if|for|when|where)(?![A-Za-z]))\s*")
_ALIGNED_SIGN = re.compile(r"&\s*(?==)|(?<==)\s*&")

Parse = Callable[[str], Form]


def read_table(text: str, parse: Parse) -> Form | None:
    """Returns the matrix, transposed or scaled matrix, system of equations or function by cases, else None."""
    transposed = _TRANSPOSED.search(text)
    if transposed is not None and text[: transposed.start()].rstrip().endswith((")", "]", "}")):
        return _transposed(parse(text[: transposed.start()]))
    if r"\begin" not in text:
        return None
    return _matrix(text, parse) or _cases(text, parse) or _scaled(text, parse)


def _rows(body: str) -> list[str]:
    return [row.strip() for row in body.split(r"\\") if row.strip()]


def _matrix(text: str, parse: Parse) -> Matrix | None:
    match = _MATRIX.fullmatch(text)
    if match is None or r"\begin" in match[2]:
        return None
    return Matrix(tuple(tuple(parse(entry.strip()) for entry in row.split("&")) for row in _rows(match[2])))


def _cases(text: str, parse: Parse) -> Form | None:
    """Returns equations as a list, and values with conditions as a table of two columns."""
    match = _CASES.fullmatch(text)
    if match is None or r"\begin" in match[2]:
        return None
    rows = [_ALIGNED_SIGN.sub("", row) for row in _rows(match[2])]
    if not any("&" in row for row in rows):
        return parse(", ".join(rows))
    cells = [[_CONDITION.sub("", cell.strip(" ,")) for cell in row.split("&")] for row in rows]
    return Matrix(tuple(tuple(parse(cell) for cell in row) for row in cells))


def _scaled(text: str, parse: Parse) -> Matrix | None:
    """Returns a number times a matrix, multiplied out."""
    factor = _FACTOR.match(text)
    if factor is None:
        return None
    matrix = parse(text[factor.end() :])
    scale = re.sub(r"\\(?:cdot|times)$", "", without_spaces(factor[0]))
    scale = scale + "1" if scale in ("-", "+") else scale
    if not isinstance(matrix, Matrix) or not scale:
        return None
    return Matrix(tuple(tuple(_product(scale, entry) for entry in row) for row in matrix.rows))


def _product(scale: str, entry: Form) -> Form:
    if not isinstance(entry, Expression):
        return Words(f"{scale} times {entry}")  # equal only to itself
    numbers = exact_number(scale), exact_number(entry.latex)
    if numbers[0] is None or numbers[1] is None:
        return Expression(rf"({scale})\cdot({entry.latex})")
    return Expression(str(numbers[0] * numbers[1]))


def _transposed(inner: Form) -> Form | None:
    """Returns the transposed matrix. A tuple is a vector, which is a column with and without the sign."""
    if isinstance(inner, Matrix) and len({len(row) for row in inner.rows}) == 1:
        return Matrix(tuple(zip(*inner.rows, strict=True)))
    if not isinstance(inner, Sequence) or inner.brackets not in ("()", "[]") or len(inner.items) < 2:
        return None
    return Sequence("()", inner.items)


def rows_as_matrix(form: Form) -> Form:
    """Returns the matrix for [[1,2],[3,4]]; other forms are not changed."""
    if not isinstance(form, Sequence) or form.brackets != "[]":
        return form
    rows = tuple(row.items for row in form.items if isinstance(row, Sequence) and row.brackets == "[]")
    return Matrix(rows) if len(rows) == len(form.items) else form
