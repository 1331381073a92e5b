"""The made problems of a split, and a balanced draw from them.

canonical key --sha256--> split          fixed: the splits are disjoint for every seed and count
(family, level) cells --> one from each in turn --> problems
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from vt_ray.data.makers import algebra, calculus, descriptive_statistics, geometry, programs
from vt_ray.data.makers.family import Family, Parameters
from vt_ray.records import Problem

_FAMILIES: dict[str, tuple[Family, ...]] = {
    "algebra": algebra.FAMILIES,
    "geometry": geometry.FAMILIES,
    "calculus": calculus.FAMILIES,
    "statistics": descriptive_statistics.FAMILIES,
    "code": programs.FAMILIES,
}
SUBDOMAINS = tuple(_FAMILIES)
SPLITS = ("train", "probe", "test")
LEVELS = (1, 2, 3)

_Cell = tuple[Family, list[Parameters]]  # one family at one level, with its parameters in one split


def split_of(key: str) -> str:
    """Returns the split of a canonical key: 80% train, 10% probe, 10% test."""
    tenth = int.from_bytes(sha256(key.encode()).digest()[:4], "big") % 10
    return ("test", "probe")[tenth] if tenth < 2 else "train"


@lru_cache(maxsize=len(SUBDOMAINS))
def _cells(subdomain: str) -> dict[str, list[_Cell]]:
    """Returns all problems of a subdomain, by split."""
    cells: dict[str, list[_Cell]] = {split: [] for split in SPLITS}
    for family in _FAMILIES[subdomain]:
        stock: dict[str, list[Parameters]] = {split: [] for split in SPLITS}
        for parameters in family.parameters():
            stock[split_of(family.key(subdomain, parameters))].append(parameters)
        for split in SPLITS:
            cells[split].append((family, stock[split]))
    return cells


def count_problems(subdomain: str, split: str, levels: Sequence[int] = LEVELS, families: Sequence[str] = ()) -> int:
    """Returns the number of distinct problems. Raises ValueError as `make_problems` does."""
    return sum(len(stock) for _, stock in _chosen(subdomain, split, levels, families))


def make_problems(
    subdomain: str,
    split: str,
    count: int,
    seed: int,
    levels: Sequence[int] = LEVELS,
    families: Sequence[str] = (),
) -> list[Problem]:
    """Draw `count` distinct problems, spread evenly over the levels and over `families` (names; empty: all).

    The same arguments give the same list in every process; a smaller count gives the beginning of the list. The splits
    are disjoint for all seeds. Raises ValueError for an unknown name or level, or if fewer problems exist.
    """
    cells = _chosen(subdomain, split, levels, families)
    existing = sum(len(stock) for _, stock in cells)
    if not 1 <= count <= existing:
        raise ValueError(
            f"count={count} asked, but {subdomain!r} has {existing} problems in split {split!r} at levels "
            f"{sorted(set(levels))}: ask for 1 to {existing}, or allow more levels or families"
        )
    dice = random.Random(f"{subdomain}/{split}/{seed}")
    shuffled = [(family, dice.sample(stock, len(stock))) for family, stock in cells]
    return [family.problem(subdomain, parameters) for family, parameters in _in_turns(dice, shuffled, count)]


def number_twin(problem: Problem, rng: random.Random) -> Problem | None:
    """Returns another problem of the same family, level and split, with the question id of `problem`.

    Its numbers and its answer are different; its wording may be. Returns None for a problem that was not made here.
    """
    subdomain, _, rest = problem.question_id.partition("/")
    if problem.source != "builtin" or subdomain not in _FAMILIES:
        return None
    own = split_of(problem.question_id)
    for family, stock in _cells(subdomain)[own]:
        if family.level == problem.level and rest.startswith(f"{family.name}/"):
            others = [p for p in stock if family.key(subdomain, p) != problem.question_id]
            twins = (family.problem(subdomain, p) for p in rng.sample(others, min(len(others), 20)))
            other = next((twin for twin in twins if twin.question != problem.question), None)
            return replace(other, question_id=problem.question_id) if other else None
    return None


def _in_turns(dice: random.Random, cells: list[_Cell], count: int) -> list[tuple[Family, Parameters]]:
    """Returns one problem of each cell in turn, in a new order each round, until `count`; small cells end first."""
    drawn: list[tuple[Family, Parameters]] = []
    for turn in range(max(len(stock) for _, stock in cells)):
        open_cells = [(family, stock[turn]) for family, stock in cells if turn < len(stock)]
        drawn += dice.sample(open_cells, len(open_cells))
        if len(drawn) >= count:
            break
    return drawn[:count]


def _chosen(subdomain: str, split: str, levels: Sequence[int], families: Sequence[str]) -> list[_Cell]:
    _check_names(subdomain, split, levels)
    known = {family.name for one in _FAMILIES.values() for family in one}
    if unknown := sorted(set(families) - known):
        raise ValueError(f"unknown family {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    return [
        (family, stock)
        for family, stock in _cells(subdomain)[split]
        if family.level in levels and (not families or family.name in families)
    ]


def _check_names(subdomain: str, split: str, levels: Sequence[int]) -> None:
    if subdomain not in SUBDOMAINS:
        raise ValueError(f"unknown subdomain {subdomain!r}: choose one of {', '.join(SUBDOMAINS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not levels or not set(levels) <= set(LEVELS):
        raise ValueError(f"levels={list(levels)}: give one or more of {', '.join(map(str, LEVELS))}")
