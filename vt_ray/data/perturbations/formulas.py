"""Perturbations of formulas: another name of a variable, the digits of another script."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from vt_ray.data.perturbations.prose import PROGRAM
from vt_ray.records import Problem

# Letters that are rarely a unit, a constant, a function or a word.
VARIABLES = "xyzuvwnkpqt"
# The digits of four scripts: Arabic-Indic, Devanagari, Bengali, full width. Each begins with its zero.
SCRIPTS = tuple("".join(chr(zero + digit) for digit in range(10)) for zero in (0x0660, 0x0966, 0x09E6, 0xFF10))
_CODE = re.compile(r"```|\[asy\]|\\includegraphics|https?://")
_COMMAND = re.compile(r"\\(?:text\w*|mathrm|mathbf|operatorname|begin|end|label|ref)\*?\s*\{[^{}]*\}|\\[A-Za-z]+")
_AXIS = re.compile(r"\b[a-z]\$?-?\s?(?:-axis|axis|axes|intercepts?|coordinates?|values?|direction|th\b)")
_FORMULA = re.compile(r"\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
_APOSTROPHE = re.compile(r"[’'][A-Za-z]+")
_LETTERS = re.compile(r"[A-Za-z]+")


def with_renamed_variable(problem: Problem, rng: Random) -> Problem | None:
    """Gives one variable another letter, in the whole question.

    Returns None if no letter is certainly a variable. Such a letter is in a formula between dollar signs, or, without
    such formulas, beside a digit or a sign. It is no part of a word or a product anywhere, and not in the answer. The
    new letter is not in the question.
    """
    text = "\n".join([problem.question, *problem.options])
    plain = _COMMAND.sub(" ", text)
    if problem.kind not in ("math", "choice") or _CODE.search(text) or _AXIS.search(plain):
        return None
    alone = {run for run in _LETTERS.findall(plain) if len(run) == 1}
    kept = _joined_letters(text, plain) | set(problem.answer) | {letter.lower() for letter in alone if letter.isupper()}
    old = [v for v in VARIABLES if v in alone and v not in kept and _is_variable(v, problem, text)]
    new = [v for v in VARIABLES if v not in alone and v not in kept]
    if not old or not new:
        return None
    before, after = rng.choice(old), rng.choice(new)
    question, *options = (_renamed(part, before, after) for part in (problem.question, *problem.options))
    return replace(problem, question=question, options=tuple(options))


def _is_variable(letter: str, problem: Problem, text: str) -> bool:
    formulas = " ".join(match[0] for match in _FORMULA.finditer(text))
    if re.search(
        rf"\d\s*{letter}\s*\$?\d|\b{letter}\.[a-z]|\({letter}\)(?!\s*[=<>])\s+[a-z]", text
    ):  # "5 x 10", "p.m."
        return False
    if formulas:
        return letter in _LETTERS.findall(_COMMAND.sub(" ", formulas))
    return problem.kind == "math" and re.search(rf"\d{letter}\b|\b{letter}\s?[=^+]", text) is not None


def _joined_letters(text: str, plain: str) -> set[str]:
    """The letters of short runs (the product xy, the unit km), behind an apostrophe, and in texts within formulas."""
    formulas = " ".join(match[0] for match in _FORMULA.finditer(text)) or text
    runs = [run for run in _LETTERS.findall(plain) if len(run) == 2]
    runs += [run for run in _LETTERS.findall(_COMMAND.sub(" ", formulas)) if len(run) in (2, 3)]
    runs += _APOSTROPHE.findall(plain)
    runs += [run for match in _COMMAND.finditer(text) if "{" in match[0] for run in _LETTERS.findall(match[0])[1:]]
    return set("".join(runs).lower())


def _renamed(text: str, before: str, after: str) -> str:
    """The text with every single letter `before` outside LaTeX commands replaced by `after`."""
    parts, position = [], 0
    single = re.compile(rf"(?<![A-Za-z]){before}(?![A-Za-z])")
    for command in _COMMAND.finditer(text):
        parts += [single.sub(after, text[position : command.start()]), command[0]]
        position = command.end()
    return "".join([*parts, single.sub(after, text[position:])])


def with_other_digits(problem: Problem, rng: Random) -> Problem | None:
    """Writes every digit of the question, and of its options, in another script. The answer stays as it is."""
    text = "\n".join([problem.question, *problem.options])
    digits = any(char in "0123456789" for char in problem.question)
    if problem.kind not in ("math", "choice") or _CODE.search(text) or PROGRAM.search(text) or not digits:
        return None
    table = str.maketrans("0123456789", rng.choice(SCRIPTS))
    options = tuple(option.translate(table) for option in problem.options)
    return replace(problem, question=problem.question.translate(table), options=options)
