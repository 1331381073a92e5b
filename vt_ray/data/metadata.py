"""The metadata of a row (level, source, solve rate, date, licence), the filter `where`, and the ranges in the report.

fields of a row --row_meta--> {name: short value} --matches--> kept or left out --Ranges--> min and max, or counts
"""

from __future__ import annotations

import datetime
import math
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from vt_ray.data.shared_text import shared
from vt_ray.data.sources.errors import ProblemFileError
from vt_ray.records import Problem

NOT_WHERE = "not in `where`"
LONGEST_VALUE = 100
MOST_NAMES = 40
# A table shows at most so many different texts of a name; of more it shows that there are more.
MOST_VALUES = 12
# Objects of public layouts whose members are metadata too.
_NESTED = ("extra_info", "reward_model", "metadata", "meta")
# A field with one of these words in its name holds a text of the problem, not something about it, ...
_TEXTS = re.compile(
    "answer|attempt|canary|case|choice|code|comment|completion|conversation|correct|description|explanation|feedback|final|gold|generation|"
    "hint|input|key|label|message|option|output|problem|prompt|question|rationale|reasoning|response|revision|"
    "solution|starter|system|target|test|thinking|trajectory|truth"
)
# ... unless it ends in one of these: problem_type, question_source, test_count.
_ABOUT = re.compile(
    "category|count|date|difficulty|domain|format|id|language|length|level|licence|license|rate|score|source|"
    "split|subdomain|subject|subset|tag|token|topic|type|url"
)
_RANGE = ("min", "max")
# Names that `where` may have for a problem without a field of this name.
OF_PROBLEM = ("level", "subdomain", "kind")


def row_meta(fields: Mapping[str, Any], texts: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the short values of a row that are not a text of its problem, by field name.

    Members of extra_info, reward_model, metadata and meta count as fields of the row, with their whole path if the row
    has a field of the same name. `texts` are further fields to leave out. Dates become text in ISO format.
    """
    found: dict[str, Any] = {}
    protected = any("canary" in name.lower() for name in fields)
    if protected:
        found["canary"] = True  # its questions are not shown (decontamination.rows.is_withheld)
    for name, value in _with_nested(fields):
        short = _short_value(value)
        if short is None or name in texts or len(found) == MOST_NAMES or not _is_about(name, protected):
            continue
        found[sys.intern(name)] = short
    return found


def _with_nested(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from fields.items()
    for outer in _NESTED:
        inner = fields.get(outer)
        for name, value in inner.items() if isinstance(inner, dict) else ():
            yield (f"{outer}.{name}" if name in fields else name), value


@lru_cache(maxsize=4096)
def _is_about(name: str, protected: bool) -> bool:
    """Whether a name is that of metadata. `protected` rows, with a canary, show the names in `_ABOUT` only."""
    words = [word.lower().rstrip("s") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    if not words:
        return False
    is_text = any(_TEXTS.fullmatch(word) for word in words)
    return bool(_ABOUT.fullmatch(words[-1])) or not (is_text or protected)


def _short_value(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return shared(text) if 0 < len(text) <= LONGEST_VALUE and "\n" not in text else None
    if isinstance(value, int):
        return value
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime.date) else None


def where_faults(where: Mapping[str, Any]) -> Iterator[str]:
    """Yields the faults of a filter: an empty list, or a range without `min` and `max`."""
    for name, wanted in where.items():
        if isinstance(wanted, Mapping) and (not wanted or not {*wanted} <= {*_RANGE}):
            yield f"where={{{name}: {dict(wanted)}}}: expected {{min: A, max: B}}, one of both or both"
        elif wanted is None or (isinstance(wanted, list | tuple) and not wanted):
            yield f"where={{{name}: {wanted}}} matches no row: give a value, a list of values or {{min: A, max: B}}"


def matches(where: Mapping[str, Any], meta: Mapping[str, Any], problem: Problem | None = None) -> bool:
    """Whether a row has all wanted values. Names in OF_PROBLEM are also those of `problem`, if there is one."""
    return all(any(_fits(v, wanted) for v in _values(name, meta, problem)) for name, wanted in where.items())


def may_match(where: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
    """Whether the metadata allow a match, before the row's problem is read: names of the problem are not compared."""
    return matches({name: wanted for name, wanted in where.items() if name not in OF_PROBLEM}, meta)


def refuse_unknown_names(path: str, where: Mapping[str, Any], names: Collection[str]) -> None:
    """Raises ProblemFileError for a name in `where` that no row has."""
    if unknown := [name for name in where if name not in names]:
        raise ProblemFileError(
            f"{path}: where has {unknown[0]!r}, which no row has: expected names among {', '.join(sorted(names))}"
        )


def _values(name: str, meta: Mapping[str, Any], problem: Problem | None) -> list[Any]:
    values = [meta[name]] if name in meta else []
    # MATH writes "Level 5". A level that the row states is the only one: a layout that ignores it makes it level 1.
    if name == "level" and values and (number := re.fullmatch(r"\D*(\d+)", str(values[0]))):
        return [*values, int(number[1])]
    if problem and name in OF_PROBLEM:
        values.append(getattr(problem, name))
    return values


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return _in_range(value, wanted)
    if isinstance(wanted, list | tuple):
        return any(_fits(value, one) for one in wanted)
    numbers = _number(value), _number(wanted)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return str(value).strip().casefold() == str(wanted).strip().casefold()


def _in_range(value: Any, wanted: Mapping[str, Any]) -> bool:
    """Compares numbers as numbers. Dates are text, and compared with as many digits as the limit has."""
    for end, limit in wanted.items():
        number, bound = _number(value), _number(limit)
        if bound is not None and number is None:
            return False
        below = number < bound if bound is not None and number is not None else str(value) < str(limit)
        cut = str(value)[: len(str(limit))]
        above = number > bound if bound is not None and number is not None else cut > str(limit)
        if (end == "min" and below) or (end == "max" and above):
            return False
    return True


def _number(value: Any) -> float | None:
    """The value as a number; None for a text, and for NaN, which lies in no range."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


class Ranges:
    """The range of each name over many rows: least and greatest number, or the counts of few different texts."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._numbers: dict[str, tuple[float, float]] = {}
        self._texts: dict[str, Counter[str]] = {}

    def add(self, meta: Mapping[str, Any]) -> None:
        for name, value in meta.items():
            self._rows[name] += 1
            if isinstance(value, int | float) and not isinstance(value, bool):
                low, high = self._numbers.get(name, (value, value))
                self._numbers[name] = min(low, value), max(high, value)
            else:
                texts = self._texts.setdefault(name, Counter())
                if str(value) in texts or len(texts) <= MOST_VALUES:
                    texts[str(value)] += 1

    @property
    def names(self) -> list[str]:
        return sorted(self._rows)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """{name: {"rows": n, "min": a, "max": b, "values": {text: rows}}}; "values" is null for many texts."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.names:
            low_high = dict(zip(_RANGE, self._numbers.get(name, ()), strict=False))
            texts = self._texts.get(name)
            values = {"values": dict(texts.most_common()) if len(texts) <= MOST_VALUES else None} if texts else {}
            found[name] = {"rows": self._rows[name], **low_high, **values}
        return found
