"""Functions over a list: keep some of the numbers, map them, gather them.

xs --> keep ("the x in xs above 5") --> map (3*x+1) --> gather (sum, list, largest, smallest, count)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from vt_ray.data.makers.family import Family, Task, call_tests, code_task


@dataclass(frozen=True, slots=True)
class _Keep:
    words: str
    condition: str
    holds: Callable[[int], bool]
    edge: int


def _keep(word: str, k: int) -> _Keep:
    keeps = {
        "all": lambda: _Keep("x in xs", "", lambda x: True, 0),
        "even": lambda: _Keep("even x in xs", "x%2==0", lambda x: x % 2 == 0, 0),
        "odd": lambda: _Keep("odd x in xs", "x%2==1", lambda x: x % 2 == 1, 1),
        "above": lambda: _Keep(f"x in xs above {k}", f"x>{k}", lambda x: x > k, k),
        "below": lambda: _Keep(f"x in xs below {k}", f"x<{k}", lambda x: x < k, k),
        "multiple": lambda: _Keep(f"x in xs divisible by {k}", f"x%{k}==0", lambda x: x % k == 0, k),
    }
    return keeps[word]()


def _mapped(scale: int, shift: int) -> str:
    """Returns the text of scale*x+shift; scale 0 means the square."""
    front = "x*x" if scale == 0 else "x" if scale == 1 else f"{scale}*x"
    return front + (f"{shift:+d}" if shift else "")


@dataclass(frozen=True, slots=True)
class _Gather:
    words: str
    tail: str
    call: str
    loop: tuple[str, str, str]
    value: Callable[[list[int]], Any]


# In `call`, @ is replaced by the values; in `loop`, by one value. `loop` is (start, step, returned expression).
_GATHER = {
    "sum": _Gather("sum of", "", "sum(@)", ("t = 0", "t += @", "t"), sum),
    "list": _Gather("list of", "", "[@]", ("out = []", "out.append(@)", "out"), list),
    "count": _Gather("count of", "", "sum(1 @)", ("t = 0", "t += 1", "t"), len),
    "max": _Gather(
        "largest of", " (0 if none)", "max((@), default=0)",
        ("out = []", "out.append(@)", "max(out) if out else 0"), lambda v: max(v, default=0),
    ),
    "min": _Gather(
        "smallest of", " (0 if none)", "min((@), default=0)",
        ("out = []", "out.append(@)", "min(out) if out else 0"), lambda v: min(v, default=0),
    ),
}  # fmt: skip


def _list_function(dice: Random, gather: str, keep: str, k: int, scale: int, shift: int) -> Task:
    kept, how, each = _keep(keep, k), _GATHER[gather], _mapped(scale, shift)
    goal = f"the {how.words} {'the' if each == 'x' else each + ' for the'} {kept.words}{how.tail}"
    lead = dice.choice(("Write f(xs) that returns", "Define f(xs) returning"))
    where = f" if {kept.condition}" if kept.condition else ""
    inside = f"for x in xs{where}" if gather == "count" else f"{each} for x in xs{where}"
    direct = f"def f(xs): return {how.call.replace('@', inside)}"

    def value(x: int) -> int:
        return (x * x if scale == 0 else scale * x) + shift

    def gathered(xs: list[int]) -> Any:
        return how.value([value(x) for x in xs if kept.holds(x)])

    example = [kept.edge + step for step in (1, 0, -1, -2)]
    passed = [value(x) for x in example if kept.holds(x)]
    shown = f"{example}: {passed} gives {gathered(example)}" if gather != "list" else f"{example} gives {passed}"
    tests = call_tests([([xs], gathered(xs)) for xs in _inputs(dice, kept.edge)])
    question = f"{lead} {goal}."
    return code_task(question, tests, direct, _in_stages(kept, each, gather), (shown, _as_loop(kept, each, how)))


def _in_stages(kept: _Keep, each: str, gather: str) -> tuple[str, str]:
    """Returns a plan, and the program with one list for each stage."""
    lines, plan = ["def f(xs):"], []
    if kept.condition:
        lines.append(f"    a = [x for x in xs if {kept.condition}]")
        plan.append("keep")
    if each != "x":
        lines.append(f"    a = [{each} for x in {'a' if plan else 'xs'}]")
        plan.append("map")
    ends = {
        "sum": "sum(a)",
        "list": "a",
        "count": "len(a)",
        "max": "max(a, default=0)",
        "min": "min(a, default=0)",
    }
    return ", ".join([*plan, gather]), "\n".join([*lines, f"    return {ends[gather]}"])


def _as_loop(kept: _Keep, each: str, how: _Gather) -> str:
    start, step, result = how.loop
    indent = "            " if kept.condition else "        "
    test = [f"        if {kept.condition}:"] if kept.condition else []
    lines = ["def f(xs):", f"    {start}", "    for x in xs:", *test, f"{indent}{step.replace('@', each)}"]
    return "\n".join([*lines, f"    return {result}"])


def _inputs(dice: Random, edge: int) -> list[list[int]]:
    """Returns the empty list, lists around the edge, with negatives and zero, and two random lists."""
    draw = [[dice.randrange(-20, 31) for _ in range(size)] for size in (5, 8)]
    return [[], [edge, edge - 1, edge + 1], [0, -3, -8, 2 * edge], *draw]


_KEEPS = [
    ("even", 0), ("odd", 0),
    *product(("above", "below"), range(-5, 21)),
    *product(["multiple"], range(3, 11)),
]  # fmt: skip
_MAPS = [m for m in product(range(0, 10), range(-9, 10)) if m != (1, 0)]


def _keep_only() -> Iterator[tuple[str | int, ...]]:
    for gather, keep in product(_GATHER, _KEEPS):
        yield gather, *keep, 1, 0


def _map_only() -> Iterator[tuple[str | int, ...]]:
    for gather, each in product(("sum", "list", "max", "min"), _MAPS):
        yield gather, "all", 0, *each


def _keep_and_map() -> Iterator[tuple[str | int, ...]]:
    for gather, keep, each in product(("sum", "list", "max", "min"), _KEEPS, _MAPS):
        yield gather, *keep, *each


FAMILIES = (
    Family("list", 1, _keep_only, _list_function),
    Family("list", 2, _map_only, _list_function),
    Family("list", 3, _keep_and_map, _list_function),
)
