r"""Reads the user's own problems from a file into `Problem` records.

    path --> problem_rows.read_rows --> (row number, fields) --> the layout's adapter --> Problem

| layout | known by | answer |
|---|---|---|
| ours | `question_id`, `kind` or `subdomain` | `answer` |
| verl / rllm | `prompt` or `reward_model` | `reward_model.ground_truth` |
| MATH, Minerva | `problem` | `answer` |
| GSM8K | `question` | the text after `####` at the end of `answer` |
| code: see `code_readers` | `tests`, or `test` and `entry_point` | the tests |

`golds.gold_text` writes each answer as text. All elements of a list are parts of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from vt_ray.data.code_readers import code_problem, is_code
from vt_ray.data.golds import is_blank
from vt_ray.data.json_text import loads
from vt_ray.data.problem_rows import ProblemFileError, Row, read_rows
from vt_ray.import_path import import_object
from vt_ray.progress import bar, console
from vt_ray.records import Problem, Solution
from vt_ray.verify.kinds import KINDS, ProblemKind, kind_entry, kind_names

__all__ = ["ProblemFileError", "read_problems"]

# Sentences of data sets around a question that ask for a form of the answer: verl's MATH, Qwen, DAPO, verl's GSM8K.
# They are removed, because `data.math_suffix` asks for the form that the verifier reads.
ANSWER_SUFFIX = r"Let's think step by step and output the final answer within \boxed{}."
_SUFFIXES = (
    ANSWER_SUFFIX,
    r"Please reason step by step, and put your final answer within \boxed{}.",
    'Remember to put your answer on its own line after "Answer:".',
)
_PREFIXES = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.",
)
_HASH_SUFFIX = re.compile(
    r"""(?:Let's think step by step and )?(?:output|put|give|write) the final answer after """
    r"""[`'"\\]*\#{4}[`'"\\]*\.?\s*$""",
    re.IGNORECASE,
)
# Another request for the form "#### 42": the verifier reads boxes.
_HASH_FORMAT = re.compile(r"""\b(?:after|behind|following|with|by|as|format|form)\b[\s:`'"]*\#{4}""")
# A larger share means that the layout was misread, or that its answers cannot be graded here.
_MAX_UNREADABLE = 0.05
_NAMED_ROWS = 5
MANY_GOLDS = 2_000
DEFAULT_SUBDOMAIN = "math"

_OUR_FIELDS = ("question_id", "kind", "subdomain")
_MATH_TYPES = {
    "prealgebra": "algebra",
    "intermediate algebra": "algebra",
    "counting & probability": "statistics",
}


def read_problems(
    path: str | Path,
    subdomain: str | None = None,
    drop_unanswered: bool = False,
    custom_kinds: Collection[str] = (),
    encoding: str = "",
) -> list[Problem]:
    """Reads the problems of a source: a file, a folder, a glob or a hub name, see `vt_ray.data.sources`.

    `custom_kinds` are the names in verify.kinds. `encoding` is that of .csv files; "" detects it.

    `subdomain` overrides the subdomains of the rows; rows without one belong to "math". With `drop_unanswered`, rows
    without a gold answer or with an unreadable one are left out. Otherwise a missing gold answer is an error, and so
    are unreadable ones in more than 5% of the rows; fewer are printed. Raises ProblemFileError with the file, the row
    (from 1), the fault and the expected form.
    """
    problems: list[Problem] = []
    firsts: dict[str, Problem] = {}
    for row in read_rows(path, encoding):
        if drop_unanswered and not _is_custom(row, custom_kinds) and _unanswered(row):
            continue
        problem = replace(_problem(row, subdomain, custom_kinds), row=row.number)
        first = firsts.setdefault(problem.question_id, problem)
        if first is not problem:
            place = "" if first.source == problem.source else f" of {first.source}"
            raise row.error(
                f"question_id {problem.question_id!r} is already that of row {first.row}{place}: make them differ"
            )
        problems.append(problem)
    if not problems:
        raise ProblemFileError(f"{path}: no problem in it: expected at least one row with a question and an answer")
    return _with_readable_golds(path, problems, drop_unanswered)


def _with_readable_golds(path: str | Path, problems: list[Problem], drop: bool) -> list[Problem]:
    """Returns the problems. Prints unreadable gold answers, and leaves their rows out if `drop` is True."""
    try:
        found = list(_with_unreadable_golds(problems))
    except ValueError as error:
        raise ProblemFileError(f"{path}: {error}") from error
    if not found:
        return problems
    named = ", ".join(
        f"{f'row {p.row}' if p.source == str(path) else p.place}: {p.answer!r:.60}" for p in found[:_NAMED_ROWS]
    )
    more = f" and {len(found) - _NAMED_ROWS} more" if len(found) > _NAMED_ROWS else ""
    said = f"{path}: the verifier cannot read {len(found)} of {len(problems)} gold answers ({named}{more})"
    remedy = "correct them, or read the file with drop_unanswered=True, which leaves these rows out"
    unreadable = {p.question_id for p in found}
    kept = [p for p in problems if p.question_id not in unreadable] if drop else problems
    if not kept or (not drop and len(found) > _MAX_UNREADABLE * len(problems)):
        raise ProblemFileError(f"{said}: {remedy}")
    outcome = "these rows are left out" if drop else f"each answer to them will be unverified; {remedy}"
    console.print(f"{said}: {outcome}", markup=False, highlight=False, soft_wrap=True)
    return kept


def _with_unreadable_golds(problems: list[Problem]) -> Iterator[Problem]:
    """The problems whose gold answer their grader cannot read. Raises ValueError if a grader cannot be started."""
    for kind in dict.fromkeys(p.kind for p in problems):
        if check := kind_entry(kind).unreadable_golds:
            golds = import_object(check)(_with_progress({p.answer: None for p in problems if p.kind == kind}))
            yield from (p for p in problems if p.kind == kind and p.answer in golds)


def _with_progress(golds: Collection[str]) -> Iterator[str]:
    """Yields the gold answers, with a progress bar if checking them takes more than about ten seconds."""
    if len(golds) < MANY_GOLDS:
        yield from golds
        return
    with bar("check golds", len(golds)) as advance:
        for gold in golds:
            yield gold
            advance("", 1)


def _problem(row: Row, subdomain: str | None, custom_kinds: Collection[str]) -> Problem:
    """Returns the problem of a row, whose layout is recognised by its fields."""
    names = set(row.fields)
    if _is_custom(row, custom_kinds):
        return _from_custom(row, subdomain)
    if is_code(row):
        return code_problem(row, subdomain)
    if names & set(_OUR_FIELDS):
        return _from_ours(row, subdomain, custom_kinds)
    if names & {"prompt", "reward_model"}:
        return _from_verl(row, subdomain)
    if "problem" in names:
        return _from_math(row, subdomain)
    if "question" in names:
        return _from_gsm8k(row, subdomain)
    raise row.error(
        f"no known layout has the fields {sorted(names)}: expected question_id, kind, question, answer; "
        "or prompt, reward_model; or problem, answer; or question, answer ending in '#### N'"
    )


def _is_custom(row: Row, custom_kinds: Collection[str]) -> bool:
    kind = row.fields.get("kind")
    return isinstance(kind, str) and kind in custom_kinds


def _from_custom(row: Row, subdomain: str | None) -> Problem:
    """A row of a kind in verify.kinds: the user's function gets all its fields, so `answer` is optional."""
    try:
        json.dumps(row.fields)
    except (TypeError, ValueError) as error:
        raise row.error(f"its fields are not JSON ({error}): write dates and the like as text") from error
    answer = row.fields.get("answer")
    return replace(_our_problem(row, subdomain, answer if isinstance(answer, str) else ""), fields=row.fields)


def _from_ours(row: Row, subdomain: str | None, custom_kinds: Collection[str]) -> Problem:
    kind = row.text("kind")
    if kind not in KINDS:
        raise row.error(f"kind={kind!r}: expected {kind_names(custom_kinds)}, or a name in the setting verify.kinds")
    return _our_problem(row, subdomain, _our_answer(row, KINDS[kind]))


def _our_problem(row: Row, subdomain: str | None, answer: str) -> Problem:
    """Returns the problem of a row with the fields of `Problem`. `source` is always the file."""
    return Problem(
        question_id=row.text("question_id"),
        subdomain=subdomain or (row.text("subdomain") if "subdomain" in row.fields else DEFAULT_SUBDOMAIN),
        kind=row.text("kind"),
        question=row.text("question"),
        answer=answer,
        solutions=tuple(_our_solutions(row)),
        level=_our_level(row),
        source=str(row.path),
        system=row.text("system") if row.fields.get("system") else "",
    )


def _our_answer(row: Row, kind: ProblemKind) -> str:
    answer = row.gold("answer", row.value("answer"))
    if kind.gold_pattern and not re.fullmatch(kind.gold_pattern, answer):
        raise row.error(f"answer={answer!r:.40} of a {row.text('kind')} problem: expected {kind.gold_form}")
    return answer


def _our_solutions(row: Row) -> Iterator[Solution]:
    found = row.fields.get("solutions") or ()
    if not isinstance(found, (list, tuple)):
        raise row.error(f"'solutions' is {_type_name(found)}: expected a list of {{'style', 'text'}}")
    for solution in found:
        if not isinstance(solution, dict) or not all(isinstance(solution.get(n), str) for n in ("style", "text")):
            raise row.error(f"a solution is {solution!r:.80}: expected {{'style': text, 'text': text}}")
        yield Solution(solution["style"], solution["text"])


def _our_level(row: Row) -> int:
    level = row.fields.get("level", 1)
    if isinstance(level, bool) or not isinstance(level, int):
        raise row.error(f"level={level!r}: expected a whole number")
    return level


def _from_verl(row: Row, subdomain: str | None) -> Problem:
    reward = row.fields.get("reward_model")
    if not isinstance(reward, dict) or "ground_truth" not in reward:
        found = sorted(reward) if isinstance(reward, dict) else _type_name(reward)
        raise row.error(f"'reward_model' is {found}: expected {{'ground_truth': answer}}")
    ability = row.fields.get("ability")
    system, question = _messages(row)
    return Problem(
        question_id=row.question_id(),
        subdomain=subdomain or (ability.lower() if isinstance(ability, str) and ability else DEFAULT_SUBDOMAIN),
        kind="math",
        question=question,
        answer=row.gold("reward_model.ground_truth", reward["ground_truth"]),
        source=str(row.path),
        system=system,
    )


def _messages(row: Row) -> tuple[str, str]:
    """Returns the chat's system message ("" without one) and its user message without the data set's suffix."""
    expected = "expected a chat list with one message of role 'user' (or that list as a JSON string)"
    chat = row.fields.get("prompt")
    if isinstance(chat, str):
        try:
            chat = loads(chat)
        except ValueError as error:
            raise row.error(f"'prompt' is text but not JSON ({error}): {expected}") from None
    if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
        raise row.error(f"'prompt' is {_type_name(chat)}: {expected}")
    roles = [message.get("role") for message in chat]
    known = roles.count("user") + roles.count("system") == len(roles)
    if not known or roles.count("user") != 1 or roles.count("system") > 1:
        raise row.error(f"'prompt' has messages of roles {roles}: {expected}, and at most one of role 'system'")
    said = {message["role"]: message.get("content") for message in chat}
    if not all(isinstance(content, str) for content in said.values()):
        raise row.error(f"a message in 'prompt' is not text: {expected}")
    question = _without_answer_format(row.encodable("prompt", said["user"]))
    if not question:
        raise row.error("the user message in 'prompt' is empty: expected a question")
    if _HASH_FORMAT.search(question):
        raise row.error(
            f"the user message asks for the answer behind '####' ({question[-80:]!r}), which the verifier does not "
            "read: take this sentence out of 'prompt'; data.math_suffix asks for a box"
        )
    return row.encodable("prompt", said.get("system", "").strip()), question


def _without_answer_format(message: str) -> str:
    """Removes the data set's sentences around the question that ask for a form of the answer."""
    message = message.strip()
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix).strip()
    for suffix in _SUFFIXES:
        message = message.removesuffix(suffix).strip()
    return _HASH_SUFFIX.sub("", message).strip()


def _from_math(row: Row, subdomain: str | None) -> Problem:
    """Returns a problem of MATH, or of Minerva, whose answer is a list written as text."""
    kind = row.fields.get("type")
    name = kind.strip().lower() if isinstance(kind, str) else ""
    solution = row.fields.get("solution")
    return Problem(
        question_id=row.question_id(),
        subdomain=subdomain or _MATH_TYPES.get(name, name) or DEFAULT_SUBDOMAIN,
        kind="math",
        question=row.text("problem"),
        answer=row.gold("answer", row.value("answer")),
        solutions=(Solution("reference", solution),) if isinstance(solution, str) and solution.strip() else (),
        level=_difficulty(row),
        source=str(row.path),
    )


def _difficulty(row: Row) -> int:
    """Returns MATH's difficulty from 1 to 5. The few rows with 0 are unrated and count as 1."""
    difficulty = row.fields.get("difficulty")
    rated = isinstance(difficulty, (int, float)) and not isinstance(difficulty, bool) and difficulty >= 1
    return int(cast(float, difficulty)) if rated else 1


def _from_gsm8k(row: Row, subdomain: str | None) -> Problem:
    answer = row.text("answer")
    working, mark, gold = answer.rpartition("####")
    if not mark:
        raise row.error(f"answer ends in {answer[-30:]!r}: expected the working, then '#### N'")
    number = row.gold("answer", gold).replace(",", "")
    # <<48/2=24>> are calculator annotations, not part of the solution's text.
    prose = re.sub(r"<<[^<>]*>>", "", working).strip()
    return Problem(
        question_id=row.question_id(),
        subdomain=subdomain or DEFAULT_SUBDOMAIN,
        kind="math",
        question=row.text("question"),
        answer=number,
        solutions=(Solution("reference", f"{prose}\n\\boxed{{{number}}}"),) if prose else (),
        source=str(row.path),
    )


def _unanswered(row: Row) -> bool:
    """Whether the field of the gold answer exists but is empty. A missing field is a fault of the layout."""
    reward = row.fields.get("reward_model")
    if isinstance(reward, dict):
        return "ground_truth" in reward and is_blank(reward["ground_truth"])
    if "problem" in row.fields:
        return "answer" in row.fields and is_blank(row.fields["answer"])
    answer = row.fields.get("answer")
    return "answer" in row.fields and is_blank(answer.rpartition("####")[2] if isinstance(answer, str) else answer)


def _type_name(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
