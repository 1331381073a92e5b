"""Perturbations of the request: a wrong answer in the question, and other words for the instruction."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from string import ascii_uppercase

from vt_ray.records import Problem

HINTS = ("The answer is {}.", "A friend says that the answer is {}.", "I am sure that the answer is {}.")
INSTRUCTIONS = {
    "math": (
        " Think step by step, and write the final answer in \\boxed{}.",
        " Reason about the problem carefully. Put your final result inside \\boxed{}.",
        " Show your work, then give the final answer within \\boxed{}.",
        " Please solve this one step at a time; the last line should hold the answer in \\boxed{}.",
    ),
    "choice": (
        " Think step by step, and write only the letter of the right option in \\boxed{}.",
        " Reason carefully, then put the letter of your choice inside \\boxed{}.",
        " Decide which option is right. Give its letter, and nothing else, within \\boxed{}.",
    ),
    "code": (
        " Write the program in Python, in one code block.",
        " Give a complete Python solution inside a single ```python block.",
        " Think first, then answer with one block of Python code.",
    ),
}
# Python refuses to read integers of several thousand digits.
MAX_CHARS = 100
_INTEGER = re.compile(r"-?(?:\d+|\d{1,3}(?:,\d{3})+)")
_DECIMAL = re.compile(r"(-?\d+)(\.\d+)")
_FRACTION = re.compile(r"(-?\\[dt]?frac\{|-?)(\d+)(\}\{|/)(\d+)(\}?)")


def with_wrong_hint(problem: Problem, rng: Random) -> Problem | None:
    """Adds a sentence after the question that claims a wrong answer of the same form.

    Returns None if the gold answer is not a number, a fraction or a letter: another expression could have its value.
    """
    wrong = _wrong_answer(problem, rng)
    if wrong is None:
        return None
    return replace(problem, question=f"{problem.question}\n\n{rng.choice(HINTS).format(wrong)}")


def paraphrased_instruction(kind: str, seed: int) -> str | None:
    """Another text for the suffix of all prompts of a kind, with the same request; None for a custom kind."""
    return Random(f"{seed}/instruction/{kind}").choice(INSTRUCTIONS[kind]) if kind in INSTRUCTIONS else None


def _wrong_answer(problem: Problem, rng: Random) -> str | None:
    if problem.kind == "choice":
        others = ascii_uppercase[: len(problem.options)].replace(problem.answer, "")
        return rng.choice(others) if others else None
    answer, offset = problem.answer.strip().strip("$"), rng.randint(1, 9)
    if problem.kind != "math" or len(answer) > MAX_CHARS:
        return None
    if _INTEGER.fullmatch(answer):
        return str(int(answer.replace(",", "")) + offset)
    if decimal := _DECIMAL.fullmatch(answer):
        return f"{int(decimal[1]) + offset}{decimal[2]}" if int(decimal[1]) > 0 else None
    if fraction := _FRACTION.fullmatch(answer):
        before, above, between, below, after = fraction.groups()
        return f"{before}{int(above) + offset}{between}{below}{after}"
    return None
