"""Prompts are assigned to generators so that each group arrives exactly once, even if generators die."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vt_ray.actors.prompt_queue import PromptQueue
from vt_ray.records import Problem, Prompt

PROBLEM = Problem("q", "algebra", "math", "?")


def prompts(count, samples=1, first=0):
    return [Prompt(PROBLEM, (1,), tuple(range(samples)), step=first + i) for i in range(count)]


def steps(assigned):
    """The steps of the prompts that each generator got."""
    return {generator: [prompt.step for _, prompt in given] for generator, given in assigned.items()}


def test_the_least_loaded_generator_is_first_and_no_generator_gets_more_than_1_5_times_its_room():
    queue = PromptQueue(room=8)
    queue.add(prompts(20, samples=2))
    assert steps(queue.assign([0, 1])) == {0: [0, 2, 4, 6, 8, 10], 1: [1, 3, 5, 7, 9, 11]}
    assert (queue.waiting, queue.open) == (8, 20)
    assert queue.assign([0, 1]) == {}


def test_a_generator_gets_the_next_chunk_before_it_is_idle():
    queue = PromptQueue(room=8)
    queue.add(prompts(20))
    held = [ticket for ticket, _ in queue.assign([0])[0]]
    assert len(held) == 12
    queue.delivered(0, held[5])
    assert not queue.has_room([0])
    assert queue.assign([0]) == {}
    queue.delivered(0, held[1])
    assert steps(queue.assign([0])) == {0: [12, 13]}


def test_a_group_larger_than_the_room_is_assigned():
    queue = PromptQueue(room=4)
    queue.add(prompts(2, samples=64))
    assert steps(queue.assign([0])) == {0: [0]}


def test_the_open_prompts_of_a_dead_generator_are_assigned_again_first():
    queue = PromptQueue(room=2)
    queue.add(prompts(6))
    first = queue.assign([0])[0]
    assert [prompt.step for _, prompt in first] == [0, 1, 2]
    queue.delivered(0, first[1][0])
    queue.requeue(0)
    assert steps(queue.assign([7])) == {7: [0, 2, 3]}


def test_a_generator_cannot_deliver_a_prompt_that_it_does_not_hold():
    queue = PromptQueue(room=2)
    queue.add(prompts(1))
    ((ticket, _),) = queue.assign([0])[0]
    queue.requeue(0)
    with pytest.raises(KeyError):
        queue.delivered(0, ticket)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 2**32))
def test_every_group_arrives_exactly_once_if_any_generators_die(sizes, room, seed):
    chance, queue = random.Random(seed), PromptQueue(room)
    living, spawned = [0, 1, 2], 3
    held, done, admitted = {}, [], 0
    while admitted < len(sizes) or queue.open:
        if admitted < len(sizes) and chance.random() < 0.5:
            queue.add(prompts(1, sizes[admitted], first=admitted))
            admitted += 1
        for generator, assigned in queue.assign(living).items():
            held.setdefault(generator, {}).update(assigned)
        busy = [generator for generator in held if held[generator]]
        if busy and chance.random() < 0.1:
            lost = chance.choice(busy)
            del held[lost]
            queue.requeue(lost)
            living = [spawned if generator == lost else generator for generator in living]
            spawned += 1
        elif busy:
            generator = chance.choice(busy)
            ticket = chance.choice(list(held[generator]))
            done.append(held[generator].pop(ticket).step)
            queue.delivered(generator, ticket)
    assert sorted(done) == list(range(len(sizes)))
    assert queue.waiting == 0
