"""Code: programs that print a formula and functions of numbers, with the list and word programs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random

from vt_ray.data.makers import list_programs, word_programs
from vt_ray.data.makers.arithmetic import operand
from vt_ray.data.makers.family import Family, Task, call_tests, code_task, stdio_tests

_DIGITS = [n for n in range(-9, 10) if n]
_PAIR = "a,b=map(int,input().split())"


def _formula(dice: Random, _form: str, k: int, c: int) -> Task:
    """Print k*n+c."""
    inputs = [0, 1, -dice.randrange(2, 10), *dice.sample(range(2, 60), 2)]
    tests = stdio_tests((str(n), k * n + c) for n in inputs)
    steps = ("multiply, then add", f"n = int(input())\nm = {k}*n\nprint(m{c:+d})")
    n = inputs[-1]
    example = f"n={n}: {k}*{n}={k * n}, {k * n}{c:+d}={k * n + c}"
    loop = f"n = int(input())\nt = {c}\nfor i in range({k}):\n    t += n\nprint(t)"
    question = dice.choice((f"Read n. Print {k}*n{c:+d}.", f"Print {k}*n{c:+d} for the integer n read."))
    return code_task(question, tests, f"print({k}*int(input()){c:+d})", steps, (example, loop))


def _formula_of_two(dice: Random, _form: str, j: int, k: int) -> Task:
    """Print j*a+k*b."""
    inputs = _pairs(dice, 0)
    tests = stdio_tests((f"{a} {b}", j * a + k * b) for a, b in inputs)
    formula = f"{j}*a{k:+d}*b"
    steps = (
        "two products, then the sum",
        f"a, b = map(int, input().split())\np = {j}*a\nq = {k}*b\nprint(p+q)",
    )
    a, b = inputs[-1]
    example = f"a={a}, b={b}: {j}*{operand(a)}{k:+d}*{operand(b)}={j * a + k * b}"
    loop = f"t = 0\nw = [{j}, {k}]\nfor i, x in enumerate(input().split()):\n    t += w[i]*int(x)\nprint(t)"
    question = dice.choice((f"Read a and b from one line. Print {formula}.", f"One line has a and b. Print {formula}."))
    return code_task(question, tests, f"{_PAIR}\nprint({formula})", steps, (example, loop))


def _formula_by_case(dice: Random, _form: str, j: int, k: int, c: int) -> Task:
    """Print j*a when a>b+c, else k*b."""
    bound = f"b{c:+d}" if c else "b"
    inputs = _pairs(dice, c)
    tests = stdio_tests((f"{a} {b}", j * a if a > b + c else k * b) for a, b in inputs)
    read = "a, b = map(int, input().split())"
    steps = ("choose, then print", f"{read}\nr = {k}*b\nif a>{bound}:\n    r = {j}*a\nprint(r)")
    a, b = inputs[-1]
    holds = a > b + c
    example = f"a={a}, b={b}: a>{b + c} {holds}, so {j * a if holds else k * b}"
    branches = f"{read}\nd = a-b\nif d>{c}:\n    print({j}*a)\nelse:\n    print({k}*b)"
    question = f"Read a and b from one line. If a>{bound} print {j}*a, else {k}*b."
    direct = f"{_PAIR}\nprint({j}*a if a>{bound} else {k}*b)"
    return code_task(question, tests, direct, steps, (example, branches))


def _pairs(dice: Random, gap: int) -> list[tuple[int, int]]:
    """Returns pairs with a = b + gap, just above it, far below it, with a zero, and a random pair."""
    b = dice.randrange(2, 30)
    return [
        (b + gap, b),
        (b + gap + 1, b),
        (-dice.randrange(20, 40), b),
        (0, -b),
        (dice.randrange(-9, 30), b + 3),
    ]


def _linear_function(dice: Random, _form: str, j: int, k: int, c: int) -> Task:
    """f(a, b) = j*a+k*b+c."""
    inputs = _pairs(dice, c)
    tests = call_tests(([a, b], j * a + k * b + c) for a, b in inputs)
    formula = f"{j}*a{k:+d}*b{c:+d}"
    steps = ("products, then the sum", f"def f(a, b):\n    p = {j}*a\n    q = {k}*b\n    return p+q{c:+d}")
    a, b = inputs[-1]
    example = f"f({a},{b}): {j * a}{k * b:+d}{c:+d}={j * a + k * b + c}"
    loop = f"def f(a, b):\n    t = {c}\n    for w, x in (({j}, a), ({k}, b)):\n        t += w*x\n    return t"
    question = dice.choice((f"Write f(a, b) that returns {formula}.", f"Define f(a, b) returning {formula}."))
    return code_task(question, tests, f"def f(a, b): return {formula}", steps, (example, loop))


def _extreme_function(dice: Random, which: str, j: int, k: int, c: int) -> Task:
    """f(a, b) = max or min of j*a and k*b+c."""
    choose, sign = (max, ">") if which == "max" else (min, "<")
    inputs = _pairs(dice, c)
    tests = call_tests(([a, b], choose(j * a, k * b + c)) for a, b in inputs)
    first, second = f"{j}*a", f"{k}*b{c:+d}"
    steps = (
        f"both, then {which}",
        f"def f(a, b):\n    p = {first}\n    q = {second}\n    return {which}(p, q)",
    )
    a, b = inputs[-1]
    example = f"f({a},{b}): {j * a} and {k * b + c}, {which} {choose(j * a, k * b + c)}"
    branch = f"def f(a, b):\n    r = {second}\n    if {first}{sign}r:\n        r = {first}\n    return r"
    words = "larger" if which == "max" else "smaller"
    question = dice.choice(
        (
            f"Write f(a, b) that returns the {words} of {first} and {second}.",
            f"Define f(a, b): the {words} of {first} and {second}.",
        )
    )
    direct = f"def f(a, b): return {which}({first}, {second})"
    return code_task(question, tests, direct, steps, (example, branch))


def _counting_function(dice: Random, gather: str, k: int, r: int) -> Task:
    """f(n) = sum, count or sum of squares of all i in 1..n with i%k==r."""
    each = {"sum": "i", "count": "1", "squares": "i*i"}[gather]
    words = {"sum": "sum of the", "count": "count of", "squares": "sum of i*i for the"}[gather]

    def value(n: int) -> int:
        found = [i for i in range(1, n + 1) if i % k == r]
        return {"sum": sum(found), "count": len(found), "squares": sum(i * i for i in found)}[gather]

    inputs = [0, 1, k, 3 * k + r, dice.randrange(10, 40)]
    tests = call_tests(([n], value(n)) for n in inputs)
    kept = f"def f(n):\n    a = [i for i in range(1, n+1) if i%{k}=={r}]\n"
    end = {"sum": "sum(a)", "count": "len(a)", "squares": "sum(i*i for i in a)"}[gather]
    steps = (f"keep, then {gather}", f"{kept}    return {end}")
    n = inputs[3]
    found = [i for i in range(1, n + 1) if i % k == r]
    example = f"f({n}): i in {found} gives {value(n)}"
    loop = f"def f(n):\n    t = 0\n    for i in range({r or k}, n+1, {k}):\n        t += {each}\n    return t"
    question = dice.choice(
        (
            f"Write f(n) that returns the {words} i from 1 to n with i%{k}=={r}.",
            f"Define f(n): the {words} i in 1..n with i%{k}=={r}.",
        )
    )
    direct = f"def f(n): return sum({each} for i in range(1, n+1) if i%{k}=={r})"
    return code_task(question, tests, direct, steps, (example, loop))


def _formula_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("one", k, c) for k, c in product(range(2, 21), range(-20, 21)) if c)


def _formula_of_two_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("two", j, k) for j, k in product(range(2, 21), range(-20, 21)) if abs(k) > 1)


def _formula_by_case_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("case", j, k, c) for j, k, c in product(range(2, 10), range(2, 10), range(-9, 10)) if j != k)


def _linear_function_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("linear", j, k, c) for j, k, c in product(range(2, 10), _DIGITS, _DIGITS) if abs(k) > 1)


def _extreme_function_stock() -> Iterator[tuple[str | int, ...]]:
    yield from (("max", j, k, c) for j, k, c in product(range(2, 10), range(2, 10), _DIGITS))
    yield from (("min", j, k, c) for j, k, c in product(range(2, 10), range(2, 10), _DIGITS))


def _counting_function_stock() -> Iterator[tuple[str | int, ...]]:
    for gather, k in product(("sum", "count", "squares"), range(2, 21)):
        yield from ((gather, k, r) for r in range(k))


FAMILIES = (
    Family("formula", 1, _formula_stock, _formula),
    Family("formula", 2, _formula_of_two_stock, _formula_of_two),
    Family("formula", 3, _formula_by_case_stock, _formula_by_case),
    Family("number", 1, _linear_function_stock, _linear_function),
    Family("number", 2, _extreme_function_stock, _extreme_function),
    Family("number", 3, _counting_function_stock, _counting_function),
    *list_programs.FAMILIES,
    *word_programs.FAMILIES,
)
