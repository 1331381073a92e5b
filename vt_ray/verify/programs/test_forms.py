"""The forms of a code problem's tests, and the part of each test that is sent to the sandbox.

{"type": "stdio", "cases": [{"input", "output"}, ...], "tolerance"?, "compare"?: "lines" | "decimal"}
{"type": "call", "function", "class"?, "cases": [{"args", "expected"}, ...], "tolerance"?}
{"type": "check", "test": code that calls the program, "entry_point"?}

Each form may state the problem's own limits, `time_limit_s` (seconds of one test) and `memory_mb`. With
`profile: "livecodebench"`, stdio and call tests follow the rules of `live_code_bench.py`, limits included. Large cases
may be packed (`packed_cases.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vt_ray.verify.limits import HIGHEST_LIMITS, limit_fault
from vt_ray.verify.programs.check_analysis import UnreadableTest, analyse_check
from vt_ray.verify.programs.compare_outputs import COMPARISONS
from vt_ray.verify.programs.live_code_bench import DECIDED, PROFILE
from vt_ray.verify.programs.long_integer_json import dumps
from vt_ray.verify.programs.packed_cases import with_cases

# A limit that the tests of a problem may state, and the verifier's limit that it replaces.
OWN_LIMITS = {"time_limit_s": "test_timeout_s", "memory_mb": "memory_mb"}


class MalformedTests(Exception):
    """The problem's tests cannot be run: a fault of the problem, for every program."""


def unpacked(tests: Any) -> dict[str, Any]:
    """Returns the tests with their cases as a list. Raises MalformedTests."""
    if not isinstance(tests, dict):
        raise MalformedTests(f"expected a dict with type and cases, got {type(tests).__name__}")
    try:
        return with_cases(tests)
    except ValueError as error:
        raise MalformedTests(str(error)) from error


def test_requests(tests: Any) -> list[dict[str, Any]]:
    """Returns the sandbox's request for each test: the input, never the expected output. Raises MalformedTests."""
    tests = unpacked(tests)
    kind, cases = tests.get("type"), tests.get("cases")
    profile = _profile(tests)
    for name, limit in OWN_LIMITS.items():
        value = tests.get(name, 1)
        if type(value) not in (int, float) or limit_fault(limit, value):
            raise MalformedTests(f"{name} {value!r} is not a number above 0 and at most {HIGHEST_LIMITS[limit]}")
    if kind == "check":
        return [_check_request(tests)]
    if kind not in ("stdio", "call"):
        raise MalformedTests(f"type {kind!r} is not one of stdio, call, check")
    if not isinstance(cases, list) or not cases:
        raise MalformedTests("there are no cases: expected at least one")
    tolerance = tests.get("tolerance")
    if tolerance is not None and (type(tolerance) not in (int, float) or not 0 <= tolerance < 1):
        raise MalformedTests(f"tolerance {tolerance!r} is not a number from 0 to 1")
    compare = tests.get("compare", COMPARISONS[0])
    if compare not in COMPARISONS:
        raise MalformedTests(f"compare {compare!r} is not one of {', '.join(COMPARISONS)}")
    requests = [_stdio_request(case) if kind == "stdio" else _call_request(tests, case) for case in cases]
    return [request | profile for request in requests]


def _profile(tests: dict[str, Any]) -> dict[str, str]:
    """Returns the field `profile` of a request, {} for tests without a profile."""
    name = tests.get("profile")
    if name is None:
        return {}
    if name != PROFILE:
        raise MalformedTests(f"profile {name!r:.40} is not {PROFILE}")
    if tests.get("type") == "check":
        raise MalformedTests(f"profile {PROFILE} is for stdio and call tests, not for check tests")
    for field in DECIDED:
        if tests.get(field) is not None:
            raise MalformedTests(f"the profile {PROFILE} decides {field}: remove it from the tests")
    return {"profile": PROFILE}


def _check_request(tests: dict[str, Any]) -> dict[str, Any]:
    test, entry_point = tests.get("test"), tests.get("entry_point")
    if not isinstance(test, str) or not test.strip():
        raise MalformedTests("a check test needs the field 'test', the code that calls the program")
    if entry_point is not None and not isinstance(entry_point, str):
        raise MalformedTests(f"entry_point {entry_point!r:.80} is not a name")
    try:
        plan = analyse_check(test, entry_point or "")
    except UnreadableTest as error:
        raise MalformedTests(f"the test cannot be read: {error}") from error
    return {"type": "check", "test": test, "entry_point": entry_point, **asdict(plan)}


def _stdio_request(case: Any) -> dict[str, Any]:
    if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in ("input", "output")):
        raise MalformedTests("a stdio case needs an input and an output, both strings")
    return {"type": "stdio", "input": case["input"]}


def _call_request(tests: dict[str, Any], case: Any) -> dict[str, Any]:
    function, owner = tests.get("function"), tests.get("class")
    if not isinstance(function, str) or not function.isidentifier():
        raise MalformedTests(f"function {function!r} is not a name")
    if owner is not None and not (isinstance(owner, str) and owner.isidentifier()):
        raise MalformedTests(f"class {owner!r} is not a name")
    if not isinstance(case, dict) or not isinstance(case.get("args"), list) or "expected" not in case:
        raise MalformedTests("a call case needs args, a list, and expected")
    try:
        arguments = dumps(case["args"])
        dumps(case["expected"])
    except (TypeError, ValueError) as error:
        raise MalformedTests(f"a call case is not JSON: {error}") from error
    return {"type": "call", "function": function, "class": owner, "args": arguments}
