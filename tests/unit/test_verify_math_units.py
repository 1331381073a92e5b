r"""Units and percentages: the words that do not change a number. No cluster, no child process."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vt_ray.verify.mathematics.equality import ExactOnly, Undecided, same_answer
from vt_ray.verify.mathematics.unit_lists import ABBREVIATIONS, CLOSING, COUNTED, FACTORS, UNIT_NAMES, counted_noun
from vt_ray.verify.mathematics.units import split_unit

SAME = [
    ("12", r"12\text{ ways}"),
    ("12", r"12\text{ (ways)}"),
    ("12", "12 distinct integers"),
    ("12", r"12\text{ possible values}"),
    ("8", r"8\text{ people in total}"),
    ("8", r"8\text{ apples left}"),
    ("8", "8 people per hour"),
    ("8", r"8\text{ per day}"),
    ("8", r"8\text{ more cookies}"),
    (r"\$8", r"8\text{ dollars each}"),
    ("8", r"8\text{ kg}\cdot\text{m}^2"),
    ("6", r"6\text{ feet tall}"),
    ("3", "3 cups of flour"),
    (r"34\text{ cm}^2", "34 square cm"),
    (r"34\text{ cm}^2", r"34\text{ cm squared}"),
    (r"34\text{ sq. units}", "34 sq. units"),
    (r"\frac{3}{4}", r"\frac34\text{ of a cup}"),
    (r"\frac{3}{4}", r"\frac{3}{4} cup"),
    (r"20\pi", r"20\pi square units"),
    (r"20\pi", r"20\pi cm^2"),
    (r"5\text{ m/s}", "5 m/s"),
    (r"5\text{ m/s}", r"5\,\mathrm{m\,s^{-1}}"),
    (r"5\text{ m/s}", r"5\text{ meters per second}"),
    (r"60\text{ mph}", "60 miles/hour"),
    (r"20^\circ\text{C}", "20°C"),
    (r"20^\circ\text{C}", r"20\text{ degrees Celsius}"),
    (r"145^\circ", "145^o"),
    (r"145^\circ", r"145\deg"),
    (r"1.85\ \text{USD}", r"\$1.85"),
    (r"\$18.90", r"\text{USD }18.90"),
    ("5", r"US\$5"),
    (r"5.4\text{ cents}", "5.4¢"),
    ("5000000", "5 million"),
    ("5,200,000", r"\$5.2\text{ million}"),
    ("60", r"5\text{ dozen eggs}"),
    ("9, 10", r"9 \text{ chickens and } 10 \text{ rabbits}"),
    ("9, 10", "9 chickens and 10 rabbits"),
]
# No word of these is a unit, or it is another unit.
DIFFERENT = [
    *(
        ("5", rf"5\text{{ {words} }}")
        for words in (
            "doubled",
            "quadrillion",
            "million",
            "grand",
            "gross",
            "k",
            "invalid",
            "excluded",
            "cannot be right",
            "doesn't work",
            "omega",
            "xy",
            "permille",
            "ppm",
            "more",
            "more or less",
            "per",
            "more than 7 apples",
            "factorial",
            "squared",
            "reciprocal",
            "of 6",
            "times two",
            "apples minus one",
            "or six apples",
        )
    ),
    ("5", "5 doubled"),
    ("5", "5cap"),
    ("5", r"5\mathrm{ab}"),
    ("5", r"5\text{ apples}, 6\text{ pears}"),
    (r"\frac{1}{2}", r"\frac{1}{2} doubled"),
    (r"5\text{ million}", "5"),
    (r"5\text{ m/s}", r"5\text{ m}"),
    (r"5\text{ m/s}", r"5\text{ km/h}"),
    (r"5\text{ mW}", r"5\text{ MW}"),
    (r"5\text{ boys}", r"5\text{ girls}"),
    (r"20^\circ\text{C}", r"20^\circ\text{F}"),
    (r"34\text{ cm}^2", "34 cm"),
    (r"34\text{ square units}", "34 cm"),
    ("5\\text{ cents}", r"\$5"),
    ("9, 10", "9 chickens and 11 rabbits"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_a_unit_leaves_the_number_as_it_is(gold, answer):
    assert accepted(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_a_word_that_is_no_unit_makes_another_answer(gold, answer):
    assert not accepted(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("60", r"60\%", True),
        (r"10\%", "10", True),
        (r"10\%", "0.1", True),
        (r"10\%", r"\frac{1}{10}", True),
        (r"237.5\%", "237.5", True),
        (r"33\frac{1}{3}\%", r"\frac{1}{3}", True),
        ("0.56=56\\%", r"56\%", True),
        ("0.56=56\\%", "0.56", True),
        (r"0.5\%", "0.005", True),
        # Below 1, a number that lost its sign of percent could be the value.
        ("0.5", r"0.5\%", False),
        (r"0.5\%", "0.5", False),
        (r"\frac{1}{2}", r"\frac{1}{2}\%", False),
        ("1", r"1\%", False),
        (r"10\%", "100", False),
        (r"10\%", "0.01", False),
        (r"10\%", r"10\text{ dollars}", False),
        (r"90\%", r"90^\circ", False),
        ("12", r"20-8\%", False),
        ("10", r"10\%\%", False),
        ("12_3", r"12_3\%", False),
        ("0b101", r"0b101\%", False),
        ("4", r"(\%", False),
    ],
)
def test_a_percentage_above_one_is_its_value_or_its_number(gold, answer, same):
    assert accepted(gold, answer) is same


def accepted(gold: str, answer: str) -> bool:
    try:
        return same_answer(gold, answer, ExactOnly())
    except Undecided:
        return False


def test_no_listed_word_is_missed():
    assert [word for word in (*COUNTED, *UNIT_NAMES) if not (split_unit(rf"2\text{{ {word}}}") or ("", ""))[1]] == []


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 10**6), st.sampled_from(sorted(COUNTED)), st.sampled_from(sorted(UNIT_NAMES)))
def test_every_listed_word_is_read_as_a_unit_and_changes_nothing(number, noun, unit):
    for word in (noun, unit):
        value, read = split_unit(rf"{number}\text{{ {word}}}") or ("", "")
        assert (value, bool(read)) == (str(number), True)
        assert accepted(str(number), rf"{number}\text{{ {word}}}")
        assert not accepted(str(number + 1), rf"{number}\text{{ {word}}}")


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=12))
def test_a_word_on_no_list_is_no_unit(word):
    listed = {*UNIT_NAMES, *ABBREVIATIONS, *FACTORS, *CLOSING, "th", "st", "nd", "rd"}
    assume(word not in listed and counted_noun(word) is None)
    assert split_unit(rf"5\text{{ {word}}}") is None


def test_singular_and_plural_are_one_noun():
    for one, many in [("apple", "apples"), ("box", "boxes"), ("berry", "berries"), ("loaf", "loaves"), ("knife", None)]:
        assert counted_noun(one) == many
    assert counted_noun("person") == counted_noun("people") == "people"
