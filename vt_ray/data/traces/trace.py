"""The records of SFT traces: a chat, the reasoning and the response of a model, and the layout that they were read in.

row of a file --TraceLayout.read--> Trace* --PromptEncoder.traces--> TrainSequence
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# The style of all traces in spectrum.sft.styles.
TRACE_STYLE = "trace"

Fields = Mapping[str, Any]
Role = Literal["system", "user", "assistant"]


class TraceError(ValueError):
    """A row that cannot be read as traces. The message names the field, the fault and the expected form."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One response of a model, with the chat before it. SFT has a loss on the reasoning and the response alone.

    A chat with several turns of the assistant becomes several traces, one for each turn: `messages` holds the turns
    before it, with the reasoning of earlier turns left out, as chat templates of reasoning models do.

    `messages` ends with a message of the user.
    `reasoning` has no tags and is "" if there is none; `response` is the text after it.
    `correct` is the flag of the row, None without a flag.
    `finish_reason` is "stop", "length" (cut off) or "" (unknown).
    `fault` is the reason why SFT leaves the trace out, such as "malformed reasoning"; "" for a usable trace.
    `source` is the file, and `row` its row there, from 1.
    """

    messages: tuple[Message, ...]
    reasoning: str
    response: str
    correct: bool | None = None
    finish_reason: Literal["", "stop", "length"] = ""
    fault: str = ""
    source: str = ""
    row: int = 0

    @property
    def question(self) -> str:
        """The message that the response answers."""
        return self.messages[-1].content

    @property
    def text(self) -> str:
        """The reasoning in <think> tags, then the response."""
        return f"<think>\n{self.reasoning}\n</think>\n\n{self.response}" if self.reasoning else self.response

    @property
    def place(self) -> str:
        """File and row, for a message."""
        return f"{self.source}, row {self.row}"


@dataclass(frozen=True)
class TraceLayout:
    """A public layout of SFT traces.

    `matches(fields)` says whether a row has this layout. `read(fields)` returns the traces of a row, in order, without
    `source` and `row`; it raises TraceError for a row that lacks a part. `url` is a public data set in this layout.
    """

    name: str
    url: str
    matches: Callable[[Fields], bool]
    read: Callable[[Fields], list[Trace]]


def text_of(fields: Fields, name: str) -> str:
    """Returns a text field. Raises TraceError if it is missing, empty or not text."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if name not in fields else "is empty" if not value else f"is {type(value).__name__}"
        raise TraceError(f"field {name!r} {found}: expected text; fill it in or delete the row")
    return value.strip()
