"""The child process for algebra and its spare: deadlines, replacement after a kill, and clean ends. No cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from vt_ray.records import Problem, Verdict
from vt_ray.verify.child.process import ChildProcess
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.grader import start_math_child
from vt_ray.verify.verifier import Verifier

BOMB_TIMEOUT_S = 1.0
ROOT = (r"\sqrt{8}", r"2\sqrt{2}")


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(math_timeout_s=BOMB_TIMEOUT_S)) as one:
        grade(one, *ROOT)
        yield one


@pytest.fixture(scope="module")
def cold_start_s():
    """Seconds from the start of a child until it is ready, on this machine under its present load."""
    begin = time.monotonic()
    worker = start_math_child(BOMB_TIMEOUT_S, 256)
    worker.wait_until_ready()
    worker.close()
    return time.monotonic() - begin


def grade(verifier: Verifier, gold: str, answer: str) -> Verdict:
    return verifier.verify(Problem("q", "algebra", "math", "?", answer=gold), f"So it is $\\boxed{{{answer}}}$.")


def pids(verifier: Verifier) -> tuple[int, int]:
    """Returns the process ids of the child and of its spare, both ready."""
    grade(verifier, *ROOT)
    child = verifier.grader("math")._child
    worker, spare = child._worker, child._spare
    spare.wait_until_ready()
    return worker.pid, spare.pid


BOMBS = [
    r"9^{9^{9^9}}",
    r"(10^8)!",
    r"10^{10^{10}}",
    r"1000000007 \bmod 10^{10^{9}}",
    r"\left((x+1)^{3000}\right)^{3000}",
    r"\int_0^1 \int_0^x e^{\sin(\cos(xy))^{x^y}} dy dx",
    "(" * 600 + "x" + ")" * 600,
    r"\begin{pmatrix}a&b\\c&d\end{pmatrix}^{100000}",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_wrong_within_the_deadline_and_the_next_pair_is_right(verifier, bomb):
    grade(verifier, r"\sqrt{8}", r"2\sqrt{2}")  # starting the child is not the bomb's time
    begin = time.monotonic()
    verdict = grade(verifier, "1", bomb)
    assert verdict.status == "wrong", verdict
    assert time.monotonic() - begin < 10 * BOMB_TIMEOUT_S + 10
    assert grade(verifier, r"\sqrt{8}", r"2\sqrt{2}").status == "correct"


def test_a_bomb_as_a_part_of_an_answer(verifier):
    assert grade(verifier, r"\{1,2\}", r"\{9^{9^{9^9}},2\}").status == "wrong"
    assert grade(verifier, "(1,2)", r"(1,9^{9^{9^9}})").status == "wrong"


@pytest.mark.parametrize("gold", ["9^{9^{9}}", r"\binom{10^9}{5\cdot 10^8}"])
def test_a_gold_that_is_a_bomb_makes_no_answer_correct_but_itself(verifier, gold):
    assert grade(verifier, gold, gold).status == "correct"
    assert grade(verifier, gold, "1").status != "correct"


def test_memory_that_runs_out_is_the_answers_fault():
    with Verifier(Limits(math_timeout_s=20.0, memory_mb=256)) as small:
        verdict = grade(small, "1", r"\left(10^{10^8}\right)^2+x^{10^{8}}-\left(10^{10^8}+1\right)^{10}")
        assert verdict.status == "wrong"
        assert verdict.reason in ("memory", "timeout", "wrong_answer")
        assert grade(small, *ROOT).status == "correct"


def test_a_child_that_ignores_alarms_is_killed_and_the_spare_takes_over_at_once(verifier, monkeypatch, cold_start_s):
    worker, spare = pids(verifier)
    real = ChildProcess.ask

    def stopped(self, line):
        if self.pid == worker:
            os.kill(worker, signal.SIGSTOP)
        return real(self, line)

    monkeypatch.setattr(ChildProcess, "ask", stopped)
    assert grade(verifier, r"\sqrt{18}", r"2\sqrt{2}") == Verdict("wrong", "timeout", pytest.approx(3.5, abs=3.0))
    begin = time.monotonic()
    assert grade(verifier, *ROOT).status == "correct"
    assert time.monotonic() - begin < cold_start_s
    assert pids(verifier)[0] == spare
    assert not Path(f"/proc/{worker}").exists()


def test_a_killed_child_is_replaced_by_the_spare_and_the_next_spare_starts_behind_it(verifier, cold_start_s):
    worker, spare = pids(verifier)
    os.kill(worker, signal.SIGKILL)
    begin = time.monotonic()
    assert grade(verifier, *ROOT).status == "correct"
    assert time.monotonic() - begin < cold_start_s
    now, next_spare = pids(verifier)
    assert now == spare
    assert next_spare not in (worker, spare)


def test_an_answer_that_ends_the_child_twice_is_wrong_and_not_unverified(verifier, monkeypatch):
    """The kill represents a crash in a library's C code; no input that causes one is known."""
    real = ChildProcess.ask

    def crashing(self, line):
        if b"2y" in line:
            os.kill(self.pid, signal.SIGKILL)
        return real(self, line)

    monkeypatch.setattr(ChildProcess, "ask", crashing)
    assert grade(verifier, r"\sqrt{8}", r"2y\sqrt{2}") == Verdict("wrong", "wrong_answer", pytest.approx(5.0, abs=5.0))
    assert grade(verifier, r"2y+\sqrt{8}", r"\sqrt{2}").status == "unverified"
    assert grade(verifier, *ROOT).status == "correct"


def test_a_spare_that_died_is_no_loss(verifier):
    worker, spare = pids(verifier)
    os.kill(spare, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert grade(verifier, *ROOT).status == "correct"
    assert grade(verifier, *ROOT).status == "correct"


def test_a_child_lost_twice_is_unverified_not_wrong(verifier, monkeypatch):
    def killed(self, line):
        os.kill(self.pid, signal.SIGKILL)
        raise EOFError

    with monkeypatch.context() as patched:
        patched.setattr(ChildProcess, "ask", killed)
        verdict = grade(verifier, r"\sqrt{8}", r"3\sqrt{2}")
    assert verdict.status == "unverified"
    assert "twice" in verdict.reason
    assert grade(verifier, *ROOT).status == "correct"


def test_close_leaves_no_process():
    with Verifier(Limits()) as one:
        both = pids(one)
    assert not any(Path(f"/proc/{pid}").exists() for pid in both)


def test_a_child_ends_with_its_owner():
    worker = start_math_child(1.0, 512)
    worker.wait_until_ready()
    worker._process.stdin.close()  # what happens when the owner dies
    assert worker._process.wait(timeout=5) == 0
    worker.close()


def test_a_child_whose_parent_has_gone_ends_in_the_middle_of_a_pair():
    worker = start_math_child(60.0, 512)
    try:
        worker.wait_until_ready()
        pair = {"gold": "1", "answer": BOMBS[5]}  # takes sympy minutes, in Python code
        worker._process.stdin.write(json.dumps(pair).encode() + b"\n")
        with pytest.raises(subprocess.TimeoutExpired):
            worker._process.wait(timeout=1.0)
        worker._process.stdin.close()  # as the system does when the parent ends
        assert worker._process.wait(timeout=10.0) == 0
    finally:
        worker.close()
