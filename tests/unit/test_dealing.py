"""Prompts dealt to generators: each group comes exactly once, whoever is lost and whenever."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.actors.dealing import Dealing
from vt_ray.records import Problem, Prompt

PROBLEM = Problem("q", "algebra", "math", "?")


def prompts(count, samples=1, first=0):
    return [Prompt(PROBLEM, (1,), tuple(range(samples)), step=first + i) for i in range(count)]


def steps(dealt):
    """Of each generator, which prompts it was given."""
    return {generator: [prompt.step for _, prompt in given] for generator, given in dealt.items()}


def test_the_least_loaded_comes_first_and_nobody_gets_more_than_half_as_much_again_as_it_runs():
    dealing = Dealing(room=8)
    dealing.admit(prompts(20, samples=2))
    assert steps(dealing.deal([0, 1])) == {0: [0, 2, 4, 6, 8, 10], 1: [1, 3, 5, 7, 9, 11]}
    assert (dealing.waiting, dealing.open) == (8, 20)
    assert dealing.deal([0, 1]) == {}


def test_a_generator_is_given_more_in_chunks_before_it_runs_dry():
    dealing = Dealing(room=8)
    dealing.admit(prompts(20))
    held = [ticket for ticket, _ in dealing.deal([0])[0]]
    assert len(held) == 12
    dealing.delivered(0, held[5])
    assert not dealing.has_room([0])
    assert dealing.deal([0]) == {}
    dealing.delivered(0, held[1])
    assert steps(dealing.deal([0])) == {0: [12, 13]}


def test_a_group_larger_than_the_room_is_dealt_all_the_same():
    dealing = Dealing(room=4)
    dealing.admit(prompts(2, samples=64))
    assert steps(dealing.deal([0])) == {0: [0]}


def test_what_a_lost_generator_has_not_delivered_is_dealt_again_first():
    dealing = Dealing(room=2)
    dealing.admit(prompts(6))
    first = dealing.deal([0])[0]
    assert [prompt.step for _, prompt in first] == [0, 1, 2]
    dealing.delivered(0, first[1][0])
    dealing.lost(0)
    assert steps(dealing.deal([7])) == {7: [0, 2, 3]}


def test_what_a_generator_does_not_have_it_cannot_deliver():
    dealing = Dealing(room=2)
    dealing.admit(prompts(1))
    ((ticket, _),) = dealing.deal([0])[0]
    dealing.lost(0)
    with pytest.raises(KeyError):
        dealing.delivered(0, ticket)


@settings(deadline=None)
@given(st.data())
def test_every_group_comes_exactly_once_whatever_is_lost(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=20))
    dealing = Dealing(room=data.draw(st.integers(1, 12)))
    living, spawned = [0, 1, 2], 3
    held, done, admitted = {}, [], 0
    for _ in range(2000):
        if admitted < len(sizes) and data.draw(st.booleans()):
            dealing.admit(prompts(1, sizes[admitted], first=admitted))
            admitted += 1
        for generator, dealt in dealing.deal(living).items():
            held.setdefault(generator, {}).update(dealt)
        busy = sorted(generator for generator in held if held[generator])
        if busy and data.draw(st.integers(0, 9)) == 0:
            lost = data.draw(st.sampled_from(busy))
            del held[lost]
            dealing.lost(lost)
            living = [spawned if generator == lost else generator for generator in living]
            spawned += 1
        elif busy:
            generator = data.draw(st.sampled_from(busy))
            ticket = data.draw(st.sampled_from(sorted(held[generator])))
            done.append(held[generator].pop(ticket).step)
            dealing.delivered(generator, ticket)
        elif admitted == len(sizes):
            break
    assert sorted(done) == list(range(len(sizes)))
    assert (dealing.open, dealing.waiting) == (0, 0)
