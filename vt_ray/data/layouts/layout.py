"""A layout: how the rows of one public data set become problems.

    row --Layout.matches--> layout --Layout.read--> Problem without file and row number --identified--> Problem

Each module of this package holds the layouts of one family in its tuple LAYOUTS, and `table` joins these tuples. To add
a layout, add one entry to such a tuple.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

DEFAULT_SUBDOMAIN = "math"
_ID_FIELDS = ("unique_id", "question_id", "id", "uuid")
# Numbers, words, and each symbol but the marks of prose and of LaTeX's spacing: "x < 2!" and "x > 2" differ.
_SPACING = re.compile(r"\\(?:[,;:! ]|q?quad(?![A-Za-z])|left(?![A-Za-z])|right(?![A-Za-z]))")
_WORDS = re.compile(r"""\d+(?:[.:]\d+)+|[^\W_]+|[^\w\s.,;:?$"'`“”‘’~\\]""")


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout of problem rows.

    `name` is the value of `data.train_files[].layout`. `about` names the data sets, and `url` is their public source.
    `matches` decides by the fields of one row; the first match in the table is taken.
    `read` returns the row's Problem; it may leave `question_id` empty. It raises ProblemFileError for a row that it
    cannot read, and RowLeftOut for a row that no program can grade.
    """

    name: str
    about: str
    url: str
    matches: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Row], Problem]
    # The rows have the right option first: the reader shuffles the options by a seed and lists them in the question.
    right_option_first: bool = False


class RowLeftOut(Exception):
    """A row whose answers cannot be graded, such as a problem with a special judge. The message is the reason."""


def identified(row: Row, problem: Problem) -> Problem:
    """Returns the problem with its id, file and row number.

    The id is the row's own, else a hash of the question, so that filtering or sorting a file changes no id. An id that
    is only a number gets the file's name in front, because ids are unique over all files of a run.
    """
    own = problem.question_id or own_id(row, *_ID_FIELDS)
    if not own:
        own = question_hash(problem)
    elif own.isdecimal():
        own = f"{row.stem}/{own}"
    return replace(problem, question_id=own, source=str(row.path), row=row.number)


def question_hash(problem: Problem) -> str:
    """Returns 16 hex digits of the normalised text of the system message and the question with its options."""
    return question_digest(problem).hex()[:16]


def question_digest(problem: Problem) -> bytes:
    """Returns 16 bytes that are equal for copies of a question: case, spacing and prose punctuation do not count."""
    text = normalised(f"{problem.system} {problem.question}")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def normalised(text: str) -> str:
    """Returns the words, numbers and symbols of a text in lower case, with one blank between them."""
    return " ".join(_WORDS.findall(_SPACING.sub(" ", text).lower())) or text.strip()


def own_id(row: Row, *names: str) -> str:
    """Returns the row's id from the first of these fields that is filled, else ""."""
    for name in names:
        value = row.fields.get(name)
        if type(value) in (int, str) and str(value).strip():
            return str(value).strip()
    return ""


def has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    """Returns a test whether a row has all these fields."""
    wanted = frozenset(names)
    return lambda fields: wanted <= fields.keys()
