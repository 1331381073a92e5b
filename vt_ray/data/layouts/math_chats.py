"""Math problems whose question is a chat and whose answer stands in a field of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts.chats import system_and_question
from vt_ray.data.layouts.layout import DEFAULT_SUBDOMAIN, Layout, has, own_id
from vt_ray.data.problem_rows import Row
from vt_ray.records import Problem


def _read_orz(row: Row) -> Problem:
    """Returns a row of ORZ: [{"from": "human", "value"}, {"from": "assistant", "ground_truth": {"value"}}]."""
    system, question = system_and_question(row, "conversations", skip_assistant=True)
    answer = row.fields["conversations"][-1]["ground_truth"].get("value")
    return _chat_problem(row, system, question, "ground_truth.value", answer)


def _is_orz(fields: Mapping[str, Any]) -> bool:
    chat = fields.get("conversations")
    return bool(chat) and isinstance(chat, list) and isinstance(chat[-1], dict) and _has_truth(chat[-1])


def _has_truth(message: dict[str, Any]) -> bool:
    return isinstance(message.get("ground_truth"), dict)


def _read_orz_eval(row: Row) -> Problem:
    return _chat_problem(row, *system_and_question(row, "prompt"), "final_answer", row.value("final_answer"))


def _read_open_instruct(row: Row) -> Problem:
    """Returns a row with the chat in `messages`; a final message of the assistant is left out."""
    chat = system_and_question(row, "messages", skip_assistant=True)
    return _chat_problem(row, *chat, "ground_truth", row.value("ground_truth"))


def _chat_problem(row: Row, system: str, question: str, name: str, answer: Any) -> Problem:
    return Problem(
        question_id=own_id(row, "uuid"),
        subdomain=DEFAULT_SUBDOMAIN,
        kind="math",
        question=question,
        answer=row.gold(name, answer),
        system=system,
    )


LAYOUTS = (
    Layout(
        name="orz",
        about="Open-Reasoner-Zero 57k and 129k",
        url="https://huggingface.co/datasets/Open-Reasoner-Zero/orz_math_57k_collection",
        matches=_is_orz,
        read=_read_orz,
    ),
    Layout(
        name="orz_eval",
        about="the evaluation files of Open-Reasoner-Zero",
        url="https://github.com/Open-Reasoner-Zero/Open-Reasoner-Zero/tree/main/data/eval_data",
        matches=lambda fields: has("prompt", "final_answer")(fields) and not isinstance(fields["prompt"], str),
        read=_read_orz_eval,
    ),
    Layout(
        name="open_instruct",
        about="RLVR sets of open-instruct: a chat in `messages`, the answer in `ground_truth`",
        url="https://huggingface.co/datasets/allenai/RLVR-GSM-MATH-IF-Mixed-Constraints",
        matches=lambda fields: has("messages", "ground_truth")(fields) and "prompt" not in fields,
        read=_read_open_instruct,
    ),
)
