"""The owner of the algebra process: sends it a pair, kills it when it does not answer, starts it again.

    pair --exact text comparison--> verdict
         `--undecided--> math_child (exec'ed, own session) --outcome within the deadline--> verdict

An answer that exhausts time or memory is a wrong answer, unless the gold answer alone does the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

from vt_ray.records import Verdict
from vt_ray.verify.limits import Limits
from vt_ray.verify.math_answer import MAX_ANSWER_CHARS
from vt_ray.verify.math_guards import ExactOnly, Undecided, same_answer

_START_S = 60.0  # importing sympy takes 1 s, on a machine whose cores are all taken much longer
_MARGIN_S = 1.0
_MAX_REPLY_BYTES = 4_096
_MAX_KNOWN_GOLDS = 4_096
_MAX_GOLD_CHARS = 8_000  # with an answer of twice that, a line still fits into a pipe that nobody reads
_EXACT_CHARS = 400  # longer pairs go to the process that can be stopped, shape and all


class MathLost(Exception):
    """The child could not be started, or ended without an answer."""


class MathProcess:
    """One child process, started when first needed. Not for use by several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._gold_is_readable: dict[str, bool] = {}

    def verdict(self, gold: str, answer: str) -> Verdict:
        """Whether `answer` equals `gold` (both LaTeX). Raises MathLost where a pair loses the child twice."""
        if not 0 < len(gold.strip()) <= _MAX_GOLD_CHARS:
            reason = f"gold unreadable: {len(gold)} characters, the limits are 1 and {_MAX_GOLD_CHARS}"
            return Verdict("unverified", reason)
        if gold.strip() == answer.strip():
            return Verdict("correct")
        if len(answer) > max(MAX_ANSWER_CHARS, 2 * len(gold)):
            return Verdict("wrong", "wrong_answer")
        try:
            if len(gold) + len(answer) <= _EXACT_CHARS:
                equal = same_answer(gold, answer, ExactOnly())
                return Verdict("correct") if equal else Verdict("wrong", "wrong_answer")
        except Undecided:
            pass
        return self._verdict_of(self._ask(gold, answer), gold)

    def close(self) -> None:
        """End the child. The next pair would start another."""
        child, self._child = self._child, None
        if child is None:
            return
        # Its own session: the group holds the child and whatever it started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def _verdict_of(self, outcome: str, gold: str) -> Verdict:
        if outcome == "equal":
            return Verdict("correct")
        if outcome == "different":
            return Verdict("wrong", "wrong_answer")
        if outcome == "gold_unreadable" or not self._readable(gold):
            return Verdict("unverified", "gold unreadable")
        return Verdict("wrong", "wrong_answer" if outcome == "crash" else outcome)

    def _readable(self, gold: str) -> bool:
        """Whether the gold answer can be compared with a small number at all."""
        if gold not in self._gold_is_readable:
            if len(self._gold_is_readable) >= _MAX_KNOWN_GOLDS:
                self._gold_is_readable.clear()
            self._gold_is_readable[gold] = self._ask(gold, "7919/7907") in ("equal", "different")
        return self._gold_is_readable[gold]

    def _ask(self, gold: str, answer: str) -> str:
        """The child's outcome, "timeout" if it had to be killed; a child found dead is replaced once."""
        line = json.dumps({"gold": gold, "answer": answer}).encode() + b"\n"
        for _ in range(2):
            child = self._child if self._child is not None else self._start()
            try:
                outcome = self._exchange(child, line)
            except (OSError, EOFError, ValueError):
                self.close()
                continue
            if outcome is None:
                self.close()
                return "timeout"
            return outcome
        raise MathLost("the math process ended twice without an answer")

    def _exchange(self, child: subprocess.Popen[bytes], line: bytes) -> str | None:
        assert child.stdin is not None
        while line:
            line = line[child.stdin.write(line) :]
        return _read_outcome(child, self._limits.math_timeout_s + _MARGIN_S)

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = [str(self._limits.math_timeout_s), str(self._limits.memory_mb)]
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "vt_ray.verify.math_child", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=_environment(),
                bufsize=0,
            )
        except OSError as error:
            raise MathLost(f"the math process cannot start: {error}") from error
        self._child = child
        try:
            ready = _read_outcome(child, _START_S)
        except (OSError, EOFError, ValueError):
            ready = None
        if ready != "ready":
            self.close()
            raise MathLost("the math process did not start: is math-verify installed (pip install math-verify)?")
        return child


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONHASHSEED": "0",  # sympy orders by hash here and there: the same pair, the same verdict
        "MPMATH_NOGMPY": "1",  # gmpy2 computes for minutes without looking at signals
        "SYMPY_GROUND_TYPES": "python",
        "LANG": "C.UTF-8",
    }


def _read_outcome(child: subprocess.Popen[bytes], timeout_s: float) -> str | None:
    """The next line's outcome, None past the deadline. EOFError: the child ended. ValueError: nonsense."""
    assert child.stdout is not None
    descriptor, reply = child.stdout.fileno(), b""
    deadline = time.monotonic() + timeout_s
    poll = select.poll()  # not select.select, which takes no descriptor above 1023, and workers have many
    poll.register(descriptor, select.POLLIN)
    while not reply.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        chunk = os.read(descriptor, _MAX_REPLY_BYTES)
        if not chunk or len(reply) > _MAX_REPLY_BYTES:
            raise EOFError
        reply += chunk
    return str(json.loads(reply)["outcome"])
