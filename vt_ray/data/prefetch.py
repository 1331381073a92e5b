"""An iterator that is read by a thread, a bounded number of items ahead: whoever takes them need not wait for one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any

_LOOK_UP_S = 0.1
_LEAVE_S = 5.0
_reading = threading.local()


def abandoned() -> bool:
    """Whether what this thread reads is wanted no more: an iterator that may wait for long asks now and then."""
    stopped: threading.Event | None = getattr(_reading, "stopped", None)
    return stopped is not None and stopped.is_set()


class Prefetcher:
    """`with Prefetcher(items, most) as ahead:` reads at most `most` items that nobody has taken, and one in hand."""

    def __init__(self, items: Iterable[Any], most: int):
        self.ended = False
        self._items, self._read = items, queue.Queue[tuple[str, Any]](most)
        self._news, self._stopped = threading.Event(), threading.Event()
        # A daemon: it may be waiting for an item that never comes.
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        # Ray must not be closed under a thread that waits for it: the next call would start another one.
        self._stopped.set()
        self._thread.join(_LEAVE_S)

    def wait(self, wait_s: float) -> None:
        """Until there is something to take, or the end; `wait_s` at most."""
        if not self.ended and self._read.empty():
            self._news.wait(wait_s)
            self._news.clear()

    def take(self) -> tuple[Any, ...]:
        """The next item, as a tuple of one; none if there is none now. Raises what reading has raised."""
        if self.ended:
            return ()
        try:
            what, value = self._read.get_nowait()
        except queue.Empty:
            return ()
        if what == "item":
            return (value,)
        self.ended = True
        if what == "error":
            raise value
        return ()

    def _run(self) -> None:
        _reading.stopped = self._stopped
        try:
            for item in self._items:
                self._put("item", item)
                if self._stopped.is_set():
                    return
            self._put("end", None)
        except BaseException as error:  # it belongs to whoever takes the items
            self._put("error", error)

    def _put(self, what: str, value: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._read.put((what, value), timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            self._news.set()
            return
