"""Analysis of the text of a `check` test before any program runs."""

from __future__ import annotations

import pytest

from vt_ray.verify.programs.check_analysis import UnreadableTest, analyse_check


@pytest.mark.parametrize(
    ("test", "entry_point", "names", "subjects"),
    [
        ("assert add(1, 2) == 3", "add", ["add"], []),
        ("def check(candidate):\n    assert candidate(1) == 1", "f", ["f"], []),
        ("import math\nassert area(1) == math.pi", "", ["area"], []),
        ("assert helper(f(3)) == sorted([9])", "f", ["f", "helper"], []),
        # Nothing but the shared name is tested.
        ("assert pow(2, 5) == 32", "", [], ["pow"]),
        ("assert abs(pow(2, 5) - 32) < 1e-9", "", [], ["pow"]),
        ("assert add(1, 2) == 3\nassert factorial(5) == 120", "add", ["add"], ["factorial"]),
        ("for n, want in [(0, 1), (5, 120)]:\n    assert factorial(n) == want", "", [], ["factorial"]),
        ("def check(f):\n    assert f(5) == 120\ncheck(factorial)", "", [], ["factorial"]),
        ("c = Counter()\nc.add(3)\nassert c.total == 3", "", [], ["Counter"]),
        # A shared name in an assertion about the program is the test's tool, however the result got there.
        ("want = sorted([3, 1])\nassert f([3, 1]) == want", "", ["f"], []),
        ("out = []\nfor x in [1, 2]:\n    out.append(f(x))\nassert sorted(out) == [1, 2]", "", ["f"], []),
        ("out = []\nheappush(out, f(1))\nassert sorted(out) == [1]", "", ["f"], []),
        ("xs = [3, 1]\nmy_sort(xs)\nassert sorted(xs) == [1, 3]", "", ["my_sort"], []),
        ("assert sum(f(3)) == 3\nassert sum([1, 2]) == 3", "", ["f"], []),
        ("from math import *\nassert gcd(f(4), 6) == 2", "", ["f"], []),
    ],
)
def test_whose_names_they_are(test, entry_point, names, subjects):
    plan = analyse_check(test, entry_point)
    assert (list(plan.names), list(plan.subjects)) == (names, subjects)


@pytest.mark.parametrize(
    ("test", "sees"),
    [
        ("a = [1, 1, 2]\nk = f(a)\nassert k == 2\nassert a[:k] == [1, 2]", True),
        ("a = [3, 1]\nb = f(a)\nassert a == [1, 3] and b == [1, 3]", True),
        ("a = [3, 1]\ni = f(a)\nassert all(x <= a[i] for x in a[:i])", True),
        ("xs = [3, 1]\nassert f(xs) == sorted(xs)", False),
        ("xs = [3, 1]\ngot = f(xs)\nassert got == sorted(xs)", False),
        ("xs = [3, 1]\nn = f(xs)\nassert n == len(xs)", False),
        ("xs = [3, 1]\nwant = sorted(xs)\nassert f(xs) == want", False),
        ("def check(candidate):\n    xs = [3, 1]\n    assert len(candidate(xs)) == len(xs)", False),
        ("xs = [3, 1]\ngot = f(xs)\nfor x in xs:\n    assert x in got", False),
    ],
)
def test_whether_changes_of_an_argument_count(test, sees):
    assert analyse_check(test, "f").sees_changes is sees


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("assert f(1 ==", "never closed"),
        ("assert 1 == 1", "names nothing"),
        ("raise ValueError('no test')", "names nothing"),
        ("import numpy as np\nassert f(np.ones(3)) == 3", "imports numpy"),
        ("assert " + "-" * 100_000 + "1 == f(1)", "nested too deep"),
    ],
)
def test_what_cannot_be_read(test, words):
    with pytest.raises(UnreadableTest, match=words):
        analyse_check(test, "f")


def test_a_package_that_the_test_can_do_without_is_no_fault():
    test = "try:\n    import numpy\nexcept ImportError:\n    numpy = None\nassert f(1) == 1"
    assert analyse_check(test, "f").names == ("f",)
