"""The thread that steps an engine: shared by callers, interrupted between steps, and honest when it fails."""

import threading
import time

import pytest

from vt_ray.engines.vllm.engine_loop import EngineLoop, Inbox


class Countdown:
    """An engine whose requests are numbers of steps; the output of one is the steps it has seen."""

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


def test_callers_share_steps_and_each_gets_its_own(engine, loop):
    mine, yours = Inbox(), Inbox()
    engine.go.clear()
    loop.submit(mine, [("a", 2), ("b", 1)])
    loop.submit(yours, [("c", 2)])
    engine.go.set()
    assert [mine.get().key, mine.get().key, yours.get().key] == ["b", "a", "c"]
    assert engine.steps <= 3
    assert len(engine.threads) == 1


def test_no_more_are_in_the_engine_than_there_is_room_for_but_urgent_ones_do_not_wait(engine, loop):
    inbox, urgent = Inbox(), Inbox()
    engine.go.clear()
    loop.submit(inbox, [(i, 50) for i in range(6)])
    loop.submit(urgent, [("now", 1)], urgent=True)
    engine.go.set()
    assert urgent.get().output[0] <= 2
    assert sorted(inbox.get().key for _ in range(6)) == list(range(6))
    assert engine.most == 4


def test_work_is_done_between_two_steps_and_nothing_in_flight_is_lost(engine, loop):
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


def test_work_that_asks_for_work_is_not_waited_for_by_itself(loop):
    assert loop.between_steps(lambda: loop.between_steps(lambda: 7)) == 7


def test_an_error_in_a_piece_of_work_is_its_callers_alone(loop):
    with pytest.raises(ZeroDivisionError):
        loop.between_steps(lambda: 1 // 0)
    inbox = Inbox()
    loop.submit(inbox, [("a", 1)])
    assert inbox.get().key == "a"


def test_a_request_that_the_engine_refuses_is_its_callers_alone(loop):
    bad, good = Inbox(), Inbox()
    loop.submit(bad, [("bad", 0)])
    loop.submit(good, [("good", 3)])
    with pytest.raises(ValueError, match="0 steps"):
        bad.get()
    assert good.get().key == "good"


def test_when_the_engine_breaks_every_caller_hears_of_it():
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


def test_what_is_withdrawn_leaves_the_engine_and_the_queue(engine, loop):
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


def test_while_it_is_paused_requests_wait(engine, loop):
    inbox = Inbox()

    def pause(paused):
        loop.paused = paused
        return engine.steps

    before = loop.between_steps(lambda: pause(True))
    loop.submit(inbox, [("a", 5)])
    time.sleep(0.05)
    assert loop.between_steps(lambda: pause(False)) == before
    assert len(inbox.get().output) == 5


def test_it_says_how_long_it_has_been_at_one_piece_of_work(engine, loop):
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


def test_seconds_are_counted_only_while_it_works(engine, loop):
    time.sleep(0.5)
    idle, began = loop.busy_seconds, time.monotonic()
    loop.between_steps(lambda: time.sleep(0.1))
    inbox, submitted = Inbox(), time.monotonic()
    loop.submit(inbox, [("a", 1)])
    assert 0 <= inbox.get().seconds <= time.monotonic() - submitted
    loop.between_steps(lambda: None)
    assert 0.1 <= loop.busy_seconds - idle <= time.monotonic() - began
    assert idle < 0.25
