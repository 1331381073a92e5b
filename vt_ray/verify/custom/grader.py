"""Grades the completions of a user's own kind of problems with the function named in the setting verify.kinds.

    problem.fields, text --FunctionGrader--> child process: function(text, fields) --> bool | Verdict

An error, a time-out or a lack of memory in the function is `unverified` with the reason, never a wrong answer: the
fault may be the function's own. A function that returns False for such answers counts them as wrong.
"""

from __future__ import annotations

import json
import os
from typing import Any

from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.process import ChildProcess
from vt_ray.verify.child.standby import StandbyChild
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits


class FunctionGrader:
    """Calls the function at the import path `limits.kinds[kind]` in a child process."""

    def __init__(self, limits: Limits, kind: str) -> None:
        self._limits = limits
        self._function = limits.kinds[kind]
        self._child = StandbyChild(self._start, f"process of verify.kinds.{kind}", "")

    def grade(self, problem: Problem, text: str) -> GradingResult:
        """The function's verdict on the completion `text`. Raises ChildLost if no child process starts."""
        request = {"text": text, "fields": problem.fields or {}}
        reply = self._child.ask(json.dumps(request).encode() + b"\n")
        # Half of a surrogate pair cannot be written to the rollout file.
        reply["reason"] = str(reply.get("reason", "")).encode("utf-8", "replace").decode()
        if reply["outcome"] == "verdict":
            return GradingResult(Verdict(reply["status"], reply["reason"], retry=reply["retry"]))
        return GradingResult(Verdict("unverified", self._failure(reply)))

    def close(self) -> None:
        """End the child processes. The next completion starts new ones."""
        self._child.close()

    def _start(self) -> ChildProcess:
        limits = self._limits
        return ChildProcess(
            "vt_ray.verify.custom.child",
            (self._function,),
            limits.function_timeout_s,
            limits.memory_mb,
            os.environ,
        )

    def _failure(self, reply: dict[str, Any]) -> str:
        """Why there is no verdict. Metrics group reasons by the words before the colon."""
        if reply["outcome"] == "timeout":
            return f"the function timed out: verify.function_timeout_s={self._limits.function_timeout_s:g}"
        if reply["outcome"] == "memory":
            return f"the function ran out of memory: verify.memory_mb={self._limits.memory_mb}"
        if reply["outcome"] == "returned":
            return f"the function returned no verdict: {reply['reason']}; expected True, False or a Verdict"
        return f"the function raised {reply['reason']}"
