r"""Whether two answers are equal, form by form; only plain expressions reach the algebra.

    gold, answer --parse_form--> forms --same_form--> pairs of expressions --Algebra--> True | False

Rules, where graders differ:
- A unit may be missing; another unit is wrong. Units are not converted, except degrees, which equal their number or
  their radians. A percentage above 1 is its value or its number (5\% is 0.05 or 5, 0.5\% is 0.005).
- A decimal must be right to six places (0.333333 is 1/3, 0.333 is not). An integer gold needs the integer.
- Every value of a chain `a = b = 42` must be right. A name (`x = 5`) may be missing or added, not changed. Values with
  names (c=-1, b=2, a=6) are in the order of the names.
- Sets and bare lists have no order. (1,2), [1,2] and \{1,2\} differ, but a tuple may lose its brackets.
- An inequality equals its interval. A base and a modulus are part of the answer. A ratio 3:2 is not a number.
- Words are compared as words.
"""

from __future__ import annotations

from typing import Protocol

from vt_ray.verify.mathematics.exact_numbers import close_decimals, exact_number, exact_verdict
from vt_ray.verify.mathematics.form_reader import parse_form
from vt_ray.verify.mathematics.forms import (
    Based,
    Expression,
    Form,
    Matrix,
    Quantity,
    Relation,
    Residue,
    Sequence,
    Union,
    Words,
    is_name,
    name_of,
    names_a_value,
)
from vt_ray.verify.mathematics.inequalities import FLIPPED
from vt_ray.verify.mathematics.intervals import as_region, same_region
from vt_ray.verify.mathematics.matrices import rows_as_matrix
from vt_ray.verify.mathematics.named_values import (
    in_order_of_names,
    names_roots,
    tuple_in_order_of_names,
    with_constant_of,
)

_MAX_UNORDERED = 64


class Algebra(Protocol):
    """Compares plain expressions, given as LaTeX."""

    def same_value(self, gold: str, answer: str) -> bool:
        """Whether two expressions are equal wherever both are defined."""

    def same_relation(self, gold: tuple[str, str], answer: tuple[str, str], positive: bool) -> bool:
        """Whether left - right of one is a constant multiple of the other's (with `positive`: a positive multiple)."""


class Undecided(Exception):
    """Raised by `ExactOnly`: this pair needs computer algebra."""


class ExactOnly:
    """The algebra of a process without sympy: exact numbers and equal texts, else `Undecided`."""

    def same_value(self, gold: str, answer: str) -> bool:
        raise Undecided

    def same_relation(self, gold: tuple[str, str], answer: tuple[str, str], positive: bool) -> bool:
        raise Undecided


def same_answer(gold: str, answer: str, algebra: Algebra) -> bool:
    """Whether `answer` equals `gold`. Raises only the exceptions of `algebra`."""
    exact = exact_verdict(gold, answer)
    return exact if exact is not None else same_form(parse_form(gold), parse_form(answer), algebra)


def same_form(gold: Form, answer: Form, algebra: Algebra) -> bool:
    """As `same_answer`, for forms. Forms that can contain other forms are handled first."""
    if gold == answer:
        return True
    if isinstance(gold, Residue) or isinstance(answer, Residue):
        return _same_residue(gold, answer, algebra)
    gold_region, answer_region = as_region(gold), as_region(answer)
    if gold_region is not None and answer_region is not None and (gold_region.sure or answer_region.sure):
        return same_region(gold_region, answer_region, lambda g, a: same_form(g, a, algebra))
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relation(gold, answer, algebra)
    if isinstance(gold, Sequence | Union | Matrix) or isinstance(answer, Sequence | Union | Matrix):
        return _same_collection(gold, answer, algebra)
    if isinstance(gold, Quantity) or isinstance(answer, Quantity):
        return _same_quantity(gold, answer, algebra)
    if isinstance(gold, Expression) and isinstance(answer, Expression):
        return _same_expression(gold.latex, answer.latex, algebra)
    return _same_words(gold, answer)


def _same_expression(gold: str, answer: str, algebra: Algebra) -> bool:
    exact = exact_verdict(gold, answer)
    return exact if exact is not None else algebra.same_value(gold, with_constant_of(gold, answer))


def _same_words(gold: Form, answer: Form) -> bool:
    """Compares words, or a letter that one side wrote as words. Bases differ unless their forms are equal."""
    if isinstance(gold, Based) or isinstance(answer, Based):
        return False
    said = [form.words if isinstance(form, Words) else getattr(form, "latex", None) for form in (gold, answer)]
    if any(isinstance(form, Words) and form.any_case for form in (gold, answer)):
        said = [words and words.casefold() for words in said]
    return said[0] is not None and said[0] == said[1]


def _same_residue(gold: Form, answer: Form, algebra: Algebra) -> bool:
    if not isinstance(gold, Residue) or not isinstance(answer, Residue) or gold.modulus != answer.modulus:
        return False
    return same_form(gold.value, answer.value, algebra)


def _same_quantity(gold: Form, answer: Form, algebra: Algebra) -> bool:
    gold_value, gold_unit = (gold.value, gold.unit) if isinstance(gold, Quantity) else (gold, "")
    answer_value, answer_unit = (answer.value, answer.unit) if isinstance(answer, Quantity) else (answer, "")
    if {gold_unit, answer_unit} == {"%", ""}:
        percentage = gold_value if gold_unit else answer_value
        if not isinstance(percentage, Expression):  # 12_3\% is not a percentage
            return False
        if _above_one(percentage) and same_form(gold_value, answer_value, algebra):
            return True
        return same_form(_hundredth(gold_value, gold_unit), _hundredth(answer_value, answer_unit), algebra)
    if gold_unit and answer_unit and {gold_unit, answer_unit} != {"°", "rad"}:
        return gold_unit == answer_unit and same_form(gold_value, answer_value, algebra)
    if not (gold_unit and answer_unit) and same_form(gold_value, answer_value, algebra):
        return True
    radians = (_radians(gold_value, gold_unit), _radians(answer_value, answer_unit))
    return radians != (gold_value, answer_value) and same_form(*radians, algebra)


def _above_one(percentage: Expression) -> bool:
    r"""Whether the number of the percentage is accepted too: 10 for 10\%, but not 0.5 for 0.5\%, since 0.5 is 50\%."""
    value = exact_number(percentage.latex)
    return value is not None and abs(value) > 1


def _hundredth(value: Form, unit: str) -> Form:
    if unit != "%" or not isinstance(value, Expression):
        return value
    number = exact_number(value.latex)
    return Expression(f"({value.latex})/100" if number is None else str(number / 100))


def _radians(value: Form, unit: str) -> Form:
    return Expression(rf"({value.latex})*\pi/180") if unit == "°" and isinstance(value, Expression) else value


def _same_collection(gold: Form, answer: Form, algebra: Algebra) -> bool:
    if isinstance(gold, Union) or isinstance(answer, Union):
        if not (isinstance(gold, Union) and isinstance(answer, Union)):
            return False
        return _unordered(gold.parts, answer.parts, algebra)
    if isinstance(gold, Matrix):
        answer = rows_as_matrix(answer)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        shapes_agree = [len(row) for row in gold.rows] == [len(row) for row in answer.rows]
        return shapes_agree and all(_ordered(g, a, algebra) for g, a in zip(gold.rows, answer.rows, strict=True))
    gold, answer = _as_sequence(gold), _as_sequence(answer)
    if gold.brackets == "()" and answer.brackets == "{}" and len(answer.items) == 1:
        return same_form(gold, answer.items[0], algebra)  # the set of one point
    if _names_each(gold) != _names_each(answer):
        gold, answer = in_order_of_names(gold), in_order_of_names(answer)
    kinds = {gold.brackets, answer.brackets}
    if kinds == {""} and _names_each(gold) != _names_each(answer) and not names_roots(answer):
        return _ordered(gold.items, answer.items, algebra)  # x = 1, y = 2 is not "2, 1"
    if kinds == {"", "[]"} and len(gold.items) == 2:  # the brackets are the meaning of an interval
        return False
    if kinds <= {"", "{}"}:
        return _unordered(gold.items, answer.items, algebra)
    if gold.brackets == "" and answer.brackets == "()" and not _names_each(gold):
        return False  # the roots 1 and 2 are neither a point nor an interval
    # A tuple that lost its brackets keeps its order; any other difference of brackets is a difference.
    return (len(kinds) == 1 or kinds in ({"", "()"}, {"", "[]"})) and _ordered(gold.items, answer.items, algebra)


def _names_each(sequence: Sequence) -> bool:
    """Whether every item has a name, all different."""
    names = [_names_and_values(item)[0] if isinstance(item, Relation) else set() for item in sequence.items]
    return all(names) and len(set[str]().union(*names)) >= len(names) > 1


def _as_sequence(form: Form) -> Sequence:
    if isinstance(form, Sequence):
        return form
    if isinstance(form, Matrix):  # a vector is a tuple; any other matrix equals no sequence
        vector = len(form.rows) == 1 or all(len(row) == 1 for row in form.rows)
        return Sequence("()" if vector else "matrix", tuple(entry for row in form.rows for entry in row))
    return Sequence("", (form,))


def _ordered(gold: tuple[Form, ...], answer: tuple[Form, ...], algebra: Algebra) -> bool:
    return len(gold) == len(answer) and all(same_form(g, a, algebra) for g, a in zip(gold, answer, strict=True))


def _unordered(gold: tuple[Form, ...], answer: tuple[Form, ...], algebra: Algebra) -> bool:
    if len(gold) != len(answer) or len(gold) > _MAX_UNORDERED:
        return gold == answer
    left = list(answer)
    for item in gold:
        partner = next((other for other in left if same_form(item, other, algebra)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _same_relation(gold: Form, answer: Form, algebra: Algebra) -> bool:
    if not isinstance(gold, Relation):
        return isinstance(answer, Relation) and _chain_has_value(tuple_in_order_of_names(answer), gold, algebra)
    gold_names, gold_values = _names_and_values(gold)
    if not isinstance(answer, Relation):
        if not gold_names:  # 0.56 = 56\%
            numbers = set(gold.signs) == {"="} and all(_is_number(value) for value in gold_values)
            return numbers and all(same_form(value, answer, algebra) for value in gold_values)
        return same_form(gold_values[-1], answer, algebra)
    answer_names, _ = _names_and_values(answer)
    if gold_names & answer_names and len(gold_values) == 1:
        return _chain_has_value(answer, gold_values[0], algebra)
    return _same_difference(gold, answer, algebra)


def _names_and_values(relation: Relation) -> tuple[set[str], tuple[Form, ...]]:
    """Returns `f(x)` and the values of `f(x) = x+1`; no names unless every sign is `=` (or an approximation)."""
    parts = relation.parts
    if not set(relation.signs) <= {"=", r"\approx"}:
        return set(), parts
    if len(parts) == 2 and is_name(parts[1]) and not is_name(parts[0]):
        parts = parts[::-1]
    count = 0
    while count < len(parts) - 1 and names_a_value(parts[count]):
        count += 1
    return {name_of(part) for part in parts[:count]}, parts[count:]


def _chain_has_value(chain: Relation, gold: Form, algebra: Algebra) -> bool:
    """Whether every value of the chain equals the gold value; a value after `\\approx` may be a rounded decimal."""
    names, values = _names_and_values(chain)
    if not set(chain.signs) <= {"=", r"\approx"}:
        return False
    signs = chain.signs[len(chain.parts) - len(values) :] if names else chain.signs
    for position, value in enumerate(values):
        rounded = position > 0 and signs[position - 1] == r"\approx" and _is_decimal(value)
        if not rounded and not same_form(gold, value, algebra):
            return False
        if rounded and not _may_round(values[position - 1], value):
            return False
    return True


def _is_number(form: Form) -> bool:
    value = form.value if isinstance(form, Quantity) else form
    return isinstance(value, Expression) and exact_number(value.latex) is not None


def _is_decimal(form: Form) -> bool:
    return isinstance(form, Expression) and "." in form.latex and exact_number(form.latex) is not None


def _may_round(exact: Form, rounded: Form) -> bool:
    """Whether a decimal after `\\approx` is accepted: there is no number before it that it must match."""
    known = exact_number(exact.latex) if isinstance(exact, Expression) else None
    value = exact_number(rounded.latex) if isinstance(rounded, Expression) else None
    if known is None or value is None:
        return True
    return close_decimals(known, value) or abs(known - value) * 100 <= abs(known)


def _same_difference(gold: Relation, answer: Relation, algebra: Algebra) -> bool:
    """Whether the parts are equal, or one equation or inequality is a constant multiple of the other."""
    if gold.signs == answer.signs and _ordered(gold.parts, answer.parts, algebra):
        return True
    if len(gold.signs) != 1 or len(answer.signs) != 1:
        return False
    sides = [_sides(relation) for relation in (gold, answer)]
    if gold.signs[0] in FLIPPED and answer.signs[0] == FLIPPED[gold.signs[0]]:
        sides[1] = sides[1] and sides[1][::-1]
    elif gold.signs != answer.signs:
        return False
    if sides[0] is None or sides[1] is None:
        return False
    return algebra.same_relation(sides[0], sides[1], positive=gold.signs[0] in FLIPPED)


def _sides(relation: Relation) -> tuple[str, str] | None:
    left, right = relation.parts
    return (left.latex, right.latex) if isinstance(left, Expression) and isinstance(right, Expression) else None
