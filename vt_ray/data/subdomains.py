"""Subdomains of the problems of files: from a file of `vt-tools classify`, and renamed by `data.subdomain_map`.

the row's own, or its source's --data.subdomain_file--> classified --data.subdomain_map--> subdomain
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vt_ray.config import DataConfig
from vt_ray.data.layouts.layout import question_hash
from vt_ray.data.layouts.math_problems import subdomain_of
from vt_ray.progress import console
from vt_ray.records import Problem

# An error names at most this many subdomains, the most frequent first.
_NAMED = 10


def with_subdomains(sets: Mapping[str, list[Problem]], data: DataConfig) -> dict[str, list[Problem]]:
    """Returns the problem sets with the subdomains that `data.subdomain_file` and `data.subdomain_map` give.

    Generated problems keep theirs. Raises ValueError if the file has no question of the sets, and for subdomains that
    are neither a key nor a value of the map.
    """
    if not data.subdomain_file and not data.subdomain_map:
        return dict(sets)
    entries = read_subdomain_file(Path(data.subdomain_file)) if data.subdomain_file else {}
    renamed = _Renamed(entries, _names(data.subdomain_map))
    found = {split: [renamed(p) if p.row else p for p in problems] for split, problems in sets.items()}
    if entries:
        _report_coverage(data.subdomain_file, len(entries), renamed)
    if renamed.unknown:
        listed = ", ".join(f"{name!r} ({count:,})" for name, count in renamed.unknown.most_common(_NAMED))
        more = f" and {len(renamed.unknown) - _NAMED} more" if len(renamed.unknown) > _NAMED else ""
        raise ValueError(
            f"data.subdomain_map has no entry for the subdomains {listed}{more}: add each, also with its own name as "
            "its value if it keeps that name"
        )
    return found


def read_subdomain_file(path: Path) -> dict[str, str]:
    """Returns {question id or question hash: subdomain}. Raises ValueError if the file is not such an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_pairs)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"data.subdomain_file={path}: {error}: make it with vt-tools classify") from error
    if not isinstance(values, dict) or not values:
        raise ValueError(
            f"data.subdomain_file={path}: expected one object {{question id or hash: subdomain}} with at least one "
            "entry: make it with vt-tools classify"
        )
    for key, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(
                f"data.subdomain_file={path}: the subdomain of {key!r} is {value!r:.80}: expected the name of a "
                "subdomain"
            )
    # One object for each name, however many questions have it.
    return {key: sys.intern(value.strip()) for key, value in values.items()}


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        (repeated, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {repeated!r} is there twice")
    return values


class _Renamed:
    """Gives problems of files their subdomains, and counts: `problems`, `missing` in the file, `unknown` to the map."""

    def __init__(self, entries: Mapping[str, str], names: Mapping[str, str]):
        self._entries, self._names = entries, names
        self.problems = self.missing = 0
        self.unknown: Counter[str] = Counter()

    def __call__(self, problem: Problem) -> Problem:
        entry = self._entries and (self._entries.get(problem.question_id) or self._entries.get(question_hash(problem)))
        self.problems += 1
        self.missing += not entry
        subdomain = self._mapped(problem, entry or "") if self._names else entry
        return replace(problem, subdomain=subdomain) if subdomain else problem

    def _mapped(self, problem: Problem, entry: str) -> str:
        """The new name of the subdomain; "" for an unknown one, which is counted."""
        known = entry or problem.subdomain
        for name in (known,) if entry else (*_subjects(problem), known):
            if name.casefold() in self._names:
                return self._names[name.casefold()]
        self.unknown[known] += 1
        return ""


def _subjects(problem: Problem) -> Iterator[str]:
    """The row's own name of the subdomain, before its layout shortened it: Prealgebra of the layout `math`."""
    for name in ("subject", "type"):
        value = (problem.meta or {}).get(name)
        if isinstance(value, str) and subdomain_of(value) == problem.subdomain:
            yield value.strip()


def _report_coverage(path: str, entries: int, renamed: _Renamed) -> None:
    """Raises ValueError if the file has none of the questions; prints how many it lacks."""
    if renamed.missing == renamed.problems:
        raise ValueError(
            f"data.subdomain_file={path}: none of its {entries:,} entries is one of the {renamed.problems:,} questions "
            "of the files: make it from these files with vt-tools classify"
        )
    if renamed.missing:
        console.print(
            f"{path}: no entry for {renamed.missing:,} of {renamed.problems:,} questions, which keep their subdomain",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _names(subdomain_map: Mapping[str, str]) -> dict[str, str]:
    """Returns the map with its keys in lower case, and with each new name, which stays as it is.

    Raises ValueError for an empty name, and if two keys differ in case alone.
    """
    if empty := [key for key, value in subdomain_map.items() if not value.strip()]:
        raise ValueError(f"data.subdomain_map has no name for {empty[0]!r}: give it a subdomain")
    keys = Counter(key.casefold() for key in subdomain_map)
    if repeated := [key for key in subdomain_map if keys[key.casefold()] > 1]:
        raise ValueError(f"data.subdomain_map has the keys {repeated}, which differ in case alone: keep one of them")
    new = {value.casefold(): value for value in subdomain_map.values()}
    return new | {key.casefold(): value for key, value in subdomain_map.items()}
