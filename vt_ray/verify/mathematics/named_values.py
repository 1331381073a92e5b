r"""The order of values with names: `c=-1, a=6, b=31` is (6,31,-1), `(y,x)=(1,-2)` is (-2,1). Pure.

Consecutive letters (a, b, c or x, y), indices (x_1, x_2) and the coordinates r, \theta, z have an order. Values with
other names keep the written order.
"""

from __future__ import annotations

import re
from dataclasses import replace

from vt_ray.verify.mathematics.forms import Expression, Form, Relation, Sequence

_COMMAND = re.compile(r"\\[A-Za-z]+")
_COORDINATES = ("r", r"\rho", r"\theta", r"\phi", "z")
_INDEXED = re.compile(r"([A-Za-z])_\{(\d+)\}")


def in_order_of_names(sequence: Sequence) -> Sequence:
    """Sorts a list of equations `name = value` by name; other lists are not changed."""
    names = [item.parts[0] for item in sequence.items if isinstance(item, Relation) and item.signs[0] == "="]
    order = _order(names)
    if sequence.brackets != "" or order is None or len(order) != len(sequence.items):
        return sequence
    return replace(sequence, items=tuple(sequence.items[place] for place in order))


def tuple_in_order_of_names(relation: Relation) -> Relation:
    """Returns `(x,y) = (-2,1)` for `(y,x) = (1,-2)`; other relations are not changed."""
    names, values = relation.parts[0], relation.parts[-1]
    if len(relation.parts) != 2 or not isinstance(names, Sequence) or not isinstance(values, Sequence):
        return relation
    order = _order(list(names.items))
    if order is None or len(values.items) != len(order):
        return relation
    parts = tuple(replace(side, items=tuple(side.items[place] for place in order)) for side in (names, values))
    return replace(relation, parts=parts)


def names_roots(sequence: Sequence) -> bool:
    """Whether a list is like `x_1 = -2, x_2 = 1`: one letter with indices, whose order has no meaning."""
    names = [item.parts[0] for item in sequence.items if isinstance(item, Relation) and item.signs == ("=",)]
    indexed = [_INDEXED.fullmatch(name.latex) if isinstance(name, Expression) else None for name in names]
    return (
        len(names) == len(sequence.items)
        and len({match and match[1] for match in indexed}) == 1
        and None not in indexed
    )


def _order(names: list[Form]) -> list[int] | None:
    """Returns the positions of the names in sorted order; None if the names have no order."""
    texts = [name.latex if isinstance(name, Expression) else "" for name in names]
    indexed = [_INDEXED.fullmatch(text) for text in texts]
    if len(texts) < 2 or len(set(texts)) != len(texts):
        return None
    if all(match is not None for match in indexed):
        keys = [int(match[2]) for match in indexed if match is not None]
        if len({match[1] for match in indexed if match is not None}) != 1:
            return None
    elif all(len(text) == 1 and text.isalpha() and text.isascii() for text in texts):
        keys = [ord(text) for text in texts]
        if max(keys) - min(keys) != len(keys) - 1:
            return None
    elif set(texts) <= set(_COORDINATES):
        keys = [_COORDINATES.index(text) for text in texts]
    else:
        return None
    return sorted(range(len(keys)), key=keys.__getitem__)


def with_constant_of(gold: str, answer: str) -> str:
    """Returns the answer with the gold answer's spelling of the constant of integration: `+C` for `+c`.

    An answer with the letter a or b is not changed, because c is then one of several quantities.
    """
    if not gold.endswith("+C") or not answer.endswith("+c"):
        return answer
    others = set("ABCabc") & set(_COMMAND.sub("", gold[:-1] + answer[:-1]))
    return answer if others else answer[:-1] + "C"
