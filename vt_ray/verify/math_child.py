"""The killable process that does algebra: a JSON line in, a JSON line out, until the pipe ends.

    {"gold": "x/2", "answer": "0.5x"}  -->  {"outcome": "equal" | "different" | "gold_unreadable"
                                                       | "timeout" | "memory" | "crash"}

Started by `math_process`, never imported by it. Two alarms guard a pair: SIGALRM stops sympy where Python
code runs; SIGPROF ends the process, in the middle of a long multiplication too, and works with the parent
gone.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vt_ray.verify.math_guards import Algebra, same_answer

_RECURSION_LIMIT = 5_000
_GRACE_S = 2.0  # CPU seconds after the deadline before the process ends itself


class Overtime(BaseException):
    """Not an Exception: sympy catches those."""


def main() -> None:
    """Serve pairs. Arguments: seconds for a pair, MiB of memory."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    from vt_ray.verify.math_expressions import SympyAlgebra  # takes seconds, and the parent may end meanwhile

    timeout_s, memory_mb = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(_RECURSION_LIMIT)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    algebra = SympyAlgebra()
    signal.signal(signal.SIGALRM, _overtime)
    _send(answers, "ready")
    for line in sys.stdin.buffer:
        pair = json.loads(line)
        _send(answers, _outcome(algebra, pair["gold"], pair["answer"], timeout_s))


def _end_with_the_pipe() -> None:
    """End this process as soon as the parent has gone, also in the middle of a pair."""
    pipe = select.poll()
    pipe.register(sys.stdin.fileno(), 0)  # a hang-up is reported whether it is asked for or not
    pipe.poll()
    os._exit(0)


def _send(answers: object, outcome: str) -> None:
    print(json.dumps({"outcome": outcome}), file=answers, flush=True)  # type: ignore[call-overload]


def _overtime(signum: int, frame: object) -> None:
    raise Overtime


@contextmanager
def _deadline(timeout_s: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, timeout_s + _GRACE_S)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _outcome(algebra: Algebra, gold: str, answer: str, timeout_s: float) -> str:
    from vt_ray.verify.math_expressions import Unreadable

    try:
        with _deadline(timeout_s):
            return "equal" if same_answer(gold, answer, algebra) else "different"
    except Unreadable:
        return "gold_unreadable"
    except Overtime:
        return "timeout"
    except MemoryError:
        return "memory"
    except Exception:  # sympy fails in many ways on odd input; which side it was is the parent's to find out
        return "crash"


if __name__ == "__main__":
    main()
