"""`vt-tools verify`: a file of rows in, a file of verdicts out, in order, for any content of the rows."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vt_ray.records import Verdict
from vt_ray.tools import app
from vt_ray.verify.files import grading
from vt_ray.verify.files.grading import Grading, limits_of
from vt_ray.verify.files.verdict_counts import VerdictCounts
from vt_ray.verify.files.verdict_file import grade_file
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits, SandboxConfig
from vt_ray.verify.sandbox.backends import NoSandbox

ROOT = Path(__file__).parents[2]
SUM = {"type": "stdio", "cases": [{"input": "1 2\n", "output": "3\n"}]}
RIGHT = "```python\nprint(sum(map(int, input().split())))\n```"


def choice(name, gold="B", said="B"):
    return {"id": name, "kind": "choice", "choice": gold, "response": rf"\boxed{{{said}}}"}


def code(name, response):
    return {"id": name, "kind": "code", "tests": SUM, "response": response}


def lines(rows):
    return [json.dumps(row).encode() + b"\n" for row in rows]


def write(path, rows):
    path.write_bytes(b"".join(lines(rows)))
    return path


def verify(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"COLUMNS": "200"})


def verdicts(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_of_all_kinds_and_rows_that_are_none(tmp_path):
    rows = write(
        tmp_path / "rows.jsonl",
        [
            code("right", RIGHT),
            code("wrong", "```python\nprint(4)\n```"),
            {"id": "m", "kind": "math", "gold": "0.5", "response": r"\boxed{1/2}"},
            choice("c"),
            choice("d", said="C"),
            {"id": "e", "kind": "essay", "response": ""},
        ],
    )
    rows.write_bytes(rows.read_bytes() + b"\xff\n\n" + lines([choice("last")])[0].strip())
    done = verify(rows, "--output", tmp_path / "out.jsonl", "--workers", 2)
    assert done.exit_code == 0, done.output
    found = verdicts(tmp_path / "out.jsonl")
    expected = ["correct", "wrong", "correct", "correct", "wrong", *["unverified"] * 3, "correct"]
    assert [row["verdict"] for row in found] == expected
    assert [row["id"] for row in found] == ["right", "wrong", "m", "c", "d", "e", 7, 8, "last"]
    assert all(list(row) == ["id", "verdict", "reason", "seconds"] for row in found)
    assert found[0]["seconds"] > 0
    for shown in ("code", "unreadable", "wrong_answer", "9 rows in", "rows/s", "sandbox: "):
        assert shown in done.output


def test_a_packed_file_and_the_end_of_what_was_written(tmp_path):
    loud = "```python\nimport sys\nprint('x' * 5000 + '\\x1b[2J')\nprint('\\x9b\\u202e', file=sys.stderr)\n```"
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines([code("a", loud)])[0]))
    assert verify(tmp_path / "rows.jsonl.gz", "--output", tmp_path / "out.jsonl", "--show-output").exit_code == 0
    (row,) = verdicts(tmp_path / "out.jsonl")
    assert row["stdout_tail"].endswith("xxx\\x1b[2J\n")
    assert len(row["stdout_tail"]) < 2_100
    assert row["stderr_tail"] == "\\x9b\\u202e\n"


def test_no_reason_steers_a_terminal(tmp_path):
    rows = [{"id": "t", "kind": "code", "tests": {"type": "\x1b[2J"}, "response": RIGHT}]
    done = verify(write(tmp_path / "rows.jsonl", rows), "--output", tmp_path / "out.jsonl")
    (row,) = verdicts(tmp_path / "out.jsonl")
    assert row["verdict"] == "unverified"
    assert row["reason"].isprintable()
    assert "\x1b[2J" not in done.output


def test_an_empty_file_has_no_verdicts(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    done = verify(tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_what_cannot_be_done_is_said(tmp_path):
    rows, out = write(tmp_path / "rows.jsonl", [choice("a")]), tmp_path / "out.jsonl"
    before = rows.read_bytes()
    for arguments, fault in [
        ((tmp_path / "none.jsonl", "--output", out), "is missing or not"),
        ((tmp_path, "--output", out), "not a file"),
        ((rows, "--output", tmp_path / "no" / "out.jsonl"), "cannot be written"),
        ((rows, "--output", tmp_path), "cannot be written"),
        ((rows, "--output", rows), "is the input itself"),
        ((rows, "--output", out, "--backend", "moat"), "backend 'moat' is not one of auto"),
        ((rows, "--output", out, "--memory-mb", 0), "memory_mb=0"),
        ((rows, "--output", out, "--test-timeout", "inf"), "test_timeout_s=inf"),
        ((rows, "--output", out, "--test-timeout", "1e308"), "test_timeout_s=1e+308"),
        ((rows, "--output", out, "--workers", 0), "--workers"),
    ]:
        done = verify(*arguments)
        assert done.exit_code != 0
        assert fault in done.output
        assert "Traceback" not in done.output
    assert rows.read_bytes() == before
    assert not out.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said(tmp_path):
    done = verify(write(tmp_path / "rows.jsonl", [choice("a")]), "--output", "/dev/full")
    assert done.exit_code != 0
    assert "/dev/full cannot be written: No space left" in done.output


def test_why_a_backend_was_taken_or_none_is_said(tmp_path, monkeypatch):
    class Refused(FakeVerifier):
        @property
        def backend(self):
            raise NoSandbox("code is refused, no sandbox works here")

    rows, out = write(tmp_path / "rows.jsonl", [code("a", "x")]), tmp_path / "out.jsonl"
    monkeypatch.setattr(grading, "Verifier", FakeVerifier)
    assert "sandbox: fake\n  a stand-in\n" in verify(rows, "--output", out).output
    monkeypatch.setattr(grading, "Verifier", Refused)
    assert "sandbox: none\n  code is refused, no sandbox works here\n" in verify(rows, "--output", out).output
    assert "sandbox" not in verify(write(rows, [choice("c")]), "--output", out).output


def test_limits_of_the_options():
    assert limits_of(Limits.test_timeout_s, Limits.memory_mb, SandboxConfig.backend) == Limits()
    assert limits_of(30, 64, "landlock") == Limits(30, 30, 64, sandbox=SandboxConfig("landlock"))
    assert limits_of(1, 64, "unsandboxed").sandbox == SandboxConfig("unsandboxed", unsafe=True)
    assert limits_of(1, 64, "http://box:8080").sandbox == SandboxConfig("remote", remote_url="http://box:8080")


def test_an_interrupt_leaves_whole_lines_and_a_count(tmp_path):
    slow = code("slow", "```python\nimport time\ntime.sleep(300)\n```")
    rows = write(tmp_path / "rows.jsonl", [choice(n) for n in range(50)] + [slow] + [choice(n) for n in range(50)])
    out = tmp_path / "out.jsonl"
    options = ["--output", str(out), "--workers", "2", "--test-timeout", "300"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vt_ray.tools", "verify", str(rows), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs, and all below them, are born with this signal ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: out.exists() and out.read_bytes().count(b"\n") == 50, 120)
    time.sleep(0.5)  # a row is counted just after its line is written
    process.send_signal(signal.SIGINT)
    # The slow program sleeps for 300 s.
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "holds the verdicts of the first 50 rows" in output
    assert "Traceback" not in output
    assert [row["id"] for row in verdicts(out)] == list(range(50))


# --- the threads, with a verifier that does as it is told ---


class FakeVerifier:
    """Does what the row's response says: fails with a reason, or takes some seconds."""

    made: list["FakeVerifier"] = []
    backend, backend_notes = "fake", ("a stand-in",)

    def __init__(self, limits):
        self.closed, self.asked = False, 0
        FakeVerifier.made.append(self)

    def grade(self, problem, text):
        self.asked += 1
        if text.startswith("sleep"):
            time.sleep(float(text.split()[1]))
        elif text.startswith("raise"):
            raise RuntimeError(text)
        elif text and (len(FakeVerifier.made) == 1 or not text.startswith("once")):
            lost = "lost" in text
            return GradingResult(Verdict("unverified", text.removeprefix("once "), 1.0, retry=lost))
        return GradingResult(Verdict("correct", "", 1.0))

    def close(self):
        self.closed = True


@pytest.fixture
def fake(monkeypatch):
    FakeVerifier.made = []
    monkeypatch.setattr(grading, "Verifier", FakeVerifier)
    return FakeVerifier


def said(name, response=""):
    return {"id": name, "kind": "math", "gold": "1", "response": response}


def graded(rows, workers=1):
    with Grading(Limits(), workers) as pool:
        assert pool.backend() == ("fake", ("a stand-in",))
        return list(pool.grade(lines(rows)))


def test_order_is_that_of_the_input_however_long_a_row_takes(fake):
    rows = [said(n, "sleep 0.2" if n % 20 == 0 else "") for n in range(60)]
    assert [one.row_id for one in graded(rows, workers=4)] == list(range(60))
    assert all(one.closed for one in fake.made)
    assert not [thread for thread in threading.enumerate() if thread.name == "grading"]


def test_a_row_that_loses_its_verifier_is_asked_once_more_of_another(fake):
    (one,) = graded([said("a", "once the sandbox broker was lost (EOFError: it ended)")])
    assert (one.result.verdict.status, one.retried) == ("correct", True)
    assert one.result.verdict.seconds == 2.0
    assert [verifier.asked for verifier in fake.made] == [1, 1]
    assert fake.made[0].closed


def test_a_row_that_loses_every_verifier_stays_unverified(fake):
    rows = [said("a", "the math process was lost twice"), said("b")]
    first, second = graded(rows)
    assert (first.result.verdict.status, first.retried) == ("unverified", True)
    assert (second.result.verdict.status, second.retried) == ("correct", False)


def test_a_row_that_nobody_can_grade_is_not_asked_again(fake):
    (one,) = graded([said("a", "gold unreadable")])
    assert not one.retried
    assert fake.made[0].asked == 1


def test_a_bug_in_the_verifier_ends_no_thread(fake):
    first, second = graded([said("a", "raise it"), said("b")])
    assert first.result.verdict.reason == "the grading failed: RuntimeError: raise it"
    assert second.result.verdict.status == "correct"


def test_the_file_is_read_no_further_than_the_window(fake, monkeypatch):
    monkeypatch.setattr(grading, "_WINDOW", 8)
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield lines([said(number, "sleep 0.3" if number == 0 else "")])[0]

    with Grading(Limits(), workers=2) as pool:
        results = pool.grade(endless())
        assert next(results).row_id == 0
        assert len(taken) <= 8


def test_retries_and_many_reasons_are_counted_within_bounds(fake, tmp_path):
    rows = [said("x", "once the sandbox broker was lost")]
    rows += [{"id": n, "kind": f"\x1b[31m{n}", "response": ""} for n in range(300)]
    tally = VerdictCounts()
    grade_file(write(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl", Limits(), 1, False, tally)
    assert (tally.rows, tally.retried) == (301, 1)
    assert len(tally.reasons) <= 201
    assert tally.reasons.total() == 300
    assert all(reason.isprintable() for _, reason in tally.reasons)


def wait_until(condition, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
