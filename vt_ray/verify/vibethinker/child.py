"""The killable process that compares two expressions with sympy, as VibeThinker's own evaluation does.

    {"gold": "2*x", "answer": "x+x"}  -->  {"outcome": "equal" | "different" | "timeout" | "memory" | "crash"}

`grader.py` starts this module and never imports it: importing sympy takes a second.
"""

from __future__ import annotations

import re
from typing import Any

from vt_ray.verify.child.server import Answer, serve
from vt_ray.verify.vibethinker.answer_rules import has_algebra

# The parser evaluates its text as Python. Quotes, attributes and names with underscores are not read.
_SAFE = re.compile(r"(?!.*\.\s*[^\W\d])[\w\s+\-*/^().,!|√±]*", re.DOTALL)


def _load() -> Answer:
    import sympy
    from sympy.parsing import sympy_parser

    transformations = (*sympy_parser.standard_transformations, sympy_parser.implicit_multiplication_application)

    def answer(pair: dict[str, Any]) -> dict[str, Any]:
        text = f"({pair['gold']})-({pair['answer']})"
        if not has_algebra(text) or not _SAFE.fullmatch(text) or "__" in text:
            return {"outcome": "different"}
        try:
            difference = sympy_parser.parse_expr(text.replace("^", "**"), transformations=transformations)
            return {"outcome": "equal" if sympy.simplify(difference) == 0 else "different"}
        except Exception:  # not an expression
            return {"outcome": "different"}

    return answer


if __name__ == "__main__":
    serve(_load)
