"""The kinds of problems, in one table. Their entries hold all differences between two kinds.

    problem.kind --KINDS--> ProblemKind: grader, prompt suffix, evaluation settings, checks of the gold answer
                 --verify.kinds (a user's function)--> CUSTOM

This module imports no grader: SFT reads the prompt suffix here, and its result must not depend on the graders' code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vt_ray.import_path import import_callable


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problems.

    `grader` is the import path of the class that grades a completion: `Grader` in `verifier.py`, created with `Limits`.
    `gold_field` is the field with the gold answer in a row of `vt-tools verify`, and `gold_type` its JSON type.
    `gold_pattern` is the regular expression of a gold answer in a problem file, `gold_form` the same in words.
    `prompt_suffix` is the field of DataConfig with the text that follows each question, "" for no text.
    `evaluation` holds the fields of EvaluationConfig with the number of samples and the temperature.
    `needs_sandbox` is True if grading runs a program that the model wrote.
    `is_second` is True for a second grader of other kinds' problems. No row is of this kind unless it says so.
    """

    grader: str = ""
    gold_field: str = ""
    gold_type: type = str
    gold_pattern: str = ""
    gold_form: str = ""
    prompt_suffix: str = "math_suffix"
    evaluation: tuple[str, str] = ("samples", "temperature")
    needs_sandbox: bool = False
    is_second: bool = False


KINDS = {
    "math": ProblemKind(
        grader="vt_ray.verify.mathematics.grader:MathGrader",
        gold_field="gold",
    ),
    "choice": ProblemKind(
        grader="vt_ray.verify.choice:ChoiceGrader",
        gold_field="choice",
        gold_pattern="[A-Z]",
        gold_form="one letter A to Z",
    ),
    "code": ProblemKind(
        grader="vt_ray.verify.programs.grader:CodeGrader",
        gold_field="tests",
        gold_type=dict,
        prompt_suffix="code_suffix",
        evaluation=("code_samples", "code_temperature"),
        needs_sandbox=True,
    ),
    # The rules of the paper's own evaluation: `dataclasses.replace(problem, kind="vibethinker")` for math and choice.
    "vibethinker": ProblemKind(
        grader="vt_ray.verify.vibethinker.grader:VibeThinkerGrader",
        gold_field="gold",
        is_second=True,
    ),
}
# A kind of the setting verify.kinds: the user's function grades it and reads what it needs from the problem's fields.
CUSTOM = ProblemKind(grader="vt_ray.verify.custom.grader:FunctionGrader", prompt_suffix="")


def kind_entry(name: str) -> ProblemKind:
    """The entry of a kind; `CUSTOM` for a name that is not in the table."""
    return KINDS.get(name, CUSTOM)


def kind_names(custom: Iterable[str] = ()) -> str:
    """The names of all kinds of problems, for a message: "math, choice, code, my_kind"."""
    return ", ".join([*(name for name, entry in KINDS.items() if not entry.is_second), *custom])


def kind_fault(name: str, path: str) -> str | None:
    """The fault of one entry of the setting verify.kinds, with its remedy; None if there is no fault."""
    at = f"verify.kinds.{name}={path}"
    if name in KINDS or not re.fullmatch(r"[a-z]\w*", name):
        return f"{at}: a name of lower-case letters, digits and _ is needed, other than {kind_names()}"
    try:
        import_callable(path, ("text", "fields"))
    except ValueError as error:
        return f"{at}: {error}"
    return None
