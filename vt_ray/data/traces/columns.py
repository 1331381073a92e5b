"""Layouts with a question in one field and one response in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from vt_ray.data.traces.reasoning import answered, split_reasoning
from vt_ray.data.traces.trace import Fields, Message, Trace, TraceError, TraceLayout, text_of


def _pair(question: str, response: str, reasoning: str = "") -> Callable[[Fields], list[Trace]]:
    """Returns the reader of a layout with these fields."""

    def read(fields: Fields) -> list[Trace]:
        thought = text_of(fields, reasoning) if reasoning else ""
        return [answered([Message("user", text_of(fields, question))], text_of(fields, response), thought)]

    return read


def spelled_out(names: Mapping[str, str]) -> TraceLayout:
    """Returns the layout of a file whose fields are named in the setting `fields`: {part: field}.

    Parts are question, response, reasoning, system and correct; the first two are required.
    """

    def read(fields: Fields) -> list[Trace]:
        system = [Message("system", text_of(fields, names["system"]))] if "system" in names else []
        asked = [*system, Message("user", text_of(fields, names["question"]))]
        thought = text_of(fields, names["reasoning"]) if "reasoning" in names else ""
        correct = _flag(fields, names["correct"]) if "correct" in names else None
        return [answered(asked, text_of(fields, names["response"]), thought, correct=correct)]

    return TraceLayout("fields", "", _has(*names.values()), read)


def _flag(fields: Fields, name: str) -> bool | None:
    """Returns a flag that is a boolean, 0 or 1, or text as in a CSV file. null and "" are no flag."""
    flags = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "none": None, "": None}
    written = str(fields[name]).strip().lower()
    if written not in flags:
        raise TraceError(f"field {name!r} is {fields[name]!r:.40}: expected true or false")
    return flags[written]


def _has(*names: str) -> Callable[[Fields], bool]:
    return lambda fields: set(names) <= fields.keys()


def _is_exactly(*names: str) -> Callable[[Fields], bool]:
    return lambda fields: set(names) == fields.keys()


def _openmathreasoning(fields: Fields) -> list[Trace]:
    """Only solutions in text: the other modes hold outputs of tools, or choose among solutions that the row lacks."""
    mode = fields.get("inference_mode")
    traces = _pair("problem", "generated_solution")(fields)
    return traces if mode in (None, "cot") else [replace(t, fault=f"inference_mode {mode}") for t in traces]


def _opencodereasoning(fields: Fields) -> list[Trace]:
    """Rows of the split split_1 have "-" in place of the question, which stands in another data set."""
    traces = _pair("input", "output")(fields)
    return [replace(t, fault="no question") if t.question == "-" else t for t in traces]


def _alpaca(fields: Fields) -> list[Trace]:
    more = fields.get("input") or ""
    question = "\n\n".join(filter(None, (text_of(fields, "instruction"), more.strip())))
    return [answered([Message("user", question)], text_of(fields, "output"))]


def _has_reasoning(fields: Fields) -> bool:
    return isinstance(fields["answer"], str) and bool(split_reasoning(fields["answer"])[0])


# The parts that the setting `fields` may name.
PARTS = ("question", "response", "reasoning", "system", "correct")

LAYOUTS = (
    TraceLayout(
        "openthoughts_metadata",
        "https://huggingface.co/datasets/open-thoughts/OpenThoughts-114k/viewer/metadata",
        _has("problem", "deepseek_reasoning", "deepseek_solution"),
        _pair("problem", "deepseek_solution", "deepseek_reasoning"),
    ),
    TraceLayout(
        "openmathreasoning",
        "https://huggingface.co/datasets/nvidia/OpenMathReasoning",
        _has("problem", "generated_solution"),
        _openmathreasoning,
    ),
    TraceLayout(
        "opencodereasoning",
        "https://huggingface.co/datasets/nvidia/OpenCodeReasoning",
        _has("id", "input", "output", "solution"),
        _opencodereasoning,
    ),
    TraceLayout(
        "alpaca",
        "https://huggingface.co/datasets/tatsu-lab/alpaca",
        # Benchmarks of choices in this form have the gold answer besides.
        lambda f: _has("instruction", "output")(f) and "answer" not in f,
        _alpaca,
    ),
    TraceLayout(
        "limo",
        "https://huggingface.co/datasets/GAIR/LIMO",
        _is_exactly("question", "solution", "answer"),
        _pair("question", "solution"),
    ),
    # Benchmarks have the same two fields. Their answers have no reasoning in tags, so they are not taken for traces.
    TraceLayout(
        "question_answer",
        "https://github.com/volcengine/verl/blob/main/verl/utils/dataset/sft_dataset.py",
        lambda f: _is_exactly("question", "answer")(f) and _has_reasoning(f),
        _pair("question", "answer"),
    ),
)
