"""LiveCodeBench: its rows, its prompt, its private tests, and grading by the rules of its own test runner."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from code_problems import SUM, fenced, grade, problem
from live_code_bench_programs import FUNCTION_PROGRAMS, STDIN_PROGRAMS

from vt_ray.data.layouts.live_code_bench import private_tests
from vt_ray.data.layouts.table import layout_by_name
from vt_ray.data.problem_rows import ProblemFileError, read_rows
from vt_ray.data.readers import read_problem_rows
from vt_ray.records import Problem
from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.compare_outputs import outputs_match
from vt_ray.verify.programs.live_code_bench import fenced_program, outputs_are_equal, profile_limits
from vt_ray.verify.programs.packed_cases import with_cases
from vt_ray.verify.sandbox.inside.namespaces import place_inside
from vt_ray.verify.sandbox.inside.plain_data import UnsupportedResult, plain
from vt_ray.verify.sandbox.interpreter import find_numpy
from vt_ray.verify.verifier import Verifier

PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data" / "benchmarks"
V5 = PUBLIC / "livecodebench_v5_279_public_tests.json"
DAY = {"contest_date": "2024-08-03T00:00:00", "platform": "atcoder", "metadata": "{}"}
ROW = {
    **DAY,
    "question_id": "abc_q",
    "question_content": "Read n and print its double.",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
}
CASES = [{"input": "5\n", "output": "10\n", "testtype": "stdin"}]
STDIO = {"type": "stdio", "profile": "livecodebench", "cases": [{"input": "1 2\n", "output": "3\n"}]}
CALL = {"type": "call", "profile": "livecodebench", "function": "f", "cases": [{"args": [2], "expected": [1, 2]}]}
PRINT_SUM = "print(sum(map(int, input().split())))"


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(test_timeout_s=0.5, completion_timeout_s=1.0, memory_mb=256)) as one:
        yield one


def read(tmp_path: Path, *rows: dict[str, Any], layout: str = "") -> list[Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return problems(path, layout)


def problems(path: Path, layout: str = "") -> list[Problem]:
    return read_problem_rows(read_rows(path), chosen=layout_by_name(layout) if layout else None).problems


def packed(value: Any, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


# --- private tests ---


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [CASES, json.dumps(CASES)], ids=["list", "text"])
def test_private_tests_of_each_pickle_protocol(value: Any, protocol: int) -> None:
    assert private_tests(packed(value, protocol)) == CASES


@pytest.mark.parametrize("value", [CASES, json.dumps(CASES), packed(json.dumps(CASES))])
def test_private_tests_in_each_form(value: Any) -> None:
    assert private_tests(value) == CASES


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_may_have_no_private_tests(value: Any) -> None:
    assert private_tests(value) == []


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1, 2}, 1.5, b"bytes", None, True, [len], Path("x"), Problem, {"a": bytearray(2)}, [frozenset()]],
    ids=str,
)
def test_a_pickle_of_other_values_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="it asks for the operation"):
        private_tests(packed(value))


# Hand-made pickles: a call, a class by name, the extension registry, a huge place in the memo, nonsense, nothing.
@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02X\x01\x00\x00\x00ar\xff\xff\xff\x7f.",
        b"\x80\x04\x8d" + b"\xff" * 8 + b"a.",
        b"]q\x00h\x05.",
        b"(i__main__\nA\n.",
        b"\x80\x04]q\x00(h\x00b.",
        b"nonsense",
        b"",
        b"\x80\x04.",
        b"}(]K\x01u.",
    ],
)
def test_hostile_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        private_tests(base64.b64encode(zlib.compress(data)).decode())


@pytest.mark.parametrize("text", ["AAAA", "not base 64 é", base64.b64encode(zlib.compress(b"x" * 99)[:-4]).decode()])
def test_damaged_private_tests_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        private_tests(text)


def test_the_unpacked_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vt_ray.data.layouts.live_code_bench._MAX_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="more than 1 MiB"):
        private_tests(base64.b64encode(zlib.compress(bytes(2 << 20))).decode())


def test_a_value_that_refers_to_itself_is_no_list_of_tests(tmp_path: Path) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(ProblemFileError):
        read(tmp_path, {**ROW, "private_test_cases": packed(cyclic)})


# --- rows ---


def test_a_row_with_private_tests(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {**ROW, "private_test_cases": packed(json.dumps(CASES))})
    cases = [{"input": "2\n", "output": "4\n"}, {"input": "5\n", "output": "10\n"}]
    assert found.tests == {"type": "stdio", "profile": "livecodebench", "cases": cases}
    assert (found.question_id, found.question) == ("abc_q", "Read n and print its double.")


def test_the_prompt_of_a_problem_with_standard_input(tmp_path: Path) -> None:
    (found,) = read(tmp_path, ROW)
    assert found.prompt == (
        "You are an expert Python programmer. You will be given a question (problem specification) and will generate "
        "a correct Python program that matches the specification and passes all tests. You will NOT return anything "
        "except for the program.\n\n### Question:\nRead n and print its double.\n\n### Format: Read the inputs from "
        "stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). Enclose "
        "your code within delimiters as follows.\n```python\n# YOUR CODE HERE\n```\n\n### Answer: (use the provided "
        "format with backticks)\n\n"
    )


def test_the_prompt_of_a_problem_with_starter_code(tmp_path: Path) -> None:
    starter = "class Solution:\n    def double(self, n: int) -> int:\n        "
    case = json.dumps([{"input": "2", "output": "4", "testtype": "functional"}])
    metadata = json.dumps({"func_name": "double"})
    (found,) = read(tmp_path, {**ROW, "starter_code": starter, "public_test_cases": case, "metadata": metadata})
    assert found.prompt.endswith(
        "### Format: You will use the following starter code to write the solution to the problem and enclose your "
        f"code within delimiters.\n```python\n{starter}\n```\n\n"
        "### Answer: (use the provided format with backticks)\n\n"
    )
    assert found.tests is not None and found.tests["function"] == "double"


def test_rows_with_public_tests_only_by_the_name_of_the_layout(tmp_path: Path) -> None:
    row = {"problem": "Double n.", "starter_code": "", "tests": [{"input": "2", "output": "4", "testtype": "stdin"}]}
    (as_listed,) = read(tmp_path, row, layout="live_code_bench")
    assert as_listed.tests == {"type": "stdio", "profile": "livecodebench", "cases": [{"input": "2", "output": "4"}]}
    (detected,) = read(tmp_path, row)
    assert detected.prompt == "" and "profile" not in (detected.tests or {})


def test_large_cases_are_packed_and_graded(tmp_path, verifier):
    """The tests of one problem may have 100 MB; all problems of a benchmark are in memory together."""
    cases = [{"input": f"{'7 ' * 200_000}{n}\n", "output": f"{1_400_000 + n}\n", "testtype": "stdin"} for n in range(6)]
    (found,) = read(
        tmp_path, {**ROW, "public_test_cases": json.dumps(cases[:1]), "private_test_cases": packed(cases[1:])}
    )
    assert "cases" not in found.tests and len(json.dumps(found.tests)) < 100_000
    assert len(with_cases(found.tests)["cases"]) == 6
    program = "print(sum(map(int, input().split())))"
    assert verifier.verify(found, fenced(program)).status == "correct"
    assert verifier.verify(found, fenced(program.replace("sum(", "-sum("))).status == "wrong"


@pytest.mark.parametrize("damaged", ["AAAA", "é", 5, "eJyrrgUAAXUA+Q=="])
def test_damaged_packed_cases_are_malformed(verifier, damaged):
    tests = {"type": "stdio", "packed_cases": damaged}
    verdict = grade(verifier, tests, PRINT_SUM)
    assert verdict.status == "unverified" and "malformed tests" in verdict.reason


# --- the program in a completion ---


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```", "a"),
        ("```\na\n```", "a"),
        ("```python\na\n```\nthen\n```python\nb\nc\n```\n", "b\nc"),
        ("<think>\n```python\na\n```\n</think>\n```python\nb\n```", "b"),
        ("<think>\n```python\na\n```\n never closed", "a"),
        ("```python\na\n```\nOutput:\n```\n3\n```", "3"),  # the last block counts, in any language
        ("```python\na\n```\nand ```python\nb", ""),
        ("  ```python\na\n  ```", "a"),
        ("text ``` text\na\n```", "a"),
        ("a", None),
        ("```python\na", None),
        ("", None),
    ],
)
def test_the_program_is_between_the_last_two_fences(text: str, program: str | None) -> None:
    assert fenced_program(text) == program


# --- outputs: LiveCodeBench's rules and a comparison of the texts differ ---

# (expected, printed, right by the official rules). Each pair of texts differs.
OUTPUTS = [
    # White space around the output and around a line.
    ("3\n", "3", True),
    ("3", "3\n\n\n", True),
    ("3", "\n3", True),
    ("3", "  3", True),
    ("3", "\t3\t", True),
    ("3", "3\r\n", True),
    ("a b", " a b ", True),
    ("a\nb", "  a  \n  b  ", True),
    ("a\nb\n", "\n\na\nb", True),
    ("a\r\nb\r\n", "a\nb\n", True),
    ("  a", "a", True),
    ("\n", "", True),
    ("", " \n \n", True),
    ("x\u00a0", "x", True),
    ("x", "x\x0c", True),
    # Numbers have equal values.
    ("5", "5.0", True),
    ("5.0", "5", True),
    ("0.50", "0.5", True),
    ("0.5", ".5", True),
    ("5", "5.", True),
    ("5", "+5", True),
    ("5", "05", True),
    ("0", "-0", True),
    ("0", "-0.0", True),
    ("100000", "1e5", True),
    ("100000", "1E+5", True),
    ("0.00001", "1e-5", True),
    ("1000", "1_000", True),
    ("inf", "Infinity", True),
    ("-inf", "-Infinity", True),
    ("12", "１２", True),
    ("1 2", "1  2", True),
    ("1 2 3", "1\t2\t3", True),
    ("1 2", "1.0 2.00", True),
    ("1 2\n3 4", "1.0 2\n3 4.0", True),
    ("1 2 3", "001 2e0 30e-1", True),
    ("12345678901234567890", "12345678901234567890.0", True),
    ("1\nabc\n2", "1.0\nabc\n2.0", True),
    # Wrong, where another reading of the text is right.
    ("a b", "a  b", False),
    ("a b", "a\tb", False),
    ("Yes", "yes", False),
    ("Yes", "YES", False),
    ("1 2", "1\n2", False),
    ("1\n2", "1 2", False),
    ("a\nb", "a\n\nb", False),
    ("1\n\n2", "1\n2", False),
    ("0.333333", "0.3333333333", False),
    ("0.1", "0.10000000000000001", False),
    ("3.14", "3.1400001", False),
    ("1000000007", "1000000007.0000001", False),
    ("x 5", "x 5.0", False),
    ("Case 1: 5", "Case 1: 5.0", False),
    ("5,6", "5, 6", False),
    ("[1, 2]", "[1,2]", False),
    ("1/2", "0.5", False),
    ("True", "1", False),
    ("nan", "NaN", False),
    ("sNaN", "snan", False),
    ("5", "5 ", True),
    ("5", "five", False),
    ("0x10", "16", False),
    ("5", "5 5", False),
    ("abc", "ab\u200bc", False),
    ("5", "5%", False),
]


def test_there_are_sixty_outputs_that_differ_as_text() -> None:
    assert len(OUTPUTS) >= 60
    assert all(expected != printed for expected, printed, _ in OUTPUTS)


@pytest.mark.parametrize(("expected", "printed", "right"), OUTPUTS)
def test_outputs_by_the_official_rules(expected: str, printed: str, right: bool) -> None:
    assert outputs_are_equal(expected, printed.encode()) is right


def test_an_output_that_is_not_utf_8_is_wrong() -> None:
    assert not outputs_are_equal("3", b"3\xff")


def test_the_verifiers_own_rule_is_stricter() -> None:
    assert any(right and not outputs_match(e, p.encode()) for e, p, right in OUTPUTS)
    assert not any(outputs_match(e, p.encode()) and not right for e, p, right in OUTPUTS)


def test_numbers_with_many_digits_are_compared_at_once() -> None:
    digits = "7" * 200_000
    assert outputs_are_equal(digits, f"{digits}.0".encode())
    assert not outputs_are_equal("1e999999999", b"1")


# --- results of functions ---


@pytest.mark.parametrize("program", ["return (1, 2)", "return [True, 2.0]", "return [1, 2]", "return [*range(1, 3)]"])
def test_results_that_equal_the_list(verifier, program):
    assert grade(verifier, CALL, f"def f(n): {program}").status == "correct"


@pytest.mark.parametrize("program", ["return [1]", "return '12'", "return {1, 2}", "return None", "sys.exit()", "1/0"])
def test_other_results(verifier, program):
    assert grade(verifier, CALL, f"def f(n): {program}").status == "wrong"


def test_a_tuple_inside_a_result_equals_no_list(verifier):
    nested = {**CALL, "cases": [{"args": [1], "expected": [[1, 2]]}]}
    assert grade(verifier, nested, "def f(n): return [(1, 2)]").status == "wrong"
    assert grade(verifier, nested, "def f(n): return ([1, 2],)").status == "correct"
    with pytest.raises(UnsupportedResult):
        plain([(1, 2)], lenient=False)
    assert plain([(1, 2)]) == [[1, 2]]


def test_the_method_of_solution_or_the_function(verifier):
    method = "class Solution:\n    def f(self, n: int) -> List[int]:\n        return [1, n]"
    assert grade(verifier, {**CALL, "class": "Solution"}, method).status == "correct"
    assert grade(verifier, CALL, method).status == "correct"
    assert (
        grade(verifier, {**CALL, "class": "Solution"}, "def f(n: int) -> List[int]: return [1, n]").status == "correct"
    )


# --- programs ---


@pytest.mark.parametrize(
    "program",
    [
        PRINT_SUM,
        "print(sum(map(int, sys.stdin.buffer.read().split())))",
        "print(sum(map(int, stdin.readline().split())))",
        "print(sum(map(int, open(0).read().split())))",
        f"import sys\n{PRINT_SUM}\nsys.exit(1)",
        f"{PRINT_SUM}\nexit()",
        f"from __future__ import annotations\n{PRINT_SUM}",
        f"def main():\n    {PRINT_SUM}\nif __name__ == '__main__':\n    main()",
        "total = 0\ndef add(x):\n    global total\n    total += int(x)\nfor x in input().split(): add(x)\nprint(total)",
        "print(Counter('aab')['a'] + gcd(3, 2) + isqrt(0) + len(list(permutations([]))) - 1)",
        "print(datetime.date(2024, 1, 3).day * pow(2, 2, 3))",
        "def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\nprint(depth(45_000) - 44_997)",
        "@cache\ndef depth(n): return 0 if n == 0 else 1 + depth(n - 1)\nprint(depth(20_000) - 19_997)",
        "x = bytearray(1 << 30)\nprint(3)",
    ],
    ids=["plain", "buffer", "stdin", "open", "exit_code", "exit", "future", "main", "global", "names", "pow"]
    + ["recursion", "cached_recursion", "memory"],
)
def test_a_correct_program(verifier, program):
    assert grade(verifier, STDIO, program).status == "correct"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(4)", "wrong_answer"),
        ("1/0", "runtime_error"),
        ("print(3)\n1/0", "runtime_error"),
        ("x = bytearray(5 << 30)", "memory"),
        ("import requests", "runtime_error"),
        ("this is no python", "runtime_error"),
    ],
)
def test_a_wrong_program(verifier, program, reason):
    verdict = grade(verifier, STDIO, program)
    assert (verdict.status, verdict.reason) == ("wrong", reason)


def test_the_limits_are_those_of_the_profile(verifier):
    """The verifier's own limits are 0.5 s a test and 1 s for all."""
    two = {**STDIO, "cases": STDIO["cases"] * 2}
    assert grade(verifier, two, f"import time\ntime.sleep(0.9)\n{PRINT_SUM}").status == "correct"
    assert grade(verifier, {**SUM}, f"import time\ntime.sleep(0.9)\n{PRINT_SUM}").reason == "timeout"
    limits = profile_limits(Limits(), 40)
    assert (limits.test_timeout_s, limits.completion_timeout_s, limits.memory_mb) == (6.0, 285.0, 4_096)


def test_numpy_where_it_is_installed(verifier):
    verifier_python = verifier.backend_notes[-1].split("programs run with ")[1].split(" (")[0]
    if not find_numpy(verifier_python):
        pytest.skip(f"{verifier_python} cannot import the numpy of this process")
    program = "import numpy as np\nprint(np.array(input().split(), dtype=int).sum())"
    assert grade(verifier, STDIO, program).status == "correct"
    scalars = "import numpy as np\ndef f(n): return [np.int64(1), np.float64(2)]"
    assert grade(verifier, CALL, scalars).status == "correct"
    # A problem without the profile has the standard library only, also in a sandbox that has numpy.
    assert grade(verifier, SUM, f"import numpy\n{PRINT_SUM}").reason == "runtime_error"


def test_a_completion_without_two_fences_has_no_answer(verifier):
    verdict = verifier.verify(problem(STDIO), f"```python\n{PRINT_SUM}")
    assert (verdict.status, verdict.reason) == ("wrong", "no_answer")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"profile": "leetcode"}, "profile 'leetcode' is not livecodebench"),
        ({"profile": 3}, "profile 3 is not livecodebench"),
        ({"tolerance": 1e-6}, "the profile livecodebench decides tolerance"),
        ({"time_limit_s": 2}, "the profile livecodebench decides time_limit_s"),
        ({"type": "check", "test": "assert f()"}, "for stdio and call tests"),
    ],
)
def test_malformed_profiles(verifier, change, fault):
    verdict = grade(verifier, {**STDIO, **change}, PRINT_SUM)
    assert verdict.status == "unverified" and fault in verdict.reason


def test_a_profile_without_a_name_is_no_profile(verifier):
    """Parquet stores a missing field as null."""
    assert grade(verifier, {**SUM, "profile": None}, PRINT_SUM).status == "correct"


# --- programs for the benchmark's own problems ---


@pytest.fixture(scope="module")
def v5(tmp_path_factory: pytest.TempPathFactory) -> list[Problem]:
    if not V5.is_file():
        pytest.skip(f"the problems are not at {V5}")
    return problems(V5, "live_code_bench")


def test_the_279_problems_are_read(v5):
    assert len(v5) == 279
    assert sum(p.tests["type"] == "call" for p in v5) == 104
    assert all(p.tests["profile"] == "livecodebench" and p.question in p.prompt for p in v5)


@pytest.mark.parametrize(
    ("row", "program", "right", "wrong"),
    [*STDIN_PROGRAMS, *FUNCTION_PROGRAMS],
    ids=[f"row_{entry[0]}" for entry in (*STDIN_PROGRAMS, *FUNCTION_PROGRAMS)],
)
def test_a_right_program_and_its_broken_copy(verifier, v5, row, program, right, wrong):
    (found,) = [p for p in v5 if p.row == row + 1]
    assert program.count(right) == 1
    verdict = verifier.verify(found, fenced(program))
    assert (verdict.status, verdict.reason) == ("correct", "")
    assert verifier.verify(found, fenced(program.replace(right, wrong))).status == "wrong"


def test_a_package_below_the_programs_own_folder_gets_another_place():
    assert place_inside("/tmp/env/numpy") == "/packages/numpy"
    assert place_inside("/usr/lib") == os.path.realpath("/usr/lib")
