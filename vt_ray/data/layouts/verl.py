"""Rows of verl and its users: a chat in `prompt`, the gold answer in `reward_model.ground_truth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vt_ray.data.layouts.chats import system_and_question
from vt_ray.data.layouts.layout import DEFAULT_SUBDOMAIN, Layout
from vt_ray.data.layouts.wrappers import bare_question
from vt_ray.data.problem_rows import Row, type_name
from vt_ray.records import Problem


def ground_truth(fields: Mapping[str, Any]) -> Any:
    """Returns `reward_model.ground_truth`, None without one."""
    reward = fields.get("reward_model")
    return reward.get("ground_truth") if isinstance(reward, dict) else None


def said_subdomain(row: Row) -> str:
    ability = row.fields.get("ability")
    return ability.lower() if isinstance(ability, str) and ability else DEFAULT_SUBDOMAIN


def _raw_problem(fields: Mapping[str, Any]) -> str:
    """Returns the question without a wrapper that some files hold beside the prompt, else ""."""
    extra = fields.get("extra_info")
    for place in (fields, extra if isinstance(extra, dict) else {}):
        raw = place.get("raw_problem")
        if isinstance(raw, str) and raw.strip():
            return raw
    return ""


def _read(row: Row) -> Problem:
    reward = row.fields.get("reward_model")
    if not isinstance(reward, dict) or "ground_truth" not in reward:
        found = sorted(reward) if isinstance(reward, dict) else type_name(reward)
        raise row.error(f"'reward_model' is {found}: expected {{'ground_truth': answer}}")
    system, question = system_and_question(row, "prompt")
    return Problem(
        question_id="",
        subdomain=said_subdomain(row),
        kind="math",
        question=question,
        answer=row.gold("reward_model.ground_truth", reward["ground_truth"]),
        system=system,
    )


def _read_dapo(row: Row) -> Problem:
    raw = _raw_problem(row.fields)
    question = bare_question(row, "raw_problem", raw) if raw else system_and_question(row, "prompt")[1]
    answer = row.gold("reward_model.ground_truth", ground_truth(row.fields))
    return Problem(question_id="", subdomain=DEFAULT_SUBDOMAIN, kind="math", question=question, answer=answer)


def _is_dapo(fields: Mapping[str, Any]) -> bool:
    return "reward_model" in fields and (fields.get("data_source") == "math_dapo" or bool(_raw_problem(fields)))


def _is_verl(fields: Mapping[str, Any]) -> bool:
    chat = "prompt" in fields and not isinstance(fields["prompt"], str)
    return "reward_model" in fields or (chat and "final_answer" not in fields)


LAYOUTS = (
    Layout(
        name="dapo",
        about="DAPO-Math-17k, and verl rows with `raw_problem`",
        url="https://huggingface.co/datasets/BytedTsinghua-SIA/DAPO-Math-17k",
        matches=_is_dapo,
        read=_read_dapo,
    ),
    Layout(
        name="verl",
        about="verl, rllm, Skywork-OR1, Eurus-2-RL math, DeepScaleR and GSM8K as verl's parquet",
        url="https://verl.readthedocs.io/en/latest/preparation/prepare_data.html",
        matches=_is_verl,
        read=_read,
    ),
)
