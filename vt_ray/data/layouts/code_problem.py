"""What all code layouts share: a checked Problem, reference programs, limits of a row, and rows that are left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.layouts.layout import RowLeftOut
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem, Solution
from vt_ray.verify.programs.test_forms import MalformedTests, test_requests

SUBDOMAIN = "code"

_LEVELS = {"easy": 1, "introductory": 1, "medium": 2, "interview": 2, "hard": 3, "competition": 3}
_JUDGE_FIELDS = ("checker", "generated_checker", "special_judge", "is_special_judge")
_ANY_ANSWER = re.compile(
    r"\b(?:print|output|return|find|display)\s+any(?:\s+one)?(?:\s+of\s+(?:them|these|the)\b|\s+such\b|\.)",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"([\d.]+)\s*(ms|milliseconds?|s|sec|seconds?)\b", re.IGNORECASE)
_MEMORY = re.compile(r"([\d.]+)\s*(kb|kilobytes?|kib|mb|megabytes?|mib|gb|gigabytes?|gib)\b", re.IGNORECASE)


def code_problem(
    row: Row,
    question: str,
    tests: dict[str, Any],
    question_id: str = "",
    subdomain: str = SUBDOMAIN,
    solutions: Iterable[Solution] = (),
    level: int = 1,
    system: str = "",
    prompt: str = "",
) -> Problem:
    """Returns the problem. Raises ProblemFileError for tests that cannot be run."""
    try:
        test_requests(tests)
    except MalformedTests as error:
        raise row.error(f"its tests cannot be run: {error}") from error
    return Problem(
        question_id=question_id,
        subdomain=subdomain,
        kind="code",
        question=question,
        tests=tests,
        solutions=tuple(solutions),
        level=level,
        system=system,
        prompt=prompt,
    )


def level_of_difficulty(row: Row) -> int:
    """Returns the level of the row's `difficulty`: 1 for easy, 2 for medium, 3 for hard; 1 without a known one."""
    return _LEVELS.get(str(row.fields.get("difficulty")).lower(), 1)


def refuse_special_judge(row: Row, question: str) -> None:
    """Raises RowLeftOut for a problem with several right outputs: comparing with one output would be wrong."""
    if any(row.fields.get(name) for name in _JUDGE_FIELDS) or _ANY_ANSWER.search(question):
        raise RowLeftOut("a special judge: several outputs are right")


def with_limits(tests: dict[str, Any], time_limit: Any, memory_limit: Any = None) -> dict[str, Any]:
    """Returns the tests with the row's own limits as `time_limit_s` and `memory_mb`, where it states them.

    A limit is text ("2 seconds", "256 megabytes"), a number of seconds or of bytes, or {"seconds", "nanos"}.
    """
    limits = {"time_limit_s": _seconds(time_limit), "memory_mb": _megabytes(memory_limit)}
    return tests | {name: value for name, value in limits.items() if value}


def programs(found: Any, before: str = "") -> list[Solution]:
    """Returns the first program of a text, a list, or a list as JSON text that is Python, as a completion."""
    if isinstance(found, str) and found.lstrip().startswith("["):
        try:
            found = loads(found)
        except ValueError:
            return []
    texts = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    for text in texts:
        if isinstance(text, str) and text.strip():
            code = re.sub(r"\A\s*```\w*\n|\n?```\s*\Z", "", text)
            if _is_python(before + code):
                return [Solution("reference", f"```python\n{before}{code.strip(chr(10))}\n```")]
    return []


def question_with_starter(question: str, starter: Any) -> str:
    """Returns the question with the code that the program has to begin with."""
    if not isinstance(starter, str) or not starter.strip() or starter.strip() in question:
        return question
    return f"{question}\n\nUse this starter code:\n\n```python\n{starter.rstrip()}\n```"


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _seconds(limit: Any) -> float | None:
    if isinstance(limit, dict):
        return (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9 or None
    if isinstance(limit, (int, float)) and not isinstance(limit, bool):
        return float(limit) or None
    match = _SECONDS.search(limit) if isinstance(limit, str) else None
    return float(match[1]) / (1000 if match[2].lower().startswith("m") else 1) if match else None


def _megabytes(limit: Any) -> int | None:
    if isinstance(limit, (int, float)) and not isinstance(limit, bool):
        return int(limit) >> 20 or None
    match = _MEMORY.search(limit) if isinstance(limit, str) else None
    scale = {"k": 1 / 1024, "m": 1, "g": 1024}
    return int(float(match[1]) * scale[match[2][0].lower()]) or None if match else None
