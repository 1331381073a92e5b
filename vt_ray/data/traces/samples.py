"""Layouts with several traces in one row: lists of generations with flags, and traces of several models."""

from __future__ import annotations

from typing import Any

from vt_ray.data.traces.reasoning import CUT, answered
from vt_ray.data.traces.trace import Fields, Message, Trace, TraceError, TraceLayout, text_of


def _openr1(fields: Fields) -> list[Trace]:
    """A trace is correct if math-verify or the judge model says so, as its authors chose."""
    texts = _texts(fields, "generations")
    flags = [_flags(fields, name, len(texts)) for name in ("correctness_math_verify", "correctness_llama")]
    flags += [_flags(fields, "accuracy", 1)] if len(texts) == 1 else []
    complete = _flags(fields, "is_reasoning_complete", len(texts))
    finish = _column(fields, "finish_reasons", len(texts))
    asked = [Message("user", text_of(fields, "problem"))]
    traces = []
    for index, text in enumerate(texts):
        given = [column[index] for column in flags if column[index] is not None]
        cut = {"fault": CUT, "finish_reason": "length"}
        ended = {"finish_reason": "stop"} if finish[index] == "stop" else {}
        known = cut if complete[index] is False or finish[index] == "length" else ended
        traces.append(answered(asked, text, correct=any(given) if given else None, **known))
    return traces


def _qwen_evaluation(fields: Fields) -> list[Trace]:
    texts = _texts(fields, "code")
    scores = _flags(fields, "score", len(texts))
    system = [Message("system", text_of(fields, "system"))] if fields.get("system") else []
    asked = [*system, Message("user", text_of(fields, "question"))]
    return [answered(asked, text, correct=score) for text, score in zip(texts, scores, strict=True)]


def _s1k(fields: Fields) -> list[Trace]:
    reasoning = _texts(fields, "thinking_trajectories")
    if len(reasoning) != 1:
        raise TraceError(f"field 'thinking_trajectories' holds {len(reasoning)} texts for one 'attempt': expected 1")
    return [answered([Message("user", text_of(fields, "question"))], text_of(fields, "attempt"), reasoning[0])]


def _s1k_1_1(fields: Fields) -> list[Trace]:
    asked = [Message("user", text_of(fields, "question"))]
    traces = []
    for model in ("deepseek", "gemini"):
        if f"{model}_attempt" in fields:
            grade = {"yes": True, "no": False}.get(str(fields.get(f"{model}_grade", "")).strip().lower())
            reasoning = text_of(fields, f"{model}_thinking_trajectory")
            traces.append(answered(asked, text_of(fields, f"{model}_attempt"), reasoning, correct=grade))
    return traces


def _texts(fields: Fields, name: str) -> list[str]:
    found = fields.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise TraceError(f"field {name!r} is {found!r:.60}: expected a list of texts; delete the row")
    return found


def _column(fields: Fields, name: str, count: int) -> list[Any]:
    """Returns the values of a list field, one for each trace; None for each if the field is missing or null."""
    found = fields.get(name)
    if found is None:
        return [None] * count
    values = found if isinstance(found, list) else [found]
    if len(values) != count:
        raise TraceError(f"field {name!r} holds {len(values)} values for {count} traces: expected {count}")
    return values


def _flags(fields: Fields, name: str, count: int) -> list[bool | None]:
    values = _column(fields, name, count)
    for value in values:
        if value not in (None, True, False):  # 1.0 and 0.0 are flags too
            raise TraceError(f"field {name!r} holds {value!r:.40}: expected true, false or null")
    return [None if value is None else bool(value) for value in values]


def _is_list(fields: Fields, name: str) -> bool:
    return isinstance(fields.get(name), list)


LAYOUTS = (
    TraceLayout(
        "openr1",
        "https://huggingface.co/datasets/open-r1/OpenR1-Math-220k",
        lambda f: "problem" in f and _is_list(f, "generations"),
        _openr1,
    ),
    TraceLayout(
        "s1k",
        "https://huggingface.co/datasets/simplescaling/s1K",
        lambda f: {"question", "attempt"} <= f.keys() and _is_list(f, "thinking_trajectories"),
        _s1k,
    ),
    TraceLayout(
        "s1k_1_1",
        "https://huggingface.co/datasets/simplescaling/s1K-1.1",
        lambda f: {"question", "deepseek_thinking_trajectory", "deepseek_attempt"} <= f.keys(),
        _s1k_1_1,
    ),
    TraceLayout(
        "qwen_math_evaluation",
        "https://github.com/QwenLM/Qwen2.5-Math/tree/main/evaluation",
        lambda f: "question" in f and _is_list(f, "code") and _is_list(f, "score"),
        _qwen_evaluation,
    ),
)
