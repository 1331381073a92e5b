"""Many rows graded by several threads, outside of any run: lines in, verdicts out, in the order of the input.

    lines --queue--> workers: read_row, Verifier --futures in order--> Graded

What is in memory is bounded however long the file: a few lines that wait for a worker, and a window of results
that wait for a slow one in front of them.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType

from vt_ray.records import Verdict
from vt_ray.verify.files.rows import Row, read_row
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.kinds import kind_fault
from vt_ray.verify.limits import BACKENDS, Limits, SandboxConfig
from vt_ray.verify.sandbox.backends import UNSANDBOXED, NoSandbox
from vt_ray.verify.verifier import Verifier

_WINDOW = 1_024
_LEAVE_S = 2.0  # what stopped workers get to finish their rows; their processes end with this one anyhow


def limits_of(test_timeout_s: float, memory_mb: int, backend: str, kinds: Sequence[str] = ()) -> Limits:
    """The limits that the options of `vt-tools verify` ask for.

    `backend` is one of SandboxConfig's, "unsandboxed", or a server's URL. `kinds` are the user's own kinds of
    problems, each written "name=package.module:function". Raises ValueError if one of them cannot be used.
    """
    if backend.startswith(("http://", "https://")):
        sandbox = SandboxConfig("remote", remote_url=backend)
    elif backend in (*BACKENDS, SandboxConfig.backend, UNSANDBOXED):
        sandbox = SandboxConfig(backend, unsafe=backend == UNSANDBOXED)
    else:
        names = ", ".join((SandboxConfig.backend, *BACKENDS, UNSANDBOXED))
        raise ValueError(f"backend {backend!r} is none of {names}, nor the URL of a SandboxFusion server")
    # One test may take what it is given: all tests together have at least as long.
    completion_timeout_s = max(Limits.completion_timeout_s, test_timeout_s)
    functions = dict(_name_and_path(kind) for kind in kinds)
    for name, path in functions.items():
        if fault := kind_fault(name, path):
            raise ValueError(fault)
    return Limits(test_timeout_s, completion_timeout_s, memory_mb, sandbox=sandbox, kinds=functions)


def _name_and_path(kind: str) -> tuple[str, str]:
    name, equals, path = kind.partition("=")
    if not equals:
        raise ValueError(f"kind {kind!r} is not of the form name=package.module:function")
    return name, path


@dataclass(frozen=True, slots=True)
class Graded:
    """A row's verdict. `retried`: the first verifier was lost over it, and this is what a fresh one says."""

    row_id: str | int
    kind: str
    result: GradingResult
    retried: bool = False


_Job = tuple[int, bytes, "Future[Graded]"]


class Grading:
    """Worker threads, each with a verifier of its own. A context manager; leaves no thread behind that works."""

    def __init__(self, limits: Limits, workers: int) -> None:
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=2 * workers)
        self._stopping = threading.Event()
        self._workers = [_Worker(limits, self._jobs, self._stopping) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def backend(self) -> tuple[str, tuple[str, ...]]:
        """How programs are confined, and how that was found. Looks for it, where no program has been run yet."""
        try:
            return self._workers[0].verifier.backend, self._workers[0].verifier.backend_notes
        except NoSandbox as error:
            return "none", (str(error),)

    def grade(self, lines: Iterable[bytes]) -> Iterator[Graded]:
        """One result for each line, in their order."""
        waiting: deque[Future[Graded]] = deque()
        for number, line in enumerate(lines, start=1):
            future: Future[Graded] = Future()
            self._jobs.put((number, line, future))
            waiting.append(future)
            while waiting and (waiting[0].done() or len(waiting) >= _WINDOW):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Drop the lines that no worker has begun, and end the workers."""
        self._stopping.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._workers:
            self._jobs.put(None)
        deadline = time.monotonic() + _LEAVE_S
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Grading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker(threading.Thread):
    def __init__(self, limits: Limits, jobs: queue.Queue[_Job | None], stopping: threading.Event) -> None:
        super().__init__(name="grading", daemon=True)
        self.verifier = Verifier(limits)
        self._limits, self._jobs, self._stopping = limits, jobs, stopping

    def run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None and not self._stopping.is_set():
                number, line, future = job
                future.set_result(self._graded(number, line))
        finally:
            self.verifier.close()

    def _graded(self, number: int, line: bytes) -> Graded:
        row = read_row(line, number, self._limits.kinds)
        try:
            return self._examined(row)
        except Exception as error:  # whoever waits for this row would wait for ever
            verdict = Verdict("unverified", f"the grading failed: {type(error).__name__}: {str(error)[:200]}")
            return Graded(row.row_id, row.kind, GradingResult(verdict))

    def _examined(self, row: Row) -> Graded:
        if row.problem is None:
            return Graded(row.row_id, row.kind, GradingResult(Verdict("unverified", row.fault)))
        first = self.verifier.grade(row.problem, row.response)
        if not first.verdict.retry:
            return Graded(row.row_id, row.kind, first)
        self.verifier.close()
        self.verifier = Verifier(self._limits)
        second = self.verifier.grade(row.problem, row.response)
        verdict = replace(second.verdict, seconds=first.verdict.seconds + second.verdict.seconds)
        return Graded(row.row_id, row.kind, replace(second, verdict=verdict), retried=True)
