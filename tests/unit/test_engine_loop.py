"""The thread that steps an engine: callers share it, work runs between steps, and its errors reach every caller."""

import threading
import time

import pytest

from vt_ray.engines.vllm.engine_loop import EngineLoop, Inbox


class Countdown:
    """A request is a number of steps; its output is the list of steps in which it ran."""

    def __init__(self, fails_at=None):
        self.left, self.seen, self.steps, self.fails_at = {}, {}, 0, fails_at
        self.most, self.dropped, self.threads = 0, [], set()
        self.go = threading.Event()
        self.go.set()

    def admit(self, request_id, request):
        if request < 1:
            raise ValueError(f"{request} steps")
        self.left[request_id], self.seen[request_id] = request, []
        self.most = max(self.most, len(self.left))

    def step(self):
        self.go.wait(10)
        self.threads.add(threading.current_thread())
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the engine broke")
        for request_id in self.left:
            self.left[request_id] -= 1
            self.seen[request_id].append(self.steps)
        done = [request_id for request_id, left in self.left.items() if not left]
        for request_id in done:
            del self.left[request_id]
        return [(request_id, self.seen.pop(request_id)) for request_id in done]

    def drop(self, request_ids):
        self.dropped += request_ids
        for request_id in request_ids:
            del self.left[request_id]


@pytest.fixture
def engine():
    return Countdown()


@pytest.fixture
def loop(engine):
    loop = EngineLoop(engine, room=3)
    yield loop
    loop.close()


def test_callers_share_steps_and_each_gets_its_own_outputs(engine, loop):
    mine, yours = Inbox(), Inbox()
    engine.go.clear()
    loop.submit(mine, [("a", 2), ("b", 1)])
    loop.submit(yours, [("c", 2)])
    engine.go.set()
    assert [mine.get().key, mine.get().key, yours.get().key] == ["b", "a", "c"]
    assert engine.steps <= 3
    assert len(engine.threads) == 1


def test_the_engine_holds_at_most_room_requests_and_urgent_ones_do_not_wait(engine, loop):
    inbox, urgent = Inbox(), Inbox()
    engine.go.clear()
    loop.submit(inbox, [(i, 50) for i in range(6)])
    loop.submit(urgent, [("now", 1)], urgent=True)
    engine.go.set()
    assert urgent.get().output[0] <= 2
    assert sorted(inbox.get().key for _ in range(6)) == list(range(6))
    assert engine.most == 4


def test_work_runs_between_two_steps_and_requests_in_flight_continue(engine, loop):
    inbox = Inbox()
    engine.go.clear()
    loop.submit(inbox, [("long", 100)])
    while not loop.in_flight:
        time.sleep(0.001)
    answers = []
    asker = threading.Thread(target=lambda: answers.append(loop.between_steps(lambda: (loop.in_flight, engine.steps))))
    asker.start()
    engine.go.set()
    asker.join()
    ((in_flight, steps),) = answers
    assert in_flight == 1 and steps < 100
    assert len(inbox.get().output) == 100


def test_work_may_ask_for_work(loop):
    assert loop.between_steps(lambda: loop.between_steps(lambda: 7)) == 7


def test_an_error_of_work_is_raised_in_its_caller_only(loop):
    with pytest.raises(ZeroDivisionError):
        loop.between_steps(lambda: 1 // 0)
    inbox = Inbox()
    loop.submit(inbox, [("a", 1)])
    assert inbox.get().key == "a"


def test_a_refused_request_raises_in_its_caller_only(loop):
    bad, good = Inbox(), Inbox()
    loop.submit(bad, [("bad", 0)])
    loop.submit(good, [("good", 3)])
    with pytest.raises(ValueError, match="0 steps"):
        bad.get()
    assert good.get().key == "good"


def test_an_error_of_the_engine_is_raised_in_every_caller():
    engine = Countdown(fails_at=3)
    loop, inboxes = EngineLoop(engine, room=1), [Inbox(), Inbox()]
    engine.go.clear()
    for inbox in inboxes:
        loop.submit(inbox, [("never", 100)])
    engine.go.set()
    for inbox in inboxes:
        with pytest.raises(RuntimeError, match="the engine broke"):
            inbox.get()
    with pytest.raises(RuntimeError, match="the engine broke"):
        loop.between_steps(lambda: 1)
    with pytest.raises(RuntimeError, match="the engine broke"):
        loop.submit(inboxes[0], [("late", 1)])


def test_withdrawn_requests_leave_the_engine_and_the_queue(engine, loop):
    mine, yours = Inbox(), Inbox()
    engine.go.clear()
    loop.submit(mine, [(i, 10**9) for i in range(5)])
    engine.go.set()
    while loop.in_flight < 3:
        time.sleep(0.001)
    loop.submit(yours, [("yours", 2)])
    loop.withdraw(mine)
    assert len(engine.dropped) == 3
    assert yours.get().key == "yours"
    assert loop.in_flight == 0


def test_requests_wait_during_a_pause(engine, loop):
    inbox = Inbox()

    def pause(paused):
        loop.paused = paused
        return engine.steps

    before = loop.between_steps(lambda: pause(True))
    loop.submit(inbox, [("a", 5)])
    time.sleep(0.05)
    assert loop.between_steps(lambda: pause(False)) == before
    assert len(inbox.get().output) == 5


def test_stuck_seconds_are_the_age_of_the_current_work(engine, loop):
    assert loop.stuck_seconds() == 0
    engine.go.clear()
    inbox = Inbox()
    loop.submit(inbox, [("a", 1)])
    began = time.monotonic()
    while (stuck := loop.stuck_seconds()) < 0.1:
        assert time.monotonic() - began < 30
        time.sleep(0.01)
    assert stuck <= time.monotonic() - began
    engine.go.set()
    inbox.get()
    loop.between_steps(lambda: None)
    while loop.stuck_seconds() > 0:
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def test_busy_seconds_count_only_work(engine, loop):
    time.sleep(0.5)
    idle, began = loop.busy_seconds, time.monotonic()
    loop.between_steps(lambda: time.sleep(0.1))
    inbox, submitted = Inbox(), time.monotonic()
    loop.submit(inbox, [("a", 1)])
    assert 0 <= inbox.get().seconds <= time.monotonic() - submitted
    loop.between_steps(lambda: None)
    assert 0.1 <= loop.busy_seconds - idle <= time.monotonic() - began
    assert idle < 0.25
