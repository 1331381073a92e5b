"""Subdomains of the problems of files: from a file of `vt-tools classify`, and renamed by `data.subdomain_map`.

the row's own, or its source's --data.subdomain_file--> classified --data.subdomain_map--> subdomain
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vt_ray.config import DataConfig
from vt_ray.data.layouts.layout import question_hash
from vt_ray.progress import console
from vt_ray.records import Problem

# An error names at most this many subdomains, the most frequent first.
_NAMED = 10


def with_subdomains(sets: Mapping[str, list[Problem]], data: DataConfig) -> dict[str, list[Problem]]:
    """Returns the problem sets with the subdomains that `data.subdomain_file` and `data.subdomain_map` give.

    Generated problems keep theirs. Raises ValueError if the file has no question of the sets, and for subdomains that
    are neither a key nor a value of the map.
    """
    found = dict(sets)
    if data.subdomain_file:
        found = _classified(found, data.subdomain_file)
    if data.subdomain_map:
        found = _mapped(found, _names(data.subdomain_map))
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


def _classified(sets: Mapping[str, list[Problem]], path: str) -> dict[str, list[Problem]]:
    """Returns the sets with the subdomains of the file `path`. Prints how many problems of files it does not have."""
    entries = read_subdomain_file(Path(path))
    from_files = missing = 0

    def classified(problem: Problem) -> Problem:
        nonlocal from_files, missing
        if not problem.row:
            return problem
        from_files += 1
        subdomain = entries.get(problem.question_id) or entries.get(question_hash(problem))
        missing += not subdomain
        return replace(problem, subdomain=subdomain) if subdomain else problem

    found = {split: [classified(p) for p in problems] for split, problems in sets.items()}
    if missing == from_files:
        raise ValueError(
            f"data.subdomain_file={path}: none of its {len(entries):,} entries is one of the {from_files:,} questions "
            "of the files: make it from these files with vt-tools classify"
        )
    if missing:
        console.print(
            f"{path}: no entry for {missing:,} of {from_files:,} questions: they keep their own subdomain",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return found


def _mapped(sets: Mapping[str, list[Problem]], names: Mapping[str, str]) -> dict[str, list[Problem]]:
    _refuse_unknown(sets, names)
    return {
        split: [replace(p, subdomain=names[p.subdomain.casefold()]) if p.row else p for p in problems]
        for split, problems in sets.items()
    }


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


def _refuse_unknown(sets: Mapping[str, list[Problem]], names: Mapping[str, str]) -> None:
    found = Counter(p.subdomain for problems in sets.values() for p in problems if p.row)
    unknown = [(name, count) for name, count in found.most_common() if name.casefold() not in names]
    if unknown:
        listed = ", ".join(f"{name!r} ({count:,})" for name, count in unknown[:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"data.subdomain_map has no entry for the subdomains {listed}{more}: add each, also with its own name as "
            "its value if it keeps that name"
        )
