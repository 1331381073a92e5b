"""A chat model: one reply to one message. `vt_ray.engines` has two, an endpoint and a local model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class ChatError(ValueError):
    """The model cannot be asked. The message gives the remedy."""


@dataclass(frozen=True)
class ChatRequest:
    """One reply to ask for. `seed` makes replies to the same text differ."""

    text: str
    seed: int


class ChatModel(Protocol):
    """`name` identifies the model and its sampling settings: stored replies of another name are not used again.

    `refusal` is the message of the newest request that was refused, such as a prompt over the model's context.
    """

    name: str
    refusal: str

    def replies(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, str | None]]:
        """Yields (index of the request, text of the reply) as the replies arrive, in any order.

        The text is None for a request that was refused. Raises ChatError if the model cannot be reached.
        """
        ...


@dataclass(frozen=True)
class ChatReply:
    """A reply with its tokens. `finished` is False if the limit of new tokens cut it off.

    prompt_tokens, reply_tokens: counted by the endpoint; None if it counts none.
    """

    text: str
    finished: bool
    prompt_tokens: int | None
    reply_tokens: int | None
