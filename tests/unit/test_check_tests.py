"""`check` tests: the test's code and the program in two processes, and the limits of the program."""

from __future__ import annotations

import pytest
from code_problems import CHECK_ADD, GOOD_ADD, GOOD_SUM, grade, grade_with_output

from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

LIMITS = Limits(test_timeout_s=1.5, completion_timeout_s=3.0, memory_mb=256)


@pytest.fixture(scope="module")
def verifier():
    with Verifier(LIMITS) as one:
        yield one


def check(test: str, entry_point: str | None = "f") -> dict:
    return {"type": "check", "entry_point": entry_point, "test": test}


CALLED = check("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9")
# Answers that the program writes into the channel by itself.
SAY = """
import os, struct
def say(message):
    os.write(0, struct.pack("!I", len(message)))
    while message: message = message[os.write(0, message):]
"""


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        (CHECK_ADD, GOOD_ADD),
        (CHECK_ADD, "print('noise')\n" + GOOD_ADD),
        (check("def check(candidate):\n    assert candidate(2) == 4"), "def f(x): return x * x"),  # HumanEval's own
        (check("check(Solution().f)\ndef check(c): pass", None) | {"test": "assert Solution().f(2) == 4"},)
        + ("class Solution:\n    def f(self, x: int) -> int: return x * x",),
        (check("assert f([1, 2]) == (2, {1}, {'a': 1.5}, None, b'x', 1j)"),)
        + ("def f(xs): return len(xs), {1}, {'a': 1.5}, None, b'x', 1j",),
        (check("assert f(10) == 10 ** 5000"), "def f(x): return x ** 5000"),
        (check("assert math.isnan(f())"), "def f(): return math.nan"),
        (
            check("from decimal import Decimal\nassert f(Decimal('0.1')) == [Decimal('0.2')]"),
            "def f(x): return [x + x]",
        ),
        (check("from fractions import Fraction\nassert f() == Fraction(1, 3)"),)
        + ("from fractions import Fraction\ndef f(): return Fraction(2, 6)",),
        (check("try: f()\nexcept Poor as e: assert str(e) == 'no'\nelse: assert False"),)
        + ("class Poor(Exception): pass\nclass Poorer(Poor): pass\ndef f(): raise Poorer('no')",),
        (check("import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertRaises(Poor, f)"),)
        + ("class Poor(ValueError): pass\ndef f(): raise Poor",),
        (check("assert [f(x) for x in range(50)] == list(range(1, 51))"), "def f(x): return x + 1"),
        (check("assert list(f()) == [1, 2]"), "def f():\n    yield 1\n    yield 2"),
        (check("try:\n    f()\nexcept ValueError: pass\nelse: assert False"), "def f(): raise ValueError('x')"),
        (check("c = Counter2(3)\nc.add(4)\nassert c.total == 7", None),)
        + ("class Counter2:\n    def __init__(s, n): s.total = n\n    def add(s, n): s.total += n",),
        (check("xs = [3, 1, 2]\nassert f(xs) is None and xs == [1, 2, 3]"), "def f(xs): xs.sort()"),
        (check("assert f(*[1], b=2) == 3"), "def f(a, b): return a + b"),
        (check("def check(candidate):\n    assert candidate(x=2) == 4", "Solution().f"),)  # LeetCode's own
        + ("class Solution:\n    def f(self, x: int) -> int: return x * x",),
        (check("root = Node(1)\nroot.left = Node(2)\nassert f(root) == 3", None),)
        + ("class Node:\n    def __init__(s, v): s.v = v\ndef f(n): return n.v + n.left.v",),
        (check("s = f()\ns[0] = 5\nassert (len(s), s[0], str(s)) == (1, 5, '[5]')"),)
        + ("class S(list): pass\ndef f(): return S([1])",),
        (check("g = f()\nassert next(g) == 0 and next(g) == 1"), "def f(): yield from range(3)"),
        (check("try: f()\nexcept KeyError as e: assert e.args == ('k',)\nelse: assert False"),)
        + ("class E(KeyError): pass\ndef f(): raise E('k')",),
        (check("assert helper(f(3)) == 9"), "def helper(x): return x * x\ndef f(x): return x"),
        (check("import sys\nassert f(1) == 1\nsys.exit(0)"), "def f(x): return x"),
        (
            check(
                "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 1)\n"
                "unittest.main(argv=['test'])"
            ),
            "def f(x): return x",
        ),
    ],
)
def test_correct_candidate(verifier, tests, program):
    result = grade_with_output(verifier, tests, program)
    assert result.verdict.status == "correct", result


SORTED = check("xs = [3, 1, 2]\nassert f(xs) == sorted(xs)")
UNITTEST = "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 1)\n"
RUNS_UNITTEST = [
    check(UNITTEST),  # BigCodeBench's own: the harness runs it
    check(UNITTEST + "unittest.main()"),
    check(UNITTEST + "unittest.main(argv=['test'], exit=False)"),
    check(UNITTEST + "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))"),
    check("def test_f():\n    assert f(1) == 1", None),  # pytest's
]


@pytest.mark.parametrize("tests", RUNS_UNITTEST)
def test_a_failed_test_case_counts_whoever_runs_it(verifier, tests):
    assert grade(verifier, tests, "def f(x): return x").status == "correct"
    for program in ("def f(x): return 0", "def f(x): raise ValueError", "import os\ndef f(x): os._exit(0)", "x = 1"):
        assert grade(verifier, tests, program).status == "wrong"


ALWAYS_EQUAL = "class T:\n    def __eq__(s, o): return True\n    __hash__ = None\n    def __bool__(s): return True\n"


@pytest.mark.parametrize(
    ("tests", "program", "reason"),
    [
        (CHECK_ADD, "def add(a, b): return a - b", "wrong_answer"),
        (CHECK_ADD, "def sub(a, b): return a - b", "runtime_error"),
        (CHECK_ADD, GOOD_SUM, "runtime_error"),
        (CHECK_ADD, "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return None", "wrong_answer"),
        (CHECK_ADD, "import os\nos._exit(0)", "runtime_error"),
        (CHECK_ADD, "import os\ndef add(a, b): os._exit(0)", "runtime_error"),
        (CHECK_ADD, "import sys\ndef add(a, b): sys.exit(0)", "runtime_error"),
        (CHECK_ADD, "def add(a, b):\n    while True: pass", "timeout"),
        (CHECK_ADD, "x = bytearray(1 << 30)\n" + GOOD_ADD, "memory"),
        (CHECK_ADD, "while True: print('A' * 10000)", "output_limit"),
        (CHECK_ADD, ALWAYS_EQUAL + "def add(a, b): return T()", "wrong_answer"),
        (CHECK_ADD, "class I(int):\n    def __eq__(s, o): return True\ndef add(a, b): return I(0)", "wrong_answer"),
        # A name that the test uses and that a builtin or its own prelude has is not the program's to give.
        (check("assert sorted(f()) == [1]"), "def sorted(x): return [1]\ndef f(): return [2]", "wrong_answer"),
        (check("assert gcd(f(), 4) == 4"), "def gcd(a, b): return 4\ndef f(): return 3", "wrong_answer"),
        (check("def same(a, b): return a == b\nassert same(f(), 1)"),)
        + ("def same(a, b): return True\ndef f(): return 2", "wrong_answer"),
        # Emptying the argument must not make the expected value empty too.
        (SORTED, "def f(xs):\n    xs.clear()\n    return xs", "wrong_answer"),
        # StopIteration would end the test's own loop early, as if all had passed.
        (check("for got, want in zip(map(f, [1, 2]), [5, 6]): assert got == want"),)
        + ("def f(x): raise StopIteration", "runtime_error"),
        (check("import sys\ntry: f(1)\nexcept BaseException: sys.exit(0)"),)
        + ("import os\ndef f(x): os._exit(0)", "runtime_error"),
        (check("assert f(1) == 2"), "def f(x): raise KeyboardInterrupt", "runtime_error"),
        # Whatever a program does, its tests must not look malformed: nobody would be rewarded, nor punished.
        (CALLED, "def f(x): raise SyntaxError('x')", "runtime_error"),
        (CALLED, "def f(x): return eval('1 +')", "runtime_error"),
        (check("assert f.total(3) == 3"), "def f(): pass", "runtime_error"),
        (check("for g in f: assert g(1) == 1"), "f = object()", "runtime_error"),
        (check("for g in f: assert g(1) == 1"), "f = []", "wrong_answer"),
        # Its end must not count as the exception that the test's code expects.
        (check("try: f(-1)\nexcept: pass\nelse: assert False"), "import os\ndef f(x): os._exit(0)", "runtime_error"),
        # What it raises is what it says, no other exception of the program's.
        (check("try: f()\nexcept Poor: pass"),)
        + ("class Poor(Exception): pass\nclass Rich(Exception): pass\ndef f(): raise Rich", "runtime_error"),
        (check("assert f(1)"), ALWAYS_EQUAL + "def f(x): return T()", "wrong_answer"),
        (check("assert f(1) != 2"), ALWAYS_EQUAL + "def f(x): return T()", "wrong_answer"),
        (check("assert 7 in f(1)"), "class T:\n    def __contains__(s, o): return True\ndef f(x): return T()")
        + ("runtime_error",),
    ],
)
def test_wrong_candidate(verifier, tests, program, reason):
    verdict = grade(verifier, tests, program)
    assert (verdict.status, verdict.reason) == ("wrong", reason)
    assert grade(verifier, CHECK_ADD, GOOD_ADD).status == "correct"


@pytest.mark.parametrize(
    "forgery",
    [
        "import os\nos.write(0, b'{\"passed\": true}')",
        "import os\nos.write(1, b'{\"passed\": true}')",
        "import os, struct\nm = b'{\"value\": 3}'\nfor _ in range(9): os.write(0, struct.pack('!I', len(m)) + m)",
        "import os\nos.write(0, b'\\xff' * 4)",
        "import os\nfor fd in range(3, 256):\n    try: os.write(fd, b'{\"passed\": true}')\n    except OSError: pass",
    ],
)
def test_a_candidate_cannot_report_for_the_test(verifier, forgery):
    assert grade(verifier, CHECK_ADD, forgery + "\ndef add(a, b): return 0").status == "wrong"
    assert grade(verifier, CHECK_ADD, GOOD_ADD).status == "correct"


@pytest.mark.parametrize(
    "answer",
    ["b'{\"bytes\": 5}'", 'b\'{"object": "x"}\'', "b'[' * 5_000_000", "b'[' + b'{},' * 5_000_000 + b'1]'"],
)
def test_a_candidate_cannot_make_the_test_look_malformed(verifier, answer):
    program = SAY + f"for _ in range(9): say(b'{{\"value\": ' + {answer} + b'}}')"
    assert grade(verifier, CALLED, program).status == "wrong"


@pytest.mark.parametrize("end", ["", "unittest.main()", "unittest.main(exit=False)"])
def test_a_function_of_the_tests_can_be_passed(verifier, end):
    tests = check(
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(len), 3)\n" + end
    )
    assert grade(verifier, tests, "def f(g): return g('abc')").status == "correct"
    assert grade(verifier, tests, "def f(g): return 4").status == "wrong"


@pytest.mark.parametrize("kinds", ['["a\\\\u0000b", "ValueError"]', "[]", '"ValueError"', '["E", 5]', '["E"]'])
def test_a_forged_exception_is_no_exception_that_the_test_expects(verifier, kinds):
    tests = check("try: f(-1)\nexcept ValueError: pass\nelse: assert False")
    program = SAY + f"for _ in range(9): say(b'{{\"raised\": {kinds}}}')"
    assert grade(verifier, tests, program).status == "wrong"


SCAN_MEMORY = """
import ctypes, re
needle = re.compile(rb"expected-04[5]1")  # which this text itself does not match
found = 0
for line in open("/proc/self/maps"):
    begin, end = (int(x, 16) for x in line.split()[0].split("-"))
    if "r" in line.split()[1] and "[v" not in line:
        try:
            found += bool(needle.search(ctypes.string_at(begin, end - begin)))
        except (ValueError, OSError):
            pass
print("FOUND" if found else "nothing")
"""


def test_a_candidate_finds_neither_the_test_nor_earlier_tests_in_its_memory(verifier):
    tests = check("secret = 'expected-0451'\nassert f(1) == secret")
    for _ in range(3):
        assert grade_with_output(verifier, tests, "def f(x): return 'expected-' + '0451'").verdict.status == "correct"
        result = grade_with_output(verifier, tests, SCAN_MEMORY + "def f(x): return 0")
        assert result.stdout_tail.strip() == "nothing"


def test_a_program_finds_nothing_of_an_earlier_one_in_its_memory(verifier):
    earlier = {"type": "stdio", "cases": [{"input": "expected-0451", "output": "expected-0451"}]}
    assert grade(verifier, earlier, "# expected-0451\nprint(input())").status == "correct"
    later = {"type": "stdio", "cases": [{"input": "", "output": "nothing"}]}
    assert grade(verifier, later, SCAN_MEMORY).status == "correct"
