"""The killable process that compares two math answers with sympy.

    {"gold": "x/2", "answer": "0.5x"}  -->  {"outcome": "equal" | "different" | "gold_unreadable"
                                                       | "timeout" | "memory" | "crash"}

`grader.py` starts this module and never imports it: importing sympy takes a second.
"""

from __future__ import annotations

import sys
from typing import Any

from vt_ray.verify.child.server import Answer, serve
from vt_ray.verify.mathematics.equality import same_answer

_RECURSION_LIMIT = 5_000


def _load() -> Answer:
    from vt_ray.verify.mathematics.algebra import SympyAlgebra, Unreadable

    sys.setrecursionlimit(_RECURSION_LIMIT)
    algebra = SympyAlgebra()

    def answer(pair: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"outcome": "equal" if same_answer(pair["gold"], pair["answer"], algebra) else "different"}
        except Unreadable:
            return {"outcome": "gold_unreadable"}

    return answer


if __name__ == "__main__":
    serve(_load)
