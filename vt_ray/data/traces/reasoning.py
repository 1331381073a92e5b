"""The reasoning part of a response, in one form for every layout.

<think>r</think>a | r</think>a | <think>r</think><answer>a</answer> |
<|begin_of_thought|>r<|end_of_thought|><|begin_of_solution|>a<|end_of_solution|>  --split_reasoning-->  r, a
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vt_ray.config import ConfigError
from vt_ray.data.traces.trace import Message, Trace

CUT, MALFORMED, EMPTY = "cut off", "malformed reasoning", "empty response"
# The tags around a reasoning part, and the tags around the response after it.
_REASONING = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_RESPONSE = (("<answer>", "</answer>"), ("<|begin_of_solution|>", "<|end_of_solution|>"))
_TAG = re.compile("|".join(re.escape(tag) for pair in _REASONING for tag in pair))
_OPEN = re.compile(r"<think>(\s*)\Z")
# A system message that asks for these tags would contradict the one form.
_FOREIGN = "<|begin_of_thought|>"


def split_reasoning(text: str) -> tuple[str, str, str]:
    """Returns (reasoning, response, fault) of a response's text, without tags.

    A reasoning part that is opened and not closed is "cut off". A second reasoning part, a tag inside the response, or
    text before the reasoning is "malformed reasoning".
    """
    for opening, closing in _REASONING:
        before, opened, rest = text.partition(opening)
        if not opened and closing in text:
            before, rest = "", text  # the prompt has opened the reasoning
        elif not opened:
            continue
        reasoning, closed, response = rest.partition(closing)
        if not closed:
            return reasoning.strip(), "", CUT
        response = _unwrapped(response.strip())
        if before.strip() or _TAG.search(reasoning) or _TAG.search(response):
            return reasoning.strip(), response, MALFORMED
        return reasoning.strip(), response, "" if response else EMPTY
    response = _unwrapped(text.strip())
    return "", response, "" if response else EMPTY


def opens_reasoning(prompt_end: str) -> bool:
    """Whether a prompt that ends with `prompt_end` opens the reasoning, as some chat templates do."""
    return bool(_OPEN.search(prompt_end))


def completion_text(trace: Trace, prompt_end: str) -> str:
    """Returns what SFT learns after a prompt that ends with `prompt_end`.

    After a prompt that opens the reasoning, the completion begins inside it, so that the tag is not doubled; a trace
    without reasoning closes it at once.
    """
    opened = _OPEN.search(prompt_end)
    if not opened:
        return trace.text
    newline = "" if opened[1] else "\n"
    return f"{newline}{trace.reasoning}\n</think>\n\n{trace.response}"


def solution_text(text: str, prompt_end: str, place: str) -> str:
    """As `completion_text`, for the worked solution `text` of the problem at `place`.

    Raises ConfigError if the prompt opens the reasoning and the solution has reasoning tags that do not match.
    """
    if not opens_reasoning(prompt_end):
        return text
    reasoning, response, fault = split_reasoning(text)
    if fault in (CUT, MALFORMED):
        raise ConfigError(
            f"{place}: the worked solution has {fault} ({text[:40]!r}...): the chat template opens <think>, so that a "
            "solution needs one reasoning part or none; correct the solution"
        )
    return completion_text(Trace((), reasoning, response), prompt_end)


def answered(messages: Sequence[Message], text: str, reasoning: str = "", **known: Any) -> Trace:
    """Returns the trace of a response `text`. `reasoning` is the text of a field of its own, "" if it is in `text`."""
    within, response, fault = split_reasoning(text)
    if reasoning.strip() and within:
        fault = MALFORMED  # two reasoning parts
    finish = {"finish_reason": "length"} if fault == CUT else {}
    kept = tuple(m for m in messages if m.role != "system" or _FOREIGN not in m.content)
    return Trace(kept, reasoning.strip() or within, response, **{"fault": fault, **known, **finish})


def _unwrapped(response: str) -> str:
    for opening, closing in _RESPONSE:
        if response.startswith(opening):
            return response.removeprefix(opening).removesuffix(closing).strip()
    return response
