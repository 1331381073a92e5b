"""One thread owns the engine and steps it; other threads send it requests and work.

    submit --> waiting --admit, while there is room--> engine.step() ... --> the caller's inbox
    between_steps(work) --------------------------------^ before the next step, also with requests in flight

Requests wait here and not in the engine, so a request that is admitted after a load runs under the new weights only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from queue import SimpleQueue
from typing import Any, Protocol


class SteppedEngine(Protocol):
    """The engine as the loop uses it. Only the loop's thread calls it."""

    def admit(self, request_id: str, request: Any) -> None: ...

    def step(self) -> Iterable[tuple[str, Any]]:
        """Runs one step of all admitted requests. Returns (request id, output) of the requests that ended."""
        ...

    def drop(self, request_ids: list[str]) -> None: ...


@dataclass(frozen=True)
class Finished:
    """`seconds` from admission to the last token."""

    key: Any
    output: Any
    seconds: float


class Inbox:
    """Receives the outputs of one caller's requests."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[Finished | BaseException] = SimpleQueue()

    def put(self, item: Finished | BaseException) -> None:
        self._arrived.put(item)

    def get(self) -> Finished:
        """Waits for the next output. Raises the error of the engine or of a request."""
        item = self._arrived.get()
        if isinstance(item, BaseException):
            raise item
        return item


@dataclass(frozen=True)
class _Request:
    key: Any
    content: Any
    inbox: Inbox
    urgent: bool


@dataclass
class _Running:
    request: _Request
    began: float = field(default_factory=time.monotonic)


class EngineLoop:
    """At most `room` requests are in the engine at a time, not counting urgent ones.

    `busy_seconds` is the time that its thread has spent on steps and on work between steps. An error in a step ends the
    loop: every present and later caller gets this error.
    """

    def __init__(self, engine: SteppedEngine, room: int):
        self.busy_seconds = 0.0
        self.paused = False
        self._engine, self._room = engine, room
        self._waiting: deque[_Request] = deque()
        self._urgent: deque[_Request] = deque()
        self._running: dict[str, _Running] = {}
        self._works: deque[tuple[Callable[[], Any], Future]] = deque()
        self._ids = count()
        self._at_work_since: float | None = None
        self._error: BaseException | None = None
        self._news = threading.Condition()
        # A daemon thread: it does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, inbox: Inbox, requests: Iterable[tuple[Any, Any]], urgent: bool = False) -> None:
        """Adds (key, request) pairs; each comes back as a `Finished` with its key. Urgent ones do not wait for room."""
        queue = self._urgent if urgent else self._waiting
        with self._news:
            self._refuse_broken()
            queue.extend(_Request(key, content, inbox, urgent) for key, content in requests)
            self._news.notify()

    def withdraw(self, inbox: Inbox) -> None:
        """Drops all unfinished requests of an inbox."""

        def drop() -> None:
            with self._news:
                self._waiting = deque(request for request in self._waiting if request.inbox is not inbox)
            dropped = [i for i, running in self._running.items() if running.request.inbox is inbox]
            self._engine.drop(dropped)
            for request_id in dropped:
                del self._running[request_id]

        self.between_steps(drop)

    def between_steps(self, work: Callable[[], Any]) -> Any:
        """Runs `work` on the engine's thread before the next step. Returns its result or raises its error."""
        if threading.current_thread() is self._thread:
            return work()
        done: Future = Future()
        with self._news:
            self._refuse_broken()
            self._works.append((work, done))
            self._news.notify()
        return done.result()

    @property
    def in_flight(self) -> int:
        """Requests in the engine now."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Requests that wait for room in the engine."""
        return len(self._waiting) + len(self._urgent)

    def stuck_seconds(self) -> float:
        """Seconds since the current step, with the work before it, has begun; 0 if idle."""
        since = self._at_work_since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Waits for the current step. Callers that still wait get an error."""
        self.between_steps(lambda: self._fail(RuntimeError("the engine was closed")))
        self._thread.join()

    def _run(self) -> None:
        while self._error is None:
            works = self._next_works()
            self._at_work_since = began = time.monotonic()
            for work, done in works:
                try:
                    done.set_result(work())
                except BaseException as error:  # raised in the caller's thread
                    done.set_exception(error)
            try:
                if not self.paused and self._error is None:
                    self._admit()
                    self._step()
            except BaseException as error:  # raised in every caller's thread
                self._fail(error)
            self._at_work_since = None
            self.busy_seconds += time.monotonic() - began

    def _next_works(self) -> list[tuple[Callable[[], Any], Future]]:
        """Waits for work or requests. Returns the work."""
        with self._news:
            self._news.wait_for(lambda: self._works or (not self.paused and self._has_requests()))
            works = list(self._works)
            self._works.clear()
            return works

    def _has_requests(self) -> bool:
        return bool(self._running or self._waiting or self._urgent)

    def _admit(self) -> None:
        for request in self._take():
            request_id = str(next(self._ids))
            try:
                self._engine.admit(request_id, request.content)
            except Exception as error:  # the engine refuses this request and continues
                request.inbox.put(error)
            else:
                self._running[request_id] = _Running(request)

    def _take(self) -> Iterator[_Request]:
        with self._news:
            taken = [*self._urgent]
            self._urgent.clear()
            if self._waiting:
                room = self._room - sum(not running.request.urgent for running in self._running.values())
                taken += [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        yield from taken

    def _step(self) -> None:
        if not self._running:
            return
        for request_id, output in self._engine.step():
            ended = self._running.pop(request_id)
            ended.request.inbox.put(Finished(ended.request.key, output, time.monotonic() - ended.began))

    def _fail(self, error: BaseException) -> None:
        with self._news:
            self._error = error
            left = [*self._urgent, *self._waiting, *(running.request for running in self._running.values())]
            works = list(self._works)
            for queue in (self._urgent, self._waiting, self._running, self._works):
                queue.clear()
        for inbox in {id(request.inbox): request.inbox for request in left}.values():
            inbox.put(error)
        for _, done in works:
            done.set_exception(error)

    def _refuse_broken(self) -> None:
        if self._error is not None:
            raise self._error


def on_engine_thread(method: Callable) -> Callable:
    """Decorates a method of an object with an EngineLoop as `loop`.

    The method may be called from any thread and runs on the loop's thread between two steps.
    """

    @wraps(method)
    def call(self, *args, **kwargs):
        return self.loop.between_steps(lambda: method(self, *args, **kwargs))

    return call
