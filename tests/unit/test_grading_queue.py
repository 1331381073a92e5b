"""Every completion gets exactly one verdict, even if workers die, and long completions delay no others."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.actors.grading_queue import (
    CHUNK_S,
    MAX_TRIES,
    Answer,
    Chunk,
    Costs,
    GradingQueue,
    Outline,
    graded_samples,
)
from vt_ray.actors.verifiers import read_group
from vt_ray.planning.placement import ClusterError
from vt_ray.records import Completion, Problem, Rollouts, Verdict

RIGHT, WRONG = Verdict("correct"), Verdict("wrong", "wrong_answer")
NO_SANDBOX = Verdict("unverified", "the sandbox broker was lost", retry=True)
BAD_TESTS = Verdict("unverified", "malformed tests: there is no case")


def outline(completions, truncated=(), kind="code", same_as=()):
    cut = tuple(i in truncated for i in range(completions))
    return Outline("q", "code", kind, 3, tuple(range(completions)), cut, same_as=tuple(same_as))


def answer(group, verdicts):
    return Answer(group, verdicts, 0.1)


def opened(completions, mean_s=0.1, truncated=(), done=()):
    """A queue with one group. Worker 0 has opened it and graded the samples `done`."""
    costs = Costs()
    costs.note("code", mean_s)
    queue = GradingQueue(costs)
    queue.add("handle")
    verdicts = dict.fromkeys(done, Verdict("correct", "", mean_s))
    graded = queue.record(queue.next_chunk(0, [0]), 0, answer(outline(completions, truncated), verdicts))
    return queue, graded


def waiting(queue, worker=0, workers=(0,)):
    chunks = []
    while (chunk := queue.next_chunk(worker, workers)) is not None:
        chunks.append(chunk)
    return chunks


# --- sizes ---


def test_a_chunk_takes_a_quarter_of_a_second():
    costs = Costs()
    assert costs.chunk_size("code") == 1  # not measured yet
    costs.note("code", 0.02)
    costs.note("code", 0.04)
    assert costs.means["code"] == pytest.approx(0.03)
    assert costs.chunk_size("code") == 8  # 0.25 / 0.03 = 8.33
    assert costs.chunk_size("math") == 1
    costs.note("math", 0.0)
    assert costs.chunk_size("math") == 250_000
    costs.note("choice", 9.0)
    assert costs.chunk_size("choice") == 1


def test_a_mean_follows_recent_measurements():
    costs = Costs()
    for _ in range(1000):
        costs.note("code", 1.0)
    for _ in range(100):
        costs.note("code", 2.0)
    # 2 - 0.99^100 = 1.634
    assert costs.means["code"] == pytest.approx(1.634, abs=1e-3)


def test_the_rest_of_an_opened_group_is_split_by_cost():
    # 0.1 s each: two per chunk.
    queue, graded = opened(6, done=[0])
    assert graded is None
    assert [chunk.samples for chunk in waiting(queue)] == [(1, 2), (3, 4), (5,)]


def test_truncated_completions_are_wrong_and_never_in_a_chunk():
    queue, graded = opened(3, truncated=[0, 2])
    assert graded is None
    (chunk,) = waiting(queue)
    assert chunk.samples == (1,)
    graded = queue.record(chunk, 0, answer(outline(3, [0, 2]), {1: RIGHT}))
    assert graded.verdicts == (Verdict("wrong", "truncated"), RIGHT, Verdict("wrong", "truncated"))
    assert graded.truncated == (True, False, True)
    assert graded.rollouts == "handle"
    assert queue.open_groups == 0


def test_a_group_of_truncated_completions_is_complete_when_it_is_opened():
    _, graded = opened(2, truncated=[0, 1])
    assert [v.reason for v in graded.verdicts] == ["truncated"] * 2


# --- copies ---


def test_a_text_is_graded_once_and_its_copies_get_its_verdict_at_no_cost():
    queue = GradingQueue(Costs())
    queue.add("handle")
    group = outline(5, truncated=[3], same_as=[0, 1, 0, 3, 1])
    slow = Verdict("wrong", "wrong_answer", seconds=0.2)
    assert queue.record(queue.next_chunk(0, [0]), 0, answer(group, {0: slow})) is None
    (chunk,) = waiting(queue)
    assert chunk.samples == (1,)
    graded = queue.record(chunk, 0, answer(group, {1: RIGHT}))
    assert graded.verdicts == (slow, RIGHT, WRONG, Verdict("wrong", "truncated"), RIGHT)


def test_a_cut_completion_is_no_copy_of_a_whole_one():
    texts = [("a", "length"), ("a", "stop"), ("a", "length"), ("a", "stop"), ("", "stop")]
    completions = tuple(
        Completion(i, np.zeros(1, np.int32), np.zeros(1, np.float32), text, reason, ((0, 1),), 0.1)
        for i, (text, reason) in enumerate(texts)
    )
    group = read_group(Rollouts(Problem("q", "code", "code", "?"), (1,), completions, 0, tuple(range(5)))).outline
    assert group.truncated == (True, False, True, False, False)
    assert group.same_as == (0, 1, 0, 1, 4)
    assert graded_samples(group) == (1, 4)


def test_copies_wait_for_the_retry_of_their_text():
    queue = GradingQueue(Costs())
    queue.add("handle")
    group = outline(3, same_as=[0, 0, 0])
    assert queue.record(queue.next_chunk(0, [0]), 0, answer(group, {0: NO_SANDBOX})) is None
    (chunk,) = waiting(queue, 1, [0, 1])
    assert chunk.samples == (0,)
    assert queue.record(chunk, 1, answer(group, {0: RIGHT})).verdicts == (RIGHT, RIGHT, RIGHT)


# --- losses ---


def test_the_chunk_of_a_dead_worker_is_tried_one_by_one_on_others():
    queue, _ = opened(4, mean_s=0.01)
    (chunk,) = waiting(queue)
    assert chunk.samples == (0, 1, 2, 3)
    assert queue.worker_died(chunk, 0) is None
    assert queue.retries == 4
    assert queue.next_chunk(0, [0, 1]) is None  # worker 0 died with it, and there is another worker
    assert [c.samples for c in waiting(queue, 1, [0, 1])] == [(0,), (1,), (2,), (3,)]


def test_a_single_worker_tries_its_failed_chunk_again():
    queue, _ = opened(1)
    (chunk,) = waiting(queue)
    queue.worker_died(chunk, 0)
    assert len(waiting(queue, 0, [0])) == 1


def test_a_completion_that_kills_workers_is_unverified_and_its_neighbours_are_verified():
    queue, _ = opened(3, mean_s=0.01)
    graded, workers = None, count(1)
    while graded is None:
        worker = next(workers)
        chunk = queue.next_chunk(worker, [worker])
        if 1 in chunk.samples:
            graded = queue.worker_died(chunk, worker) or graded
        else:
            graded = queue.record(chunk, worker, answer(outline(3), dict.fromkeys(chunk.samples, RIGHT)))
    assert graded.verdicts == (RIGHT, Verdict("unverified", "worker lost"), RIGHT)


def test_a_group_that_killed_a_worker_when_opened_is_opened_again_without_running_a_completion():
    queue = GradingQueue(Costs())
    queue.add("handle")
    queue.worker_died(queue.next_chunk(0, [0, 1]), 0)
    chunk = queue.next_chunk(1, [0, 1])
    assert chunk.samples == ()
    assert queue.record(chunk, 1, answer(outline(3, [2]), {})) is None
    assert queue.retries == 2
    assert [c.samples for c in waiting(queue, 2, [2])] == [(0,), (1,)]


def test_a_group_that_no_worker_can_open_ends_the_run():
    queue = GradingQueue(Costs())
    queue.add("handle")
    for worker in range(MAX_TRIES - 1):
        queue.worker_died(queue.next_chunk(worker, [worker]), worker)
    with pytest.raises(ClusterError, match="3 verifiers were lost one after the other"):
        queue.worker_died(queue.next_chunk(9, [9]), 9)


# --- unverified ---


def test_a_failure_of_the_worker_is_tried_on_others_a_limited_number_of_times():
    queue, _ = opened(1)
    (chunk,) = waiting(queue)
    for worker in range(MAX_TRIES - 1):
        assert queue.record(chunk, worker, answer(outline(1), {0: NO_SANDBOX})) is None
        assert queue.next_chunk(worker, [worker, 9]) is None
        chunk = queue.next_chunk(9, [worker, 9])
    graded = queue.record(chunk, 9, answer(outline(1), {0: NO_SANDBOX}))
    assert graded.verdicts == (NO_SANDBOX,)
    assert queue.retries == MAX_TRIES - 1


def test_the_verdict_of_a_second_worker_counts():
    queue, _ = opened(2, mean_s=0.01)
    (chunk,) = waiting(queue)
    queue.record(chunk, 0, answer(outline(2), {0: NO_SANDBOX, 1: WRONG}))
    again = queue.next_chunk(1, [0, 1])
    assert again.samples == (0,)
    assert queue.record(again, 1, answer(outline(2), {0: RIGHT})).verdicts == (RIGHT, WRONG)


def test_a_fault_of_the_problem_is_not_tried_again():
    queue, _ = opened(1)
    (chunk,) = waiting(queue)
    assert queue.record(chunk, 0, answer(outline(1), {0: BAD_TESTS})).verdicts == (BAD_TESTS,)
    assert queue.retries == 0


def test_a_second_verdict_for_a_completion_is_an_error():
    queue, _ = opened(2, mean_s=1.0)
    (first, _) = waiting(queue)
    queue.record(first, 0, answer(outline(2), {0: RIGHT}))
    with pytest.raises(AssertionError, match="already has a verdict"):
        queue.record(first, 0, answer(outline(2), {0: RIGHT}))


def random_answer(rng, samples):
    """None if the worker dies, else verdicts for the first of its samples."""
    if rng.randrange(4) == 0:
        return None
    done = rng.randint(1, len(samples)) if samples else 0
    return {s: rng.choice([RIGHT, WRONG, NO_SANDBOX, BAD_TESTS]) for s in samples[:done]}


# One seed for each example: a thousand draws of Hypothesis for each would take a hundred times as long.
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_every_completion_gets_exactly_one_verdict_if_any_workers_die(seed):
    rng = random.Random(seed)
    groups = [[rng.random() < 0.5 for _ in range(rng.randint(1, 6))] for _ in range(rng.randint(0, 5))]
    pending, graded, tries = list(enumerate(groups)), [], Counter()
    queue, numbers = GradingQueue(Costs()), count()
    workers, at_work = [next(numbers) for _ in range(rng.randint(1, 3))], {}
    while pending or queue.open_groups:
        if pending and rng.random() < 0.5:
            queue.add(pending.pop(0))
        for worker in workers:
            if worker not in at_work and (chunk := queue.next_chunk(worker, workers)):
                at_work[worker] = chunk
        if not at_work:
            assert pending, "no worker is busy and no group is left"
            continue
        worker = rng.choice(sorted(at_work))
        chunk = at_work.pop(worker)
        number, cut = queue.handle(chunk)
        # Completions that were not cut have one of two texts in the groups with an odd number.
        same_as = [i if truncated or number % 2 == 0 else i % 2 for i, truncated in enumerate(cut)]
        same_as = [first if not cut[first] else i for i, first in enumerate(same_as)]
        runnable = [i for i, truncated in enumerate(cut) if not truncated and same_as[i] == i]
        samples = runnable if chunk.samples is None else list(chunk.samples)
        tries.update((number, sample) for sample in samples)
        came = random_answer(rng, samples)
        if came is not None:
            group = outline(len(cut), [i for i, t in enumerate(cut) if t], same_as=same_as)
            found = queue.record(chunk, worker, answer(group, came))
        else:
            workers[workers.index(worker)] = next(numbers)
            if chunk.samples in (None, ()) and chunk.tries + 1 == MAX_TRIES:
                with pytest.raises(ClusterError):
                    queue.worker_died(chunk, worker)
                return
            found = queue.worker_died(chunk, worker)
        graded += [found] if found else []
    assert sorted(g.rollouts[0] for g in graded) == list(range(len(groups)))
    for group in graded:
        number, cut = group.rollouts
        assert len(group.verdicts) == len(cut)
        for verdict, truncated in zip(group.verdicts, cut, strict=True):
            assert (verdict == Verdict("wrong", "truncated")) == truncated


# --- long jobs ---


def simulate(jobs, workers):
    """The time at which each group was complete, by a simulated clock. `jobs` are the seconds of each completion."""
    queue, done, events, idle, left = GradingQueue(Costs()), {}, [], list(range(workers)), list(enumerate(jobs))
    now = 0.0
    while True:
        for worker in list(idle):
            chunk = queue.next_chunk(worker, range(workers))
            if chunk is None and left:
                queue.add(left.pop(0))
                chunk = queue.next_chunk(worker, range(workers))
            if chunk is not None:
                idle.remove(worker)
                heapq.heappush(events, (now + work(queue, chunk)[0], worker, chunk))
        if not events:
            return done
        now, worker, chunk = heapq.heappop(events)
        idle.append(worker)
        number, seconds = queue.handle(chunk)
        verdicts = work(queue, chunk)[1]
        if queue.record(chunk, worker, answer(outline(len(seconds)), verdicts)):
            done[number] = now


def work(queue, chunk: Chunk):
    """Works like a worker: one completion after the other until CHUNK_S have passed."""
    _, seconds = queue.handle(chunk)
    samples = range(len(seconds)) if chunk.samples is None else chunk.samples
    spent, verdicts = 0.0, {}
    for sample in samples:
        spent += seconds[sample]
        verdicts[sample] = Verdict("correct", "", seconds[sample])
        if spent > CHUNK_S:
            break
    return spent, verdicts


def test_a_long_job_delays_only_its_own_group():
    short = [0.01] * 8
    jobs = [[100.0, *short[1:]], *([short] * 50)]
    done = simulate(jobs, workers=2)
    assert done.pop(0) == pytest.approx(100.0, abs=0.5)
    # The other worker takes 4.07 s for 50 groups of 0.08 s and the 7 short completions of the first group.
    assert max(done.values()) == pytest.approx(4.07, abs=0.3)


def test_the_neighbours_of_a_long_job_do_not_wait_for_it():
    """All eight were estimated as cheap and are in one chunk; the second takes 50 s: the others go to other workers."""
    jobs = [[0.001] * 8] * 20 + [[0.001, 50.0] + [10.0] * 6]
    done = simulate(jobs, workers=7)
    # Without a new chunk they would take 110 s.
    assert done[20] == pytest.approx(60.0, abs=1.0)


def test_work_is_divided_by_seconds_not_by_number():
    """One group of eight slow completions on four workers: two rounds, not eight."""
    done = simulate([[1.0] * 8], workers=4)
    # The first chunk has one completion: the kind has not been measured.
    assert done[0] == pytest.approx(3.0, abs=0.1)
