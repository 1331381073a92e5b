"""Grades many rows with several threads, outside of a run: lines in, verdicts out, in the order of the input.

    lines --queue--> workers: read_row, Verifier --futures in order--> Graded

Memory does not grow with the file: it holds a few lines that wait for a worker, and a window of results that wait for
an earlier, slower row.
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
_LEAVE_S = 2.0  # time for stopped workers to finish their rows; their processes end with this process in any case


def limits_of(test_timeout_s: float, memory_mb: int, backend: str, kinds: Sequence[str] = ()) -> Limits:
    """Returns the limits for the options of `vt-tools verify`.

    `backend` is one of SandboxConfig's, "unsandboxed", or a server's URL. `kinds` are the user's own kinds of
    problems, each written "name=package.module:function". Raises ValueError if one of them cannot be used.
    """
    if backend.startswith(("http://", "https://")):
        sandbox = SandboxConfig("remote", remote_url=backend)
    elif backend in (*BACKENDS, SandboxConfig.backend, UNSANDBOXED):
        sandbox = SandboxConfig(backend, unsafe=backend == UNSANDBOXED)
    else:
        names = ", ".join((SandboxConfig.backend, *BACKENDS, UNSANDBOXED))
        raise ValueError(f"backend {backend!r} is not one of {names}, nor the URL of a SandboxFusion server")
    # All tests together get at least the time of one test.
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
    """The verdict on a row. `retried` is True if the first verifier failed and a new one gave this verdict."""

    row_id: str | int
    kind: str
    result: GradingResult
    retried: bool = False


_Job = tuple[int, bytes, "Future[Graded]"]


class Grading:
    """Worker threads, each with its own verifier. A context manager; after it no thread works."""

    def __init__(self, limits: Limits, workers: int) -> None:
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=2 * workers)
        self._stopping = threading.Event()
        self._workers = [_Worker(limits, self._jobs, self._stopping) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def backend(self) -> tuple[str, tuple[str, ...]]:
        """Returns how programs are confined and how that was found. Tries the backends if no program has run yet."""
        try:
            return self._workers[0].verifier.backend, self._workers[0].verifier.backend_notes
        except NoSandbox as error:
            return "none", (str(error),)

    def grade(self, lines: Iterable[bytes]) -> Iterator[Graded]:
        """Yields one result for each line, in order."""
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
        """Drop the lines that no worker has started, and end the workers."""
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
        except Exception as error:  # without a result, the reader of this row would wait forever
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
