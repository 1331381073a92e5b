"""Replies of an endpoint that are paid for once: each is stored when it arrives, and a cap limits tokens and money.

requests --stored? affordable?--> endpoint --> replies, one JSON line each in a file

The cap holds the tokens of the stored replies and, for requests in flight, the most that they can use. So it is never
exceeded, but for replies in flight at a kill, which cannot be counted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import IO, Protocol

from vt_ray.data.chat_model import ChatError, ChatReply, ChatRequest

# Tokens that a chat template, with its system message, may add to a prompt.
TEMPLATE_TOKENS = 200


class CountingModel(Protocol):
    """See `engines.endpoint.EndpointModel`. `max_tokens` limits the new tokens of a reply."""

    name: str
    refusal: str
    max_tokens: int

    def counted_replies(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatReply | None]]: ...


@dataclass(frozen=True)
class Cap:
    """The most tokens and the most money of a command. `money` is None without a limit.

    prompt_price, reply_price: for a million tokens, in any currency.
    """

    tokens: int
    money: float | None = None
    prompt_price: float = 0.0
    reply_price: float = 0.0

    def __post_init__(self) -> None:
        for name in ("money", "prompt_price", "reply_price"):
            if (value := getattr(self, name)) is not None and not isfinite(value):
                option = "--money-cap" if name == "money" else f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} {value} is not a number of money: give a finite one, at least 0")
        if self.money is not None and not (self.prompt_price or self.reply_price):
            raise ValueError(f"--money-cap {self.money} without a price: give --prompt-price and --reply-price")

    def cost(self, spent: Spent) -> float:
        return (spent.prompt_tokens * self.prompt_price + spent.reply_tokens * self.reply_price) / 1e6

    def allows(self, spent: Spent) -> bool:
        return spent.tokens <= self.tokens and (self.money is None or self.cost(spent) <= self.money)


@dataclass(frozen=True)
class Spent:
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.prompt_tokens + other.prompt_tokens, self.reply_tokens + other.reply_tokens)

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.reply_tokens


class StoredReplies:
    """The replies in the file `path`, and further ones of `model`. A context manager that locks the file.

    `spent` has the tokens of all lines of the file, also those of other models and settings. A line that a kill cut off
    is skipped. Raises ChatError if the file cannot be written or another command uses it.
    """

    def __init__(self, path: Path, model: CountingModel, cap: Cap):
        self.path, self.spent, self._model, self._cap = path, Spent(), model, cap
        self._known: dict[str, ChatReply] = {}
        self._file: IO[bytes]

    def __enter__(self) -> StoredReplies:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError as error:
            raise ChatError(f"{self.path} is in use by another command: wait for it, or name another output") from error
        except OSError as error:
            raise ChatError(f"{self.path} cannot be written: {error.strerror or error}") from error
        return self

    @property
    def model_name(self) -> str:
        return self._model.name

    @property
    def refusal(self) -> str:
        return self._model.refusal

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def ask(
        self, requests: Sequence[ChatRequest], arrived: Callable[[], None] = lambda: None
    ) -> list[ChatReply | None]:
        """Returns the replies to the first of the requests, in order: to all of them unless the cap is reached.

        A reply is None if the model refused the request. `arrived` is called after each new reply. Raises ChatError.
        """
        keys = [self._key(request) for request in requests]
        refused: set[int] = set()
        missing = [index for index, key in enumerate(keys) if key not in self._known]
        while missing and (batch := self._affordable(missing, requests)):
            for index, reply in self._model.counted_replies([requests[i] for i in batch]):
                if reply:
                    self._store(keys[batch[index]], reply, requests[batch[index]])
                else:
                    refused.add(batch[index])
                arrived()
            missing = missing[len(batch) :]
        asked = missing[0] if missing else len(requests)
        return [None if index in refused else self._known[keys[index]] for index in range(asked)]

    def _affordable(self, missing: Sequence[int], requests: Sequence[ChatRequest]) -> list[int]:
        """Returns the first of the missing requests, as many as the cap allows together."""
        batch: list[int] = []
        planned = self.spent
        for index in missing:
            planned += self._most(requests[index])
            if not self._cap.allows(planned):
                break
            batch.append(index)
        return batch

    def _store(self, key: str, reply: ChatReply, request: ChatRequest) -> None:
        most = self._most(request)
        prompt = most.prompt_tokens if reply.prompt_tokens is None else reply.prompt_tokens
        new = most.reply_tokens if reply.reply_tokens is None else reply.reply_tokens
        self._known[key] = stored = ChatReply(reply.text, reply.finished, prompt, new)
        self.spent += Spent(prompt, new)
        try:
            # Unbuffered: a line is one write, so that a kill loses at most the line that is being written.
            self._file.write(json.dumps({"key": key, **asdict(stored)}).encode() + b"\n")
        except OSError as error:
            raise ChatError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def _most(self, request: ChatRequest) -> Spent:
        """The most tokens of a request and its reply: a token of the prompt has at least one byte."""
        return Spent(len(request.text.encode("utf-8", "surrogatepass")) + TEMPLATE_TOKENS, self._model.max_tokens)

    def _key(self, request: ChatRequest) -> str:
        parts = repr((self._model.name, request.text, request.seed)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(parts).hexdigest()[:24]

    def _read(self) -> None:
        whole = self.path.read_bytes()
        for line in whole.split(b"\n"):
            try:
                fields = json.loads(line)
                counts = int(fields["prompt_tokens"]), int(fields["reply_tokens"])
                self._known[str(fields["key"])] = ChatReply(str(fields["text"]), bool(fields["finished"]), *counts)
            except (ValueError, KeyError, TypeError):
                continue
            self.spent += Spent(*counts)
        if whole and not whole.endswith(b"\n"):
            self._file.write(b"\n")
