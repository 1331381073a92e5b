"""Probing problems by a language model: it writes a question, and its own answers vote for the gold answer.

topics --> question --Screen--> new question --n replies--> vote --> OUTPUT, or OUTPUT.dropped.jsonl with the reason

All replies are stored in OUTPUT.replies.jsonl, so the same command continues after a kill and pays for no reply twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vt_ray.data.chat_model import ChatError, ChatReply, ChatRequest
from vt_ray.data.problem_rows import Row, RowError
from vt_ray.data.readers import read_problem_rows
from vt_ray.problem_writer import messages
from vt_ray.problem_writer.answers import vote
from vt_ray.problem_writer.screen import Screen
from vt_ray.problem_writer.stored_replies import Cap, CountingModel, Spent, StoredReplies
from vt_ray.progress import Advance, bar
from vt_ray.records import Problem
from vt_ray.verify.verifier import Verifier

# Questions that are written before their answers are asked for. An endpoint answers many requests at a time.
ROUND = 32
# The command ends after so many written questions for each wanted problem.
MAX_WRITTEN = 10
# A gold answer that every reader accepts, until the replies have voted.
_OPEN = "0"


@dataclass(frozen=True)
class Wanted:
    """What to write. `against` are sources of questions that must not be repeated.

    samples: replies that answer a question. least_agreement: the share of them that must agree.
    """

    subdomain: str
    count: int
    samples: int = 8
    least_agreement: float = 0.5
    against: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.subdomain.strip()) <= messages.TOPIC_CHARS or not self.subdomain.isprintable():
            raise ValueError(
                f"--subdomain {self.subdomain!r}: expected a name of 1 to {messages.TOPIC_CHARS} characters"
            )
        if self.subdomain.strip().casefold() == "code":
            raise ValueError("--subdomain code: replies vote on answers, and programs have none: name a field of math")
        if not 0 < self.least_agreement <= 1:
            raise ValueError(f"--min-agreement {self.least_agreement}: expected a number above 0, at most 1")


@dataclass
class Written:
    """The written problems as rows of the output. `dropped` are the other questions, each with its `reason`.

    questions: all that were written. end: why the command ended before all problems were there, "" if they are there.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    questions: int = 0
    end: str = ""
    spent: Spent = Spent()
    cost: float = 0.0

    @property
    def reasons(self) -> list[tuple[str, int]]:
        return Counter(line["reason"] for line in self.dropped).most_common()


def write_problems(wanted: Wanted, output: Path, model: CountingModel, cap: Cap) -> Written:
    """Writes `output`, with fewer problems if the cap or MAX_WRITTEN is reached, and `dropped_path(output)`.

    Raises ChatError if the model cannot be asked or no problem is left, ProblemFileError and ValueError as `Screen`.
    """
    _refuse_foreign_output(wanted, output)
    screen = Screen(wanted.against)
    with StoredReplies(replies_path(output), model, cap) as replies, Verifier() as verifier:
        writer = _Writer(wanted, replies, screen, verifier)
        try:
            writer.write()
        except ChatError as error:
            done = f"{len(writer.written.rows):,} of {wanted.count:,} problems are written"
            raise ChatError(f"{error} ({done}: the same command continues)") from error
        written = replace(writer.written, spent=replies.spent, cost=cap.cost(replies.spent))
    _write(dropped_path(output), written.dropped)
    if not written.rows:
        refusal = f"; a refusal: {model.refusal}" if model.refusal else ""
        raise ChatError(
            f"no problem of {written.questions} written questions is left: {written.end} (the reasons are in "
            f"{dropped_path(output)}{refusal}): take a stronger model, or raise --max-tokens or the cap"
        )
    _write(output, written.rows)
    return written


class _Writer:
    """The rounds of one command. The replies alone decide the result, so a command that continues repeats all steps."""

    def __init__(self, wanted: Wanted, replies: StoredReplies, screen: Screen, verifier: Verifier):
        self._wanted, self._replies, self._screen, self._verifier = wanted, replies, screen, verifier
        self.written = Written()

    def write(self) -> None:
        found = self.written
        with bar("write problems", self._wanted.count) as advance:
            topics = self._topics()
            while (left := self._wanted.count - len(found.rows)) and not found.end:
                size = min(ROUND, left, MAX_WRITTEN * self._wanted.count - found.questions)
                if size == 0:
                    found.end = f"{MAX_WRITTEN} questions were written for each wanted problem"
                for row in self._round(topics, size, advance):
                    found.rows.append(row)
                    self._show(advance, 1)

    def _topics(self) -> list[str]:
        subdomain = self._wanted.subdomain
        replies = self._replies.ask([messages.topics_request(subdomain, self._wanted.seed)])
        return messages.topics_of(replies[0].text if replies and replies[0] else "", subdomain)

    def _round(self, topics: Sequence[str], size: int, advance: Advance) -> Iterator[dict[str, Any]]:
        """Writes `size` questions, fewer if the cap is reached, and yields the rows of the problems among them."""
        new = [*self._new_questions(topics, size, advance)]
        samples = self._wanted.samples
        requests = [messages.answer_request(fields["question"], i) for fields in new for i in range(samples)]
        replies = self._ask(requests, advance)
        for place, fields in enumerate(new):
            of_question = replies[place * samples : (place + 1) * samples]
            try:
                if len(of_question) < samples:
                    raise ValueError("not answered before the cap")
                yield self._solved(fields, of_question)
            except ValueError as error:
                self._drop(fields, error)

    def _new_questions(self, topics: Sequence[str], size: int, advance: Advance) -> Iterator[dict[str, Any]]:
        """Yields the rows, without an answer, of the written questions that are new."""
        subdomain, first = self._wanted.subdomain, self.written.questions
        numbers = range(first, first + size)
        requests = [messages.problem_request(subdomain, topics, number, self._wanted.seed) for number in numbers]
        replies = self._ask(requests, advance)
        if first == 0 and replies and not any(replies):
            raise ChatError(f"all requests were refused: {self._replies.refusal}")
        self.written.questions += len(replies)
        for number, reply in zip(numbers, replies, strict=False):
            fields = {"kind": "math", "subdomain": subdomain, "level": messages.level_of(number)}
            fields |= {"topic": messages.topic_of(topics, number), "model": self._replies.model_name}
            try:
                fields["question"] = messages.question_of(reply.text if reply else "")
                if fault := self._screen.fault(_problem(fields | {"answer": _OPEN})):
                    raise ValueError(fault)
                yield fields
            except ValueError as error:
                self._drop(fields, error if reply else ValueError("the request was refused"))

    def _solved(self, fields: dict[str, Any], replies: Sequence[ChatReply | None]) -> dict[str, Any]:
        """Returns the row with its gold answer. Raises ValueError with the fault if there is none."""
        found = vote(_problem(fields | {"answer": _OPEN}), replies, self._wanted.least_agreement, self._verifier)
        fields["answers"] = [*found.answers]
        if found.fault:
            raise ValueError(found.fault)
        row = {**fields, "answer": found.gold, "agreement": round(found.agreement, 3), "samples": len(replies)}
        del row["answers"]
        _problem(row)
        return row

    def _ask(self, requests: Sequence[ChatRequest], advance: Advance) -> list[ChatReply | None]:
        replies = self._replies.ask(requests, lambda: self._show(advance, 0))
        if len(replies) < len(requests):
            self.written.end = "the cap is reached"
        return replies

    def _drop(self, fields: dict[str, Any], error: ValueError) -> None:
        reason = error.fault if isinstance(error, RowError) else str(error)
        self.written.dropped.append({"reason": reason, **fields})

    def _show(self, advance: Advance, count: int) -> None:
        advance(f"{self.written.questions} written, {self._replies.spent.tokens:,} tokens", count)


def _problem(fields: dict[str, Any]) -> Problem:
    """Returns the problem that `data.probe_files` reads from a row. Raises ValueError with the fault of the row."""
    problems = read_problem_rows([Row(Path("written.jsonl"), 1, fields)]).problems
    if not problems:
        raise ValueError("no reader takes the row")
    return problems[0]


def replies_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.replies.jsonl")


def dropped_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.dropped.jsonl")


def _refuse_foreign_output(wanted: Wanted, output: Path) -> None:
    if output.suffix != ".jsonl":
        raise ValueError(f"--output {output}: expected a name that ends in .jsonl")
    if output.exists() and not replies_path(output).exists():
        raise ValueError(f"--output {output} exists and is not of this command: name another file")
    if any(Path(source).resolve() == output.resolve() for source in wanted.against):
        raise ValueError(f"--against {output} is the output itself: its own questions are compared anyway")


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ChatError(f"{path} cannot be written: {error.strerror or error}") from error
