"""Large test cases as compressed text, which is unpacked at grading.

{"type": "stdio", "cases": [...]}  <-->  {"type": "stdio", "packed_cases": "eJyL..."}

The private tests of one problem of LiveCodeBench reach 100 MB. The driver keeps all problems of a benchmark in memory,
and each problem travels to the generators and the verifiers.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from vt_ray.verify.programs.long_integer_json import dumps, loads

PACKED = "packed_cases"
LEAST_CHARS = 1 << 20  # smaller cases stay as they are


def with_packed_cases(tests: dict[str, Any]) -> dict[str, Any]:
    """Returns the tests with their cases compressed, if the cases have at least LEAST_CHARS characters as JSON."""
    text = dumps(tests["cases"])  # ASCII
    if len(text) < LEAST_CHARS:
        return tests
    packed = base64.b64encode(zlib.compress(text.encode(), 1)).decode()
    return {name: value for name, value in tests.items() if name != "cases"} | {PACKED: packed}


def with_cases(tests: dict[str, Any]) -> dict[str, Any]:
    """Returns the tests with their cases as a list. Raises ValueError if packed cases are damaged."""
    packed = tests.get(PACKED)
    if packed is None:
        return tests
    try:
        cases = loads(zlib.decompress(base64.b64decode(packed)))
    except (ValueError, TypeError, zlib.error) as error:
        raise ValueError(f"{PACKED} cannot be unpacked ({error})") from error
    return {name: value for name, value in tests.items() if name != PACKED} | {"cases": cases}
