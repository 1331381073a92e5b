"""Prefetcher: order, bounded length, errors of the iterator, and the end when the consumer stops."""

from __future__ import annotations

import threading
import time

import pytest

from vt_ray.data.prefetch import Prefetcher, abandoned


def all_of(ahead):
    taken = []
    while not ahead.ended:
        ahead.wait(1.0)
        while item := ahead.take():
            taken += item
    return taken


def first_of(ahead):
    ahead.wait(5.0)
    return ahead.take()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_items_come_in_order_and_then_the_end():
    with Prefetcher(range(100), 3) as ahead:
        assert all_of(ahead) == list(range(100))
        assert ahead.take() == ()


def test_no_more_is_read_than_the_bound_while_nobody_takes():
    read = []
    with Prefetcher((read.append(i) or i for i in range(1000)), 5) as ahead:
        until(lambda: len(read) == 6)
        time.sleep(0.3)
        assert len(read) == 6  # five that wait and one in hand
        assert ahead.take() == (0,)
        until(lambda: len(read) == 7)


def test_whoever_takes_does_not_wait_for_a_slow_iterator():
    go = threading.Event()
    with Prefetcher((go.wait() for _ in range(1)), 5) as ahead:
        # These calls return although the iterator is blocked until `go` is set.
        assert ahead.take() == ()
        ahead.wait(0.05)
        assert ahead.take() == ()
        go.set()
        assert all_of(ahead) == [True]


def test_what_reading_raises_is_raised_where_the_items_are_taken():
    def items():
        yield 1
        raise ConnectionAbortedError("generator lost")

    with Prefetcher(items(), 5) as ahead, pytest.raises(ConnectionAbortedError, match="generator lost"):
        all_of(ahead)


def test_the_thread_ends_when_nobody_takes_any_more():
    with Prefetcher(iter(int, 1), 2) as ahead:
        assert first_of(ahead) == (0,)
    assert not ahead._thread.is_alive()


def test_an_iterator_that_waits_for_long_can_know_that_it_is_abandoned():
    def patient():
        yield 1
        while not abandoned():
            time.sleep(0.01)

    assert not abandoned()
    with Prefetcher(patient(), 2) as ahead:
        assert first_of(ahead) == (1,)
    assert not ahead._thread.is_alive()
    assert not abandoned()


def test_a_wait_ends_as_soon_as_there_is_something():
    begin = time.monotonic()
    with Prefetcher((time.sleep(0.2) for _ in range(2)), 2) as ahead:
        assert first_of(ahead) == (None,)
        assert all_of(ahead) == [None]
        ahead.wait(60)
    assert time.monotonic() - begin < 30
