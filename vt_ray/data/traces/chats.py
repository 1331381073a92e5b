"""Layouts with a whole chat in one field: `messages`, ShareGPT `conversations`, prompt and completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vt_ray.data.traces.reasoning import answered
from vt_ray.data.traces.trace import Fields, Message, Role, Trace, TraceError, TraceLayout, text_of

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def traces_of_chat(turns: Any, name: str, system: str = "") -> list[Trace]:
    """Returns one trace for each turn of the assistant in the list `turns` of the field `name`.

    Turns have `role` and `content`, or `from` and `value`. A turn with `weight` 0 or `train` false is not learnt.
    Raises TraceError for an unknown role, a turn without text, and a turn of the assistant that answers no user.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise TraceError(f"field {name!r} is {type(turns).__name__}: expected a list of turns")
    before: list[Message] = [Message("system", system)] if system else []
    traces: list[Trace] = []
    for number, turn in enumerate(turns, start=1):
        role, content = _turn(turn, f"turn {number} of {name!r}")
        if role != "assistant":
            before.append(Message(role, content))
            continue
        if not before or before[-1].role != "user":
            raise TraceError(f"turn {number} of {name!r} is the assistant's and answers no user: delete the row")
        trace = answered(before, content, _reasoning_of(turn))
        if turn.get("weight", 1) != 0 and turn.get("train") is not False:
            traces.append(trace)
        before.append(Message("assistant", trace.response))
    if not any(m.role == "assistant" for m in before):
        raise TraceError(f"field {name!r} holds no turn of the assistant: delete the row")
    return traces


def _turn(turn: Any, place: str) -> tuple[Role, str]:
    if not isinstance(turn, Mapping):
        raise TraceError(f"{place} is {type(turn).__name__}: expected an object with 'role' and 'content'")
    written = turn.get("role", turn.get("from"))
    if written not in _ROLES:
        raise TraceError(f"{place} has the role {written!r:.40}: expected one of {sorted(_ROLES)}")
    role, content = _ROLES[written], turn.get("content", turn.get("value"))
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    if not isinstance(content, str) or (role == "user" and not content.strip()):
        raise TraceError(f"{place} holds no text: expected text in 'content' or 'value'")
    return role, content.strip()


def _reasoning_of(turn: Mapping[str, Any]) -> str:
    """The reasoning in a key of its own, as the APIs of DeepSeek and vLLM write it."""
    found = turn.get("reasoning_content") or turn.get("reasoning") or ""
    return found if isinstance(found, str) else ""


def _system(fields: Fields) -> str:
    found = fields.get("system")
    return found.strip() if isinstance(found, str) else ""


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def _is_answered(value: Any) -> bool:
    """Whether a chat has a turn of the assistant with a text. Prompts of RL are chats without one."""
    return _is_chat(value) and any(
        _ROLES.get(turn.get("role", turn.get("from"))) == "assistant" and {"content", "value"} & turn.keys()
        for turn in value
    )


def _is_prompt_with(fields: Fields, name: str) -> bool:
    """Rows of LeetCodeDataset have these names too, but their `prompt` is only the beginning of a program."""
    return {"prompt", name} <= fields.keys() and "entry_point" not in fields


def _kodcode(fields: Fields) -> list[Trace]:
    written = str(fields["r1_correctness"])
    if written not in ("True", "False"):
        raise TraceError(f"field 'r1_correctness' is {written!r:.40}: expected True or False")
    return [replace(t, correct=written == "True") for t in traces_of_chat(fields["conversations"], "conversations")]


def _prompt_completion(fields: Fields) -> list[Trace]:
    name = "completion" if "completion" in fields else "response"
    prompt, completion = fields["prompt"], fields[name]
    if isinstance(prompt, str) and isinstance(completion, str):
        return [answered([Message("user", text_of(fields, "prompt"))], completion)]
    if not _is_chat(prompt):
        raise TraceError("field 'prompt' holds no chat: expected text or a list of turns")
    # The turns of the prompt are given; the loss is on the completion alone.
    given = [{**turn, "train": False} for turn in prompt]
    learnt = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    if not _is_chat(learnt):
        raise TraceError(f"field {name!r} holds no chat: expected text or a list of turns")
    return traces_of_chat([*given, *learnt], name)


LAYOUTS = (
    TraceLayout(
        "kodcode",
        "https://huggingface.co/datasets/KodCode/KodCode-V1-SFT-R1",
        lambda f: _is_answered(f.get("conversations")) and "r1_correctness" in f,
        _kodcode,
    ),
    TraceLayout(
        "messages",
        "https://huggingface.co/datasets/AI-MO/NuminaMath-CoT",
        lambda f: _is_answered(f.get("messages")),
        lambda f: traces_of_chat(f["messages"], "messages", _system(f)),
    ),
    TraceLayout(
        "conversations",
        "https://huggingface.co/datasets/open-thoughts/OpenThoughts-114k",
        lambda f: _is_answered(f.get("conversations")),
        lambda f: traces_of_chat(f["conversations"], "conversations", _system(f)),
    ),
    TraceLayout(
        "prompt_completion",
        "https://huggingface.co/docs/trl/dataset_formats",
        lambda f: _is_prompt_with(f, "completion") or _is_prompt_with(f, "response"),
        _prompt_completion,
    ),
)
