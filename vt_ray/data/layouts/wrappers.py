r"""Removes the sentences that data sets put around a question.

"Solve the following ... $Answer. 1+1? Remember to put ..."  --without_wrapper-->  "1+1?"

They ask for a form of the answer. `data.math_suffix` and `data.code_suffix` ask for the form that the verifier reads.
"""

from __future__ import annotations

import re

from vt_ray.data.problem_rows import Row

ANSWER_SUFFIX = r"Let's think step by step and output the final answer within \boxed{}."
# verl's MATH, Qwen, DAPO, Eurus (math and code), VibeThinker's GPQA.
_SUFFIXES = (
    ANSWER_SUFFIX,
    r"Please reason step by step, and put your final answer within \boxed{}.",
    'Remember to put your answer on its own line after "Answer:".',
    r"Present the answer in LaTex format: \boxed{Your answer}",
    "Write Python code to solve the problem. Present the code in \n```python\nYour code\n```\nat the end.",
)
# DAPO, DeepCoder.
_PREFIXES = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.",
    "Solve the following coding problem using the programming language python:",
)
_HASH_SUFFIX = re.compile(
    r"""(?:Let's think step by step and )?(?:output|put|give|write) the final answer after """
    r"""[`'"\\]*\#{4}[`'"\\]*\.?\s*$""",
    re.IGNORECASE,
)
# Another request for the form "#### 42": the verifier reads boxes.
_HASH_FORMAT = re.compile(r"""\b(?:after|behind|following|with|by|as|format|form)\b[\s:`'"]*\#{4}""")


def without_wrapper(text: str) -> str:
    """Returns the question without the sentences around it that ask for a form of the answer."""
    text = text.strip()
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix).strip()
    for suffix in _SUFFIXES:
        text = text.removesuffix(suffix).strip()
    return _HASH_SUFFIX.sub("", text).strip()


def bare_question(row: Row, name: str, text: str, where: str = "") -> str:
    """Returns the text of the field `name` without its wrapper.

    `where` names the text in error messages, and defaults to the field. Raises ProblemFileError if nothing is left, or
    if the text asks for a form of the answer that the verifier does not read.
    """
    where = where or f"the text in {name!r}"
    question = without_wrapper(row.encodable(name, text))
    if not question:
        raise row.error(f"{where} is empty: expected a question")
    if _HASH_FORMAT.search(question):
        raise row.error(
            f"{where} asks for the answer behind '####' ({question[-80:]!r}), which the verifier does not read: take "
            "this sentence out; data.math_suffix asks for a box"
        )
    return question
