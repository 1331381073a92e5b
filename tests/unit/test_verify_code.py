"""Verdicts on programs: they run in children of a broker, and their output is compared here. No cluster, no GPU."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from code_problems import ADD, GOOD_ADD, GOOD_SUM, SUM, grade, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.limits import Limits
from vt_ray.verify.programs.compare_outputs import outputs_match, results_match
from vt_ray.verify.programs.extract_program import extract_program
from vt_ray.verify.sandbox.inside.plain_data import UnsupportedResult, plain
from vt_ray.verify.verifier import Verifier

CORPUS = Path(__file__).parents[1] / "data" / "verify" / "code.jsonl"
ROWS = [json.loads(line) for line in CORPUS.read_text().splitlines()]
LIMITS = Limits(test_timeout_s=0.7, completion_timeout_s=5.0, memory_mb=256)

PRINT_SUM = "print(sum(map(int, input().split())))"
LIGHT = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(LIMITS) as one:
        yield one


def assert_alive_and_right(verifier):
    """Two good programs are correct. A time-out is tried again: on a busy machine a start may take LIMITS' 0.7 s."""
    for tests, program in ((SUM, GOOD_SUM), (ADD, GOOD_ADD)):
        verdicts = (grade(verifier, tests, program) for _ in range(5))
        assert next(verdict.status for verdict in verdicts if verdict.reason != "timeout") == "correct"


# --- the corpus ---


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_corpus_row(verifier, row):
    verdict = verifier.verify(problem(row["tests"]), row["response"])
    assert verdict.status in row["expect"], verdict


@pytest.mark.parametrize(
    "program",
    ["x=" + "9" * 400_000, "x=" + "(" * 100_000 + ")" * 100_000, "x=" + "-" * 200_000 + "1", "print('\0')"],
    ids=["literal", "parentheses", "minuses", "nul"],
)
def test_compile_bomb_is_wrong(verifier, program):
    assert grade(verifier, SUM, program).status == "wrong"
    assert_alive_and_right(verifier)


# --- plain programs ---


@pytest.mark.parametrize(
    "program",
    [
        GOOD_SUM,
        "import sys\nn = sum(map(int, sys.stdin.buffer.read().split()))\nsys.stdout.buffer.write(b'%d' % n)",
        "import os\na, b = os.read(0, 100).split()\nos.write(1, str(int(a) + int(b)).encode())",
        "a, b = open(0).read().split()\nprint(int(a) + int(b), flush=True)\nimport os\nos._exit(0)",
        f"def main():\n    {PRINT_SUM}\nif __name__ == '__main__':\n    main()\n    exit()",
        f"import threading\nt = threading.Thread(target=lambda: {PRINT_SUM})\nt.start()",
        f"import atexit\natexit.register(lambda: {PRINT_SUM})",
        f"from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n{PRINT_SUM}",
        f"import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')\n{PRINT_SUM}",
        f"{PRINT_SUM}\nquit(0)",
        f"import sys\n{PRINT_SUM}\nsys.stdout.close()",
        "out = open(1, 'w')\nout.write(str(sum(map(int, input().split()))))",
        "class P:\n    def __init__(s, x): s.x = x\n    def __del__(s): print(s.x)\n"
        "p = P(sum(map(int, input().split())))",
        "import atexit, io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\n"
        f"atexit.register(lambda: old.write(sys.stdout.getvalue()))\n{PRINT_SUM}",
        "import threading\nthreading.stack_size(1 << 29)\n"
        f"t = threading.Thread(target=lambda: {PRINT_SUM})\nt.start()\nt.join()",
        f"import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 28, resource.RLIM_INFINITY))\n{PRINT_SUM}",
        f"import os\nos.path.dirname(os.path.abspath(__file__))\n{PRINT_SUM}",
    ],
    ids=["plain", "buffers", "os", "_exit", "main", "thread", "atexit", "dataclass", "tempfile", "quit"]
    + ["closed", "file", "del", "redirected", "stack", "stack_limit", "file_name"],
)
def test_correct_program(verifier, program):
    verdict = grade(verifier, SUM, program)
    assert (verdict.status, verdict.reason) == ("correct", "")
    assert verdict.seconds > 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(3)", "wrong_answer"),
        ("", "no_answer"),
        ("1/0", "runtime_error"),
        ("this is no python", "runtime_error"),
        (GOOD_SUM + "\nimport sys\nsys.exit(1)", "runtime_error"),
        ("while True: pass", "timeout"),
        ("import time\ntime.sleep(60)", "timeout"),
        ("x = bytearray(1 << 30)", "memory"),
        ("x = []\nwhile True: x.append(bytearray(1 << 26))", "memory"),
        ("while True: print('A' * 10000)", "output_limit"),
        ("import sys\nwhile True: print('A' * 10000, file=sys.stderr)", "output_limit"),
        ("import sys\nsys.exit(0)", "wrong_answer"),
        ("import os\nos.kill(0, 9)", "runtime_error"),
        ("import os\nos.closerange(0, 1000)\nprint(3)", "runtime_error"),
        ("import signal, os\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(60)", "timeout"),
        ("import ctypes\nctypes.CDLL(None).syscall(0x40000000 | 39)", "killed_sandbox"),  # x32
        ("open('big', 'wb').write(bytes(64 << 20))", "runtime_error"),
    ],
)
def test_wrong_program(verifier, program, reason):
    verdict = grade(verifier, SUM, program)
    assert (verdict.status, verdict.reason) == ("wrong", reason)
    assert_alive_and_right(verifier)


def test_a_program_without_a_fence_is_no_answer(verifier):
    verdict = verifier.verify(problem(SUM), "I would add the numbers.")
    assert (verdict.status, verdict.reason) == ("wrong", "no_answer")


def test_as_much_as_is_expected_may_be_written(verifier):
    """The expected output exceeds the limit of 64 KiB; a program with more than twice this output is stopped."""
    tests = {"type": "stdio", "cases": [{"input": "", "output": "123456789\n" * 50_000}]}
    assert grade(verifier, tests, "print('123456789\\n' * 50_000)").status == "correct"
    assert grade(verifier, tests, "while True: print('123456789')").reason == "output_limit"


def test_all_tests_share_one_deadline():
    slow = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}] * 50}
    with Verifier(Limits(test_timeout_s=0.5, completion_timeout_s=1.0)) as verifier:
        begin = time.monotonic()
        verdict = grade(verifier, slow, "import time\ntime.sleep(0.3)\n" + GOOD_SUM)
        assert (verdict.status, verdict.reason) == ("wrong", "timeout")
        # Without the shared deadline the 50 tests sleep for 15 s.
        assert time.monotonic() - begin < 10


# --- functions ---


def call(expected, *args, name="f", owner=None, tolerance=None):
    tests = {"type": "call", "function": name, "cases": [{"args": list(args), "expected": expected}]}
    tests |= {"class": owner} if owner else {}
    return tests | ({"tolerance": tolerance} if tolerance is not None else {})


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        (ADD, GOOD_ADD),
        (ADD, "print('noise')\ndef add(a, b):\n    print('more')\n    return a + b"),
        (call([1, 2], [2, 1]), "def f(xs: List[int]) -> List[int]: return sorted(xs)"),
        (call([1, 2], [2, 1]), "def f(xs): return tuple(sorted(xs))"),
        (call((1, 2), [2, 1]), "def f(xs): return tuple(sorted(xs))"),
        (
            call(3, 1, 2, owner="Solution"),
            "class Solution:\n    def f(self, a: int, b: Optional[int]): return a + b",
        ),
        (call({"a": 2}, "aa"), "def f(s): return Counter(s)"),
        (call({"1": [None, True, 0.5, "x"]}), "def f(): return {1: [None, True, 0.5, 'x']}"),
        (call(1.4142, 2, tolerance=1e-3), "def f(x): return math.sqrt(x)"),
        (call([2.0, 3], 4, tolerance=1e-3), "def f(x): return [2.0001, 3.0]"),
        (call(list(range(30_000)), 30_000), "def f(n): return list(range(n))"),
    ],
)
def test_correct_function(verifier, tests, program):
    assert grade(verifier, tests, program).status == "correct"


ALWAYS_EQUAL = """
class T:
    def __eq__(s, o): return True
    def __ne__(s, o): return False
    def __hash__(s): return 0
"""


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        (ADD, "def add(a, b): return 3"),
        (ADD, "def add(a, b): raise SystemExit(0)"),
        (ADD, "import os\ndef add(a, b): os._exit(0)"),
        (ADD, "import sys\nsys.exit(0)"),
        (ADD, "def sub(a, b): return a - b"),
        (ADD, ALWAYS_EQUAL + "def add(a, b): return T()"),
        (call([1]), ALWAYS_EQUAL + "class L(T, list): pass\ndef f(): return L([2])"),
        (call([1]), "class L(list):\n    def __iter__(s): return iter([1])\ndef f(): return L([1])"),
        (call(1), "class I(int):\n    def __eq__(s, o): return True\ndef f(): return I(1)"),
        (call(1), "def f(): return True"),
        (call(True), "def f(): return 1"),
        (call(3), "def f(): return 3.0"),
        (call("1"), "def f(): return 1"),
        (call(1.0, tolerance=1e-6), "def f(): return float('nan')"),
        (call(1.0, tolerance=1e-6), "def f(): return True"),
        (call(1.0, tolerance=1e-6), "def f(): return 10 ** 4000"),
        (call(0), "def f(): return 10 ** 5000"),
        (call([]), "def f():\n    x = []\n    x.append(x)\n    return x"),
        (call([]), "def f():\n    x = []\n    for _ in range(200000): x = [x]\n    return x"),
        (call([]), "def f():\n    x = 1\n    for _ in range(60): x = [x, x]\n    return x"),
        (call({"1": 2}), "def f(): return {1: 1, '1': 2}"),
        (call([1]), "def f(): return {1}"),
        (ADD, 'print(\'{"status": "correct", "result": 3}\\n3\\nPASSED\')\ndef add(a, b): return 0'),
        (
            ADD,
            "import json\njson.dumps = json.JSONEncoder.encode = lambda *a: '3'\ndef add(a, b): return 0",
        ),
        (ADD, "import os\nos.write(3, b'3')\nos._exit(0)"),
        (ADD, "import os\nos.write(3, b'[' * 60000)\nos._exit(0)"),
        (ADD, "import os\nos.write(3, b'9' * 60000)\nos._exit(0)"),
        (ADD, "def add(a, b): return 'x' * 1000000"),
    ],
)
def test_a_function_that_cheats_or_fails_is_wrong(verifier, tests, program):
    assert grade(verifier, tests, program).status == "wrong"


def test_the_result_is_what_was_returned_not_what_a_mutable_argument_became(verifier):
    tests = {"type": "call", "function": "f", "cases": [{"args": [[2, 1]], "expected": None}]}
    assert grade(verifier, tests, "def f(xs): xs.sort()").status == "correct"


# --- what goes in ---


def test_the_environment_is_empty(verifier):
    program = "import os\nprint(sorted(os.environ))"
    tests = {"type": "stdio", "cases": [{"input": "", "output": "['HOME', 'TMPDIR']"}]}
    assert grade(verifier, tests, program).status == "correct"


def test_expected_outputs_never_enter_the_sandbox(verifier, monkeypatch):
    sent = []
    assert_alive_and_right(verifier)
    real = verifier.grader("code")._sandbox.run
    monkeypatch.setattr(
        verifier.grader("code")._sandbox,
        "run",
        lambda request, timeout_s: sent.append(request) or real(request, timeout_s),
    )
    tests = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "secret-3"}]}
    grade(verifier, tests, GOOD_SUM)
    grade(verifier, call("secret-4"), "def f(): return 1")
    assert len(sent) == 2
    assert "secret" not in json.dumps(sent)


# --- what is nobody's wrong answer ---


@pytest.mark.parametrize(
    "tests",
    [
        None,
        {},
        {"type": "stdio", "cases": []},
        {"type": "stdio"},
        {"type": "stdio", "cases": [{"input": "1"}]},
        {"type": "stdio", "cases": [{"input": "1", "output": 1}]},
        {"type": "stdio", "cases": "abc"},
        {"type": "stdio", "tolerance": float("nan"), "cases": [{"input": "1", "output": "1"}]},
        {"type": "call", "cases": [{"args": [], "expected": 1}]},
        {"type": "call", "function": "f(", "cases": [{"args": [], "expected": 1}]},
        {"type": "call", "function": "f", "cases": [{"args": {}, "expected": 1}]},
        {"type": "call", "function": "f", "cases": [{"args": []}]},
        {"type": "call", "function": "f", "cases": [{"args": [{1}], "expected": 1}]},
        {"type": "check", "entry_point": "add", "test": ""},
        {"type": "check", "entry_point": "add", "test": "this is no python"},
        {"type": "check", "entry_point": "add", "test": "assert 1 == 1"},  # asks the program nothing
        {"type": "check", "entry_point": "add", "test": "import no_such_module\nassert add(1, 2) == 3"},
        {"type": "check", "entry_point": 1, "test": "assert add(1, 2) == 3"},
        {"type": "other", "cases": [1]},
        [1, 2],
    ],
)
def test_tests_that_cannot_be_run_are_unverified(verifier, tests):
    assert grade(verifier, tests, GOOD_ADD).status == "unverified"


def test_limits_are_above_zero_and_finite():
    with pytest.raises(ValueError, match="test_timeout_s=0 must be above 0 and at most 86400"):
        Limits(test_timeout_s=0)
    for name, value in [
        ("test_timeout_s", float("inf")),
        ("test_timeout_s", 1e308),
        ("math_timeout_s", float("nan")),
        ("memory_mb", 1 << 60),
    ]:
        with pytest.raises(ValueError, match=f"{name}=.* must be above 0 and at most .* the default is"):
            Limits(**{name: value})


# --- pure parts ---


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nx\n```", "x\n"),
        ("```\nx\n```", "x\n"),
        ("```py\na\n```\nthen\n```python\nb\n```\nend", "b\n"),
        ("```python\nx\n```\nprints\n```text\n3\n```", "x\n"),
        ("```python\nx\n", "x\n"),
        ("  ```python\n  x\n  y\n  ```", "x\ny\n"),
        ("~~~\nx\n~~~", None),
        ('````python\ns = """\n```\n"""\n````', 's = """\n```\n"""\n'),
        ('```python\n"""\n    ```\n    x\n    ```\n"""\n```', '"""\n    ```\n    x\n    ```\n"""\n'),
        ("```python\nx\n```\n```", "x\n"),
        ("```python\nx\n\nNo:\n```python\ny\n```", "y\n"),
        ("```Python3.11\nx\n```", "x\n"),
        ("```pycon\n>>> x\n```", None),
        ("```python\r\nx\r\n```\r\n", "x\r\n"),
        ("```python\n\ufeffx\n```", "x\n"),
        ("```python\n```", None),
        ("```bash\nls\n```", None),
        # A block with a Python tag wins over later blocks without a tag: sample outputs, complexity notes.
        ("```python\nx\n```\nFor the sample it prints\n```\n3\n```", "x\n"),
        ("```\ny\n```\n```python\nx\n```\n```\nTime: O(1)\n```\n```text\n3\n```", "x\n"),
        ("```\nx\n```\nthen\n```\ny\n```", "y\n"),
        # A fence with text behind it closes the block.
        ("<answer>\n```python\nx\n```</answer>\nThis adds them.", "x\n"),
        ("```python\nx\n``` (O(1) time)\nIt adds them.\n```python\ny\n```", "y\n"),
        ("```python\nx\n``` This takes O(1).\nDone.", "x\n"),
        ('```python title="a.py"\nx\n```', "x\n"),
        ("```python {.numberLines}\nx\n```", "x\n"),
        ("\ufeff```python\nx\n```", "x\n"),
        # Markdown in a docstring belongs to the program.
        ('```python\n"""Adds.\n```\n1 2\n```\n"""\nx\n```', '"""Adds.\n```\n1 2\n```\n"""\nx\n'),
        (
            "```python\n'''Adds.\n```python\nadd(1)\n```\n'''\nx\n```",
            "'''Adds.\n```python\nadd(1)\n```\n'''\nx\n",
        ),
        ("```python\nx = 1  # not '''\n```\nIt is right.", "x = 1  # not '''\n"),
        ("no code", None),
        ("", None),
    ],
)
def test_extract_program(text, program):
    assert extract_program(text) == program


@LIGHT
@given(st.text(alphabet="`python\n ab", max_size=200))
def test_extract_program_never_raises(text):
    extract_program(text)


@pytest.mark.parametrize(
    "text",
    [
        "```" + "a" * 300_000 + "`",
        "```" + " " * 300_000 + "`",
        " " * 300_000 + "`",
        "`" * 300_000 + "x`",
        '```python\n"""\n' + "```\nx\n" * 60_000,
        '```python\nx = \'"""\'\n```\n' * 20_000,
    ],
)
def test_extract_program_takes_no_quadratic_time(text):
    begin = time.thread_time()
    extract_program(text)
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "same"),
    [
        ("3\n", b"3", None, True),
        ("3", b"3 \n\n", None, True),
        ("a\nb", b"a  \r\nb\r\n", None, True),
        ("a b", b"a  b", None, False),
        ("x", b" x", None, False),
        ("x\nx\n", b" \n \n", None, False),
        ("1.5", b"1.50", None, False),
        ("1.5", b"1.5000001", 1e-6, True),
        ("1.5", b"1.51", 1e-6, False),
        # An expected integer wants its value: it may be a count, for which a tolerance of 1e-6 allows an error of 1.
        ("1000000", b"1000000.5", 1e-6, False),
        ("0.5 1000000", b"0.5 1000050", 1e-4, False),
        ("1000000000", b"1000000001", 1e-6, False),
        ("1000000", b"1e6", 1e-6, True),
        ("1000000.0", b"1000000.5", 1e-6, True),
        ("2.0", b"2", 1e-6, True),
        ("1.5", b"nan", 1e-6, False),
        ("inf", b"inf", 1e-6, True),
        ("1e999", b"2e999", 1e-6, False),
        ("1e999", b"5", 1e-6, False),
        ("1.5", b"1_5", 1e-6, False),
        ("YES 1", b"YES 1.0", 1e-6, True),
        ("YES", b"\xff\xfe", None, False),
        ("1 2", b"1 2 2", 1e-6, False),
        ("", b"", None, True),
    ],
)
def test_outputs_match(expected, actual, tolerance, same):
    assert outputs_match(expected, actual, tolerance) is same


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("5.0\n", b"5\n", True),
        ("2.5", b"2.50", True),
        ("100000.0", b"1e5", True),
        ("0.0", b"-0.0", True),
        ("1 2\n3 4\n", b" 1 2\n 3  4\n", True),
        ("\n5\n", b"5", True),
        ("YES 1", b"YES 1.0", False),
        ("123456789012345678901", b"123456789012345678902", False),
        ("0.333333333333", b"0.333333", False),
        ("1\n2", b"1 2", False),
        ("nan", b"NaN", False),
        ("YES", b"yes", False),
        ("a b", b"a  b", False),
        ("1e999999999", b"2e999999999", False),
    ],
)
def test_outputs_by_the_decimal_rule(expected, actual, same):
    assert outputs_match(expected, actual, compare="decimal") is same
    assert not same or outputs_match(expected, expected.encode(), compare="lines")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@LIGHT
@given(JSON_VALUES, JSON_VALUES)
def test_results_match_only_what_is_written_the_same(left, right):
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert results_match(left, left)
    assert results_match(left, right) is results_match(right, left)
    assert same is False or results_match(left, right)


def test_results_match_is_strict_about_types():
    for left, right in [
        (1, True),
        (0, False),
        (3, 3.0),
        ("1", 1),
        ([], {}),
        (None, 0),
        ([1], [1, 1]),
        ({"a": 1}, {"b": 1}),
    ]:
        assert not results_match(left, right)
    assert not results_match(float("nan"), float("nan"))
    assert not results_match(float("inf"), 5.0, 1e-6)
    assert results_match(float("inf"), float("inf"), 1e-6)


def test_a_tolerance_never_forgives_an_expected_integer():
    assert not results_match(1_000_000, 1_000_050.0, 1e-4)
    assert not results_match(1_000_000, 1_000_001, 1e-4)
    assert results_match(1_000_000, 1_000_000.0, 1e-4)
    assert results_match(1_000_000.0, 1_000_050, 1e-4)


@LIGHT
@given(JSON_VALUES)
def test_plain_values_pass_unchanged(value):
    assert results_match(value, plain(value))


@pytest.mark.parametrize(
    "value", [{1}, b"x", object(), 1j, {None: 1}, range(3), type("L", (list,), {"__len__": len})()]
)
def test_other_values_are_refused(value):
    with pytest.raises(UnsupportedResult):
        plain(value)


# --- whether to ask another verifier ---


@pytest.mark.parametrize(
    "asked",
    [
        Problem("q", "algebra", "math", "?", answer=""),
        Problem("q", "algebra", "choice", "?", answer="neither"),
        Problem("q", "algebra", "essay", "?", answer="7"),
        Problem("q", "code", "code", "?", tests=None),
        Problem("q", "code", "code", "?", tests={"type": "stdio", "cases": []}),
    ],
    ids=lambda asked: f"{asked.kind} {asked.answer or asked.tests}",
)
def test_a_problem_that_nobody_can_grade_is_not_worth_another_try(verifier, asked):
    verdict = verifier.verify(asked, "```python\nprint(3)\n```" if asked.kind == "code" else "\\boxed{7}")
    assert (verdict.status, verdict.retry) == ("unverified", False)
