"""Reads an iterator in a thread, a bounded number of items ahead, so that the consumer can do other work meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any

_LOOK_UP_S = 0.1
_LEAVE_S = 5.0
_reading = threading.local()


def abandoned() -> bool:
    """Whether the consumer of this thread's items has stopped. An iterator that may wait long must check this."""
    stopped: threading.Event | None = getattr(_reading, "stopped", None)
    return stopped is not None and stopped.is_set()


class Prefetcher:
    """`with Prefetcher(items, most) as ahead:` holds at most `most` items that are not taken yet, plus one."""

    def __init__(self, items: Iterable[Any], most: int):
        self.ended = False
        self._items, self._read = items, queue.Queue[tuple[str, Any]](most)
        self._news, self._stopped = threading.Event(), threading.Event()
        # A daemon thread: it may wait for an item that never comes.
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        # Ray must not shut down while a thread waits for it: the thread's next call would start Ray again.
        self._stopped.set()
        self._thread.join(_LEAVE_S)

    def wait(self, wait_s: float) -> None:
        """Wait for an item or the end, at most `wait_s` seconds."""
        if not self.ended and self._read.empty():
            self._news.wait(wait_s)
            self._news.clear()

    def take(self) -> tuple[Any, ...]:
        """Returns (next item,), or () if no item is ready. Raises the exception of the iterator."""
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
        except BaseException as error:  # raised again in `take`
            self._put("error", error)

    def _put(self, what: str, value: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._read.put((what, value), timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            self._news.set()
            return
