"""The killable process that calls a user's grading function. Started by `custom.grader`, never imported by it.

{"text": "... <completion> ...", "fields": {...}}  -->  {"outcome": "verdict", "status", "reason", "retry"}
                                                        | {"outcome": "returned", "reason": the type}
                                                        | {"outcome": "timeout" | "memory" | "crash"}
"""

from __future__ import annotations

import sys
from typing import Any, get_args

from vt_ray.import_path import import_object
from vt_ray.records import Status, Verdict
from vt_ray.verify.child.server import Answer, serve

_REASON_CHARS = 300


def _load() -> Answer:
    function = import_object(sys.argv[3])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        result = function(request["text"], request["fields"])
        if isinstance(result, Verdict) and result.status in get_args(Status):
            reason = str(result.reason)[:_REASON_CHARS]
            return {"outcome": "verdict", "status": result.status, "reason": reason, "retry": bool(result.retry)}
        if not isinstance(result, Verdict) and result in (0, 1):  # True, 1.0 and numpy.True_ are equal to 1
            return {"outcome": "verdict", "status": "correct" if result else "wrong", "reason": "", "retry": False}
        return {"outcome": "returned", "reason": f"{result!r}"[:_REASON_CHARS]}

    return answer


if __name__ == "__main__":
    serve(_load, on_top_of_imports=True)
