r"""Questions with options. The gold answer is a letter, and the options stand in the question.

question, ["red", "blue"], "B"  -->  "question\n\nA. red\nB. blue"
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from vt_ray.data.layouts.chats import system_and_question
from vt_ray.data.layouts.layout import Layout, has, own_id
from vt_ray.data.layouts.verl import ground_truth
from vt_ray.data.layouts.wrappers import bare_question
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem

SUBDOMAIN = "choice"
_LETTER = re.compile(r"\s*\(?([A-J])\)?\s*")
_OPTION = re.compile(r"^[ \t]*\(?([A-J])[.):][ \t]*", re.MULTILINE)
_INLINE_OPTION = re.compile(r"(?:\\(?:textbf|text|mathrm|mathbf)\{)?\(([A-J])\)\}?\\?")
_ADAPTER_ANSWER = re.compile(r"(answer|solution|ending|option)(\d+)")


def choice_problem(row: Row, question: str, options: Sequence[Any], right: int, subdomain: str, *ids: str) -> Problem:
    """Returns a question with its options. `right` counts from 0. Raises ProblemFileError for fewer than 2 options."""
    if not 2 <= len(options) <= len(ascii_uppercase) or not all(isinstance(text, str) for text in options):
        raise row.error(f"its options are {list(options)!r:.80}: expected 2 to 26 texts")
    if not 0 <= right < len(options):
        raise row.error(f"the right option is number {right + 1} of {len(options)}: expected one of them")
    texts = tuple(row.encodable("options", text.strip()) for text in options)
    letter = ascii_uppercase[right]
    return Problem(own_id(row, *ids), subdomain, "choice", question, letter, options=texts)


def with_listed_options(problem: Problem) -> Problem:
    """Returns the problem with its options below the question."""
    lines = (f"{letter}. {text}" for letter, text in zip(ascii_uppercase, problem.options, strict=False))
    return replace(problem, question=problem.question + "\n\n" + "\n".join(lines))


def shuffled(problem: Problem, seed: int) -> Problem:
    """Returns the problem with its options in an order that depends only on `seed` and the question."""
    right = problem.options[ascii_uppercase.index(problem.answer)]
    options = list(problem.options)
    random.Random(f"{seed}:{problem.question}").shuffle(options)
    return replace(problem, options=tuple(options), answer=ascii_uppercase[options.index(right)])


def options_in_text(text: str, inline: bool = False) -> tuple[str, ...]:
    r"""Returns the options A, B, ... of a text; () for fewer than 2.

    They begin lines, as "A. red" or "(B) blue". With `inline` they may stand in one line: "\textbf{(A)}\ 1 \qquad".
    """
    starts: list[re.Match[str]] = []
    for match in (_INLINE_OPTION if inline else _OPTION).finditer(text):
        if match[1] == "A":
            starts = [match]
        elif starts and match[1] == ascii_uppercase[len(starts)]:
            starts.append(match)
    if len(starts) < 2:
        return ()
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = [text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True)]
    found[-1] = found[-1].split("\n\n")[0].strip()
    return tuple(found)


def in_text(row: Row, question: str, gold: Any, system: str = "", question_id: str = "") -> Problem:
    """Returns a question whose text holds its options already."""
    options = options_in_text(question) or options_in_text(question, inline=True)
    letter = _LETTER.fullmatch(row.gold("the right option", gold))
    if letter is None or ascii_uppercase.index(letter[1]) >= len(options):
        raise row.error(
            f"the right option is {gold!r:.40} and the text has {len(options)}: expected one of their letters"
        )
    return Problem(question_id, SUBDOMAIN, "choice", question, letter[1], system=system, options=options)


def _is_letter(gold: Any) -> bool:
    return isinstance(gold, str) and _LETTER.fullmatch(gold) is not None


def _names_option(gold: Any, text: Any) -> bool:
    """Whether the gold answer is the letter of an option that the text holds."""
    letter = _LETTER.fullmatch(gold) if isinstance(gold, str) and isinstance(text, str) else None
    return letter is not None and ascii_uppercase.index(letter[1]) < len(options_in_text(text))


def _labelled(row: Row, question: str, choices: Any, *ids: str) -> Problem:
    """Returns a question with choices {"text": [...], "label": [...]} or [{"text", "label"}, ...] and `answerKey`."""
    if isinstance(choices, dict):
        texts, labels = choices.get("text"), choices.get("label")
    else:
        texts, labels = [c.get("text") for c in choices], [c.get("label") for c in choices]
    key = row.gold("answerKey", row.value("answerKey"))
    if not isinstance(texts, (list, tuple)) or not isinstance(labels, (list, tuple)) or key not in labels:
        raise row.error(f"answerKey={key!r:.20} is not one of the labels {labels!r:.80}: expected one of them")
    return with_listed_options(choice_problem(row, question, texts, list(labels).index(key), SUBDOMAIN, *ids))


def _read_arc(row: Row) -> Problem:
    question = row.text("question_stem" if "question_stem" in row.fields else "question")
    return _labelled(row, question, row.value("choices"), "id")


def _read_csqa(row: Row) -> Problem:
    asked = row.value("question")
    if not isinstance(asked.get("stem"), str) or not isinstance(asked.get("choices"), list):
        raise row.error("'question' has no 'stem' and 'choices': expected both")
    return _labelled(row, row.encodable("question", asked["stem"].strip()), asked["choices"], "id")


def _read_mmlu(row: Row) -> Problem:
    answer = row.value("answer")
    right = answer if type(answer) is int else letter_index(row, answer)
    subdomain = next((str(row.fields[n]) for n in ("subject", "type") if row.fields.get(n)), SUBDOMAIN)
    return with_listed_options(choice_problem(row, row.text("question"), row.value("choices"), right, subdomain, "id"))


def _read_mmlu_pro(row: Row) -> Problem:
    right = letter_index(row, row.value("answer"))
    subdomain = str(row.fields.get("category") or SUBDOMAIN)
    options = [text for text in row.value("options") if text != "N/A"]
    return with_listed_options(choice_problem(row, row.text("question"), options, right, subdomain, "question_id"))


def letter_index(row: Row, answer: Any) -> int:
    letter = _LETTER.fullmatch(row.gold("answer", answer))
    if letter is None:
        raise row.error(f"answer={answer!r:.40}: expected the letter of an option")
    return ascii_uppercase.index(letter[1])


def _read_gpqa(row: Row) -> Problem:
    """Returns a question of GPQA with the right option first; the reader shuffles the options."""
    options = [row.text("Correct Answer"), *(row.text(f"Incorrect Answer {i}") for i in (1, 2, 3))]
    subdomain = str(row.fields.get("High-level domain") or SUBDOMAIN).lower()
    return choice_problem(row, row.text("Question"), options, 0, subdomain, "Record ID")


def _read_verl(row: Row) -> Problem:
    system, question = system_and_question(row, "prompt")
    return in_text(row, _without_letter_request(question), ground_truth(row.fields), system)


def _without_letter_request(question: str) -> str:
    """Removes the last paragraph if it asks for the letter: `data.math_suffix` asks for a box."""
    before, _, last = question.rpartition("\n\n")
    asks = r"\boxed" in last and "letter" in last.lower() and not options_in_text(last)
    return before.strip() if before and asks else question


def _read_prompt(row: Row) -> Problem:
    tag, own = own_id(row, "tag", "source"), own_id(row, "id")
    question = bare_question(row, "prompt", row.text("prompt"))
    return in_text(row, question, ground_truth_or_answer(row.fields), question_id=f"{tag}/{own}" if tag and own else "")


def _read_chat(row: Row) -> Problem:
    system, question = system_and_question(row, "prompt")
    return in_text(row, _without_letter_request(question), row.fields["final_answer"], system)


def ground_truth_or_answer(fields: Mapping[str, Any]) -> Any:
    return next((fields[name] for name in ("ground_truth", "answer", "final_answer", "target") if name in fields), None)


def _read_question(row: Row) -> Problem:
    name = next(name for name in ("question", "problem", "input") if name in row.fields)
    question = bare_question(row, name, row.text(name))
    return in_text(row, question, ground_truth_or_answer(row.fields), question_id=own_id(row, "id", "uuid"))


def _has_options(name: str) -> Callable[[Mapping[str, Any]], bool]:
    def matches(fields: Mapping[str, Any]) -> bool:
        return _names_option(ground_truth_or_answer(fields), fields.get(name))

    return matches


def _chat_has_options(fields: Mapping[str, Any], gold: Any) -> bool:
    chat = fields.get("prompt")
    messages = [m for m in chat if isinstance(m, dict)] if isinstance(chat, list) else []
    texts = [m.get("content", m.get("value")) for m in messages]
    return any(_names_option(gold, text) for text in texts)


def _is_question(fields: Mapping[str, Any]) -> bool:
    """Whether the options stand in the question of a row without a kind of its own."""
    if {"kind", "question_id", "subdomain", "options", "choices"} & fields.keys():
        return False
    if "problem" in fields:
        return fields.get("question_type") == "MCQ" and _is_letter(fields.get("answer"))
    return any(_has_options(name)(fields) for name in ("question", "input"))


def _read_adapter(row: Row) -> Problem:
    """Returns a question whose options are "Answer1: ... Answer2: ..." in `instruction`."""
    match = _ADAPTER_ANSWER.fullmatch(row.text("answer").lower())
    if match is None:
        raise row.error(f"answer={row.fields['answer']!r:.40}: expected a name such as answer1")
    text = re.split(r"\n\s*Answer format:", row.text("instruction"))[0]
    question, *options = re.split(rf"{match[1]}\d+:", text, flags=re.IGNORECASE)
    asked = question.partition(" the question:")[2] or question.partition(":")[2] or question
    return with_listed_options(choice_problem(row, asked.strip(), options, int(match[2]) - 1, SUBDOMAIN))


def _is_adapter(fields: Mapping[str, Any]) -> bool:
    answer = fields.get("answer")
    return "instruction" in fields and isinstance(answer, str) and bool(_ADAPTER_ANSWER.fullmatch(answer.lower()))


LAYOUTS = (
    Layout(
        name="gpqa",
        about="GPQA as the official csv and on the hub",
        url="https://huggingface.co/datasets/Idavidrein/gpqa",
        matches=has("Question", "Correct Answer", "Incorrect Answer 1"),
        read=_read_gpqa,
        right_option_first=True,
    ),
    Layout(
        name="verl_choice",
        about="verl rows whose answer is the letter of an option: GPQA of VibeThinker and Light-R1",
        url="https://github.com/WeiboAI/VibeThinker/tree/main/eval",
        matches=lambda fields: _chat_has_options(fields, ground_truth(fields)),
        read=_read_verl,
    ),
    Layout(
        name="orz_choice",
        about="GPQA in the evaluation files of Open-Reasoner-Zero",
        url="https://github.com/Open-Reasoner-Zero/Open-Reasoner-Zero/tree/main/data/eval_data",
        matches=lambda fields: _chat_has_options(fields, fields.get("final_answer")),
        read=_read_chat,
    ),
    Layout(
        name="roll_choice",
        about="GPQA of ROLL: options in the text of `prompt`",
        url="https://github.com/alibaba/ROLL/tree/main/data",
        matches=_has_options("prompt"),
        read=_read_prompt,
    ),
    Layout(
        name="mmlu_pro",
        about="MMLU-Pro",
        url="https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro",
        matches=has("question", "options", "answer_index"),
        read=_read_mmlu_pro,
    ),
    Layout(
        name="arc",
        about="ARC, CommonsenseQA and OpenBookQA on the hub: `choices` and `answerKey`",
        url="https://huggingface.co/datasets/allenai/ai2_arc",
        matches=has("choices", "answerKey"),
        read=_read_arc,
    ),
    Layout(
        name="commonsense_qa",
        about="CommonsenseQA as published: `question.stem` and `question.choices`",
        url="https://www.tau-nlp.org/commonsenseqa",
        matches=lambda fields: "answerKey" in fields and isinstance(fields.get("question"), dict),
        read=_read_csqa,
    ),
    Layout(
        name="mmlu",
        about="MMLU and MMLU-STEM",
        url="https://huggingface.co/datasets/cais/mmlu",
        matches=has("question", "choices", "answer"),
        read=_read_mmlu,
    ),
    Layout(
        name="adapter_choice",
        about="ARC, OpenBookQA, PIQA, SIQA of LLM-Adapters: the answer is `answer3`",
        url="https://github.com/AGI-Edgerunners/LLM-Adapters/tree/main/dataset",
        matches=_is_adapter,
        read=_read_adapter,
    ),
    Layout(
        name="text_choice",
        about="options in the text of the question, the answer a letter: BIG-Bench Hard, NuminaMath-1.5's MCQ",
        url="https://github.com/suzgunmirac/BIG-Bench-Hard",
        matches=_is_question,
        read=_read_question,
    ),
)
