r"""Math problems with the question and the gold answer in fields of their own, or the answer in the solution's box."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from vt_ray.data.golds import boxes, is_blank
from vt_ray.data.layouts.layout import DEFAULT_SUBDOMAIN, Layout, has, own_id
from vt_ray.data.layouts.wrappers import bare_question
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem, Solution

_MATH_TYPES = {
    "prealgebra": "algebra",
    "intermediate algebra": "algebra",
    "counting & probability": "statistics",
}
# Two words in a row: a sentence, not an answer.
_SENTENCE = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\s+[A-Za-z]{2,}|\n")


def subdomain_of(value: Any) -> str:
    """Returns the subdomain for the name of a subject, such as "Prealgebra"; "math" without a name."""
    name = value.strip().lower() if isinstance(value, str) else ""
    return _MATH_TYPES.get(name, name) or DEFAULT_SUBDOMAIN


def reference(text: Any) -> tuple[Solution, ...]:
    """Returns the worked solution of a row, if it has one."""
    return (Solution("reference", text),) if isinstance(text, str) and text.strip() else ()


def _read_math(row: Row) -> Problem:
    """Returns a problem of MATH, or of Minerva, whose answer is a list written as text."""
    return Problem(
        question_id="",
        subdomain=subdomain_of(row.fields.get("type")),
        kind="math",
        question=row.text("problem"),
        answer=row.gold("answer", row.value("answer")),
        solutions=reference(row.fields.get("solution")),
        level=_difficulty(row),
    )


def _difficulty(row: Row) -> int:
    """Returns MATH's difficulty from 1 to 5. The few rows with 0 are unrated and count as 1."""
    difficulty = row.fields.get("difficulty")
    rated = isinstance(difficulty, (int, float)) and not isinstance(difficulty, bool) and difficulty >= 1
    return int(cast(float, difficulty)) if rated else 1


def _read_math_500(row: Row) -> Problem:
    level = row.fields.get("level")
    return Problem(
        question_id=own_id(row, "unique_id"),
        subdomain=subdomain_of(row.fields.get("subject")),
        kind="math",
        question=row.text("problem"),
        answer=row.gold("answer", row.value("answer")),
        solutions=reference(row.fields.get("solution")),
        level=level if type(level) is int else 1,
    )


def _read_boxed_solution(row: Row) -> Problem:
    """Returns a problem whose gold answer is the last box of its solution."""
    solution = row.text("solution")
    found = boxes(solution)
    level = re.fullmatch(r"Level (\d)", str(row.fields.get("level")))
    return Problem(
        question_id="",
        subdomain=subdomain_of(row.fields.get("type")),
        kind="math",
        question=row.text("problem"),
        answer=row.gold("the last \\boxed{} of 'solution'", found[-1] if found else ""),
        solutions=reference(solution),
        level=int(level[1]) if level else 1,
    )


def _read_gsm8k(row: Row) -> Problem:
    answer = row.value("answer")
    if is_blank(answer):
        row.gold("answer", answer)
    working, mark, gold = row.text("answer").rpartition("####")
    if not mark:
        raise row.error(
            f"answer ends in {row.text('answer')[-30:]!r}: expected the working, then '#### N', or an answer without "
            "sentences"
        )
    number = row.gold("answer", gold).replace(",", "")
    # <<48/2=24>> are calculator annotations, not part of the solution's text.
    prose = re.sub(r"<<[^<>]*>>", "", working).strip()
    return Problem(
        question_id="",
        subdomain=DEFAULT_SUBDOMAIN,
        kind="math",
        question=row.text("question"),
        answer=number,
        solutions=(Solution("reference", f"{prose}\n\\boxed{{{number}}}"),) if prose else (),
    )


def _is_short(answer: Any) -> bool:
    """Whether the answer is a number, a list, or one line without a sentence."""
    return not isinstance(answer, str) or (bool(answer.strip()) and not _SENTENCE.search(answer))


def _question_and_answer(question: str, answer: str, *ids: str, subdomain: str = "", solution: str = "") -> Any:
    """Returns the `read` of a layout with the question and the answer in these fields."""

    def read(row: Row) -> Problem:
        return Problem(
            question_id=own_id(row, *ids),
            subdomain=subdomain_of(row.fields.get(subdomain)),
            kind="math",
            question=bare_question(row, question, row.text(question)),
            answer=row.gold(answer, row.value(answer)),
            solutions=reference(row.fields.get(solution)),
        )

    return read


def _read_deepmath(row: Row) -> Problem:
    topic = str(row.fields.get("topic") or "").split("->")
    return Problem(
        question_id="",
        subdomain=subdomain_of(topic[1] if len(topic) > 1 else ""),
        kind="math",
        question=bare_question(row, "question", row.text("question")),
        answer=row.gold("final_answer", row.value("final_answer")),
    )


def _read_olympiad_bench(row: Row) -> Problem:
    context = row.fields.get("context")
    answer = row.gold("final_answer", [re.sub(r"^\$|\$$", "", text) for text in row.value("final_answer")])
    solutions = row.fields.get("solution")
    return Problem(
        question_id=own_id(row, "id"),
        subdomain=subdomain_of(row.fields.get("subfield")),
        kind="math",
        question=f"{context.strip()}\n\n{row.text('question')}" if context else row.text("question"),
        answer=answer,
        solutions=reference(solutions[0] if isinstance(solutions, list) and solutions else None),
    )


def _read_roll(row: Row) -> Problem:
    tag, own = own_id(row, "tag", "source"), own_id(row, "id")
    return Problem(
        question_id=f"{tag}/{own}" if tag and own else "",
        subdomain=DEFAULT_SUBDOMAIN,
        kind="math",
        question=bare_question(row, "prompt", row.text("prompt")),
        answer=row.gold("ground_truth", row.value("ground_truth")),
    )


def _is_text_prompt(fields: Mapping[str, Any], answer: str) -> bool:
    prompt = fields.get("prompt")
    is_text = isinstance(prompt, str) and not re.match(r"\s*\[\s*\{", prompt)
    return is_text and answer in fields and "reward_model" not in fields


def _has_short(question: str, answer: str, *others: str) -> Any:
    fields = has(question, answer, *others)
    return lambda row: fields(row) and _is_short(row[answer])


def _without_answer(fields: Mapping[str, Any]) -> bool:
    known = {"answer", "final_answer", "expected_answer", "generations", "tests", "messages"}
    return has("problem", "solution")(fields) and not known & fields.keys()


LAYOUTS = (
    Layout(
        name="roll_math",
        about="ROLL's math files",
        url="https://github.com/alibaba/ROLL/tree/main/data",
        matches=lambda fields: _is_text_prompt(fields, "ground_truth"),
        read=_read_roll,
    ),
    Layout(
        name="prompt_answer",
        about="text in `prompt`, the answer in `answer`",
        url="https://huggingface.co/datasets/inclusionAI/AReaL-boba-Data",
        matches=lambda fields: _is_text_prompt(fields, "answer"),
        read=_question_and_answer("prompt", "answer", "id", "uuid"),
    ),
    Layout(
        name="deepmath",
        about="DeepMath-103K",
        url="https://huggingface.co/datasets/zwhe99/DeepMath-103K",
        matches=has("question", "final_answer", "topic"),
        read=_read_deepmath,
    ),
    Layout(
        name="olympiad_bench",
        about="OlympiadBench, text only",
        url="https://github.com/OpenBMB/OlympiadBench",
        matches=lambda fields: has("question", "final_answer")(fields) and isinstance(fields["final_answer"], list),
        read=_read_olympiad_bench,
    ),
    Layout(
        name="s1k",
        about="s1K: the answer in `solution`, beside its traces",
        url="https://huggingface.co/datasets/simplescaling/s1K",
        matches=lambda fields: "cot_type" in fields and _has_short("question", "solution")(fields),
        read=_question_and_answer("question", "solution"),
    ),
    Layout(
        name="math_500",
        about="MATH-500 and OlymMATH as on the hub",
        url="https://huggingface.co/datasets/HuggingFaceH4/MATH-500",
        matches=has("problem", "answer", "subject", "unique_id"),
        read=_read_math_500,
    ),
    Layout(
        name="math_boxed",
        about="MATH as on the hub, Minerva of Qwen2.5-Math: the answer is the last box of `solution`",
        url="https://huggingface.co/datasets/EleutherAI/hendrycks_math",
        matches=_without_answer,
        read=_read_boxed_solution,
    ),
    Layout(
        name="open_math_reasoning",
        about="problems of OpenMathReasoning",
        url="https://huggingface.co/datasets/nvidia/OpenMathReasoning",
        matches=has("problem", "expected_answer"),
        read=_question_and_answer("problem", "expected_answer"),
    ),
    Layout(
        name="math",
        about="MATH, Minerva, DeepScaleR, Big-Math, NuminaMath-1.5, AIME, AMC, HMMT: `problem` and `answer`",
        url="https://huggingface.co/datasets/agentica-org/DeepScaleR-Preview-Dataset",
        matches=has("problem"),
        read=_read_math,
    ),
    Layout(
        name="question_answer",
        about="a question with a short answer: AIME 2025 of OpenCompass, AIME 2026 and HMMT of CPT, LIMO",
        url="https://huggingface.co/datasets/opencompass/AIME2025",
        matches=lambda fields: (
            "####" not in str(fields.get("answer"))
            and _has_short("question", "answer")(fields)
            and not is_blank(fields["answer"])
        ),
        read=_question_and_answer("question", "answer", "question_id", "id", "uuid", solution="solution"),
    ),
    Layout(
        name="gsm8k",
        about="GSM8K: the answer stands after `####`",
        url="https://huggingface.co/datasets/openai/gsm8k",
        matches=has("question"),
        read=_read_gsm8k,
    ),
)
