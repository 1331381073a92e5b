"""Subdomains of questions by a language model: three replies a question, and the majority of the names in them.

questions --prompt--> model --replies--> votes, on disk one by one --majority--> {question hash: subdomain}

`model` is a `ChatModel`: an endpoint or a local vLLM engine. The votes are stored beside the output
(`VoteFile`), so that the same command continues after a kill and asks no question again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vt_ray.config import DataSource
from vt_ray.data.chat_model import ChatError, ChatModel, ChatRequest
from vt_ray.data.layouts.layout import question_hash
from vt_ray.data.problem_rows import read_rows
from vt_ray.data.prompts import sample_seed
from vt_ray.data.readers import read_problem_rows
from vt_ray.progress import bar

OTHER = "other"
# The subdomain, and the kind, of problems that ask for a program.
CODE = "code"
# A question gets the subdomain that MAJORITY of at most VOTES replies name. Without it the subdomain is OTHER.
VOTES, MAJORITY = 3, 2
# The beginning of a question shows its subject, and a whole code problem may not fit the context of a small model.
QUESTION_CHARS = 4_000
# A row that a run refuses or leaves out needs no subdomain, and stops no classification.
READ_ALL = DataSource(on_bad_row="skip", max_bad_share=1.0, drop_unanswered=True)
# The end of a reply without a name, in the file of votes.
REPLY_CHARS = 500
# Questions asked at a time: enough for an engine's batch.
CHUNK = 512
# The question comes first: small models forget an instruction before a long question.
PROMPT = """\
Problem:
{question}

Which one of these subdomains does the problem above belong to?

{names}
- other

Do not solve the problem. Reply with one name from the list and nothing else."""


class ClassificationError(ValueError):
    """The questions cannot be classified. The message gives the remedy."""


@dataclass
class Question:
    """A question to classify. `votes` has the name in each reply, "" for a reply without one and for a refusal."""

    key: str
    text: str
    votes: dict[int, str] = field(default_factory=dict)

    @property
    def majority(self) -> str:
        """The subdomain that MAJORITY replies name, "" if there is none."""
        named = Counter(vote for vote in self.votes.values() if vote)
        return next((name for name, count in named.items() if count >= MAJORITY), "")

    @property
    def open_votes(self) -> list[int]:
        """The replies that are still to ask for: the last ones only if the first do not decide."""
        if self.majority or len(self.votes) == VOTES:
            return []
        return [i for i in range(MAJORITY) if i not in self.votes] or [len(self.votes)]


@dataclass(frozen=True)
class Classified:
    """`subdomains` is {question hash: subdomain}; `undecided` of them are OTHER because no majority was found."""

    subdomains: dict[str, str]
    undecided: int

    @property
    def counts(self) -> list[tuple[str, int]]:
        return Counter(self.subdomains.values()).most_common()


def classify(questions: Sequence[Question], output: Path, model: ChatModel, names: Sequence[str]) -> Classified:
    """Asks `model` for the subdomains of the questions and writes `output`, {question hash: subdomain} as JSON.

    Raises ClassificationError, also if no question has a majority; the output is not written then.
    """
    if output.is_dir():
        raise ClassificationError(f"--output {output} is a folder: name a file")
    by_key = {question.key: question for question in questions}
    with VoteFile(votes_path(output), settings_digest(model.name, names)) as votes:
        for key, sample, vote in votes.stored():
            if key in by_key:
                by_key[key].votes[sample] = vote
        _ask(questions, model, names, votes)
    return _written(questions, output, f"; a refusal: {model.refusal}" if model.refusal else "")


def _ask(questions: Sequence[Question], model: ChatModel, names: Sequence[str], votes: VoteFile) -> None:
    """Asks until each question is decided or has VOTES votes, and stores each vote."""
    undecided = [question for question in questions if question.open_votes]
    done = len(questions) - len(undecided)
    try:
        with bar("classify", len(questions), done) as advance:
            for start in range(0, len(undecided), CHUNK):
                for question, sample, reply in _replies(undecided[start : start + CHUNK], model, names):
                    question.votes[sample] = vote = named_subdomain(reply or "", names)
                    if reply is not None:
                        votes.append(question.key, sample, vote, reply)
                    if not question.open_votes:
                        done += 1
                        advance(question.majority or OTHER)
    except (ChatError, ClassificationError) as error:
        raise ClassificationError(
            f"{error} ({done:,} of {len(questions):,} questions are classified: the same command continues)"
        ) from error


def read_questions(sources: Sequence[str], names: Sequence[str]) -> list[Question]:
    """Returns the distinct questions of the sources, in order. If CODE is one of the names, programs have it already.

    Raises ProblemFileError for a file that cannot be read. Rows that are no problems are left out.
    """
    known = {i: CODE for i in range(MAJORITY)} if CODE in names else {}
    found: dict[str, Question] = {}
    for source in sources:
        for problem in read_problem_rows(read_rows(source), READ_ALL).problems:
            key = question_hash(problem)
            votes = dict(known) if problem.kind == CODE else {}
            found.setdefault(key, Question(key, problem.question[:QUESTION_CHARS], votes))
    if not found:
        raise ClassificationError(f"no question in {', '.join(sources)}: give files of problems (docs/data.md)")
    return list(found.values())


def checked_names(names: Iterable[str]) -> list[str]:
    """Returns the names without spaces around them and without OTHER, which may always be named.

    Raises ClassificationError for fewer than two names and for a name that is there twice.
    """
    found = [name.strip() for name in names if name.strip() and name.strip().casefold() != OTHER]
    if len({name.casefold() for name in found}) < max(len(found), 2):
        raise ClassificationError(f"--subdomains {','.join(names)}: expected at least two different names")
    return found


def named_subdomain(reply: str, names: Sequence[str]) -> str:
    """Returns the one name, OTHER included, that a reply gives after its reasoning; "" for none and for several.

    A first or a last line that is a name alone decides. Case and punctuation around it do not count.
    """
    if "<think>" in reply and "</think>" not in reply:
        return ""
    answer = reply.rpartition("</think>")[2].strip()
    spelled = {name.casefold(): name for name in (*names, OTHER)}
    lines = answer.splitlines() or [""]
    for line in (lines[0], lines[-1]):
        if name := spelled.get(re.sub(r"^\W+|\W+$", "", line).casefold()):
            return name
    # Longer names first: "linear algebra" is not "algebra". A name within a word does not count, except in scripts
    # without spaces between words.
    longest_first = sorted(spelled, key=len, reverse=True)
    pattern = rf"(?<![A-Za-zÀ-ÿ0-9])({'|'.join(map(re.escape, longest_first))})(?![A-Za-zÀ-ÿ0-9])"
    found = set(re.findall(pattern, answer.casefold()))
    return spelled[found.pop()] if len(found) == 1 else ""


def votes_path(output: Path) -> Path:
    return output.with_name(output.name + ".votes.jsonl")


def settings_digest(model: str, names: Sequence[str]) -> str:
    """Identifies what a vote depends on beside the question."""
    return hashlib.sha256(repr((PROMPT, QUESTION_CHARS, model, list(names))).encode()).hexdigest()[:12]


class VoteFile:
    """The votes on disk, one JSON line each: {"settings", "question", "sample", "vote"}.

    Votes of other settings stay in the file and are not used. A line that was cut off by a kill is skipped.
    """

    def __init__(self, path: Path, settings: str):
        self.path, self.settings = path, settings
        self._file: IO[bytes]

    def __enter__(self) -> VoteFile:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            if self._file.tell() and not self.path.read_bytes().endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise ClassificationError(f"{self.path} cannot be written: {error.strerror or error}") from error
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def stored(self) -> Iterator[tuple[str, int, str]]:
        """Yields (question hash, number of the reply, vote) of the votes with these settings."""
        with self.path.open("rb") as lines:
            for line in lines:
                try:
                    vote = json.loads(line)
                    if vote["settings"] == self.settings:
                        yield str(vote["question"]), int(vote["sample"]), str(vote["vote"])
                except (ValueError, KeyError, TypeError):
                    continue

    def append(self, question: str, sample: int, vote: str, reply: str) -> None:
        """Stores a vote; without a name in the reply also the end of the reply, for the user."""
        fields = {"settings": self.settings, "question": question, "sample": sample, "vote": vote}
        fields |= {} if vote else {"reply": reply[-REPLY_CHARS:]}
        try:
            # Unbuffered: a line is one write, so that a kill loses at most the line that is being written.
            self._file.write(json.dumps(fields).encode() + b"\n")
        except OSError as error:
            raise ClassificationError(f"{self.path} cannot be written: {error.strerror or error}") from error


def _replies(
    questions: Sequence[Question], model: ChatModel, names: Sequence[str]
) -> Iterator[tuple[Question, int, str | None]]:
    """Yields (question, number of the reply, reply) until each question is decided or has VOTES votes."""
    while requested := [(question, sample) for question in questions for sample in question.open_votes]:
        # The same seed for all questions would make the noise of their replies alike.
        requests = [ChatRequest(prompt_text(q.text, names), sample_seed(q.key, sample)) for q, sample in requested]
        for index, reply in model.replies(requests):
            yield *requested[index], reply


def prompt_text(question: str, names: Sequence[str]) -> str:
    return PROMPT.format(names="\n".join(f"- {name}" for name in names), question=question)


def _written(questions: Sequence[Question], output: Path, refusal: str) -> Classified:
    undecided = sum(not question.majority for question in questions)
    if undecided == len(questions):
        raise ClassificationError(
            f"no question has {MAJORITY} replies that name the same subdomain (the replies are in "
            f"{votes_path(output)}{refusal}): take an instruction-tuned model, or raise --max-tokens for a reasoning "
            "model"
        )
    found = {question.key: question.majority or OTHER for question in questions}
    partial = output.with_name(output.name + ".partial")
    try:
        partial.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, output)
    except OSError as error:
        raise ClassificationError(f"{output} cannot be written: {error.strerror or error}") from error
    return Classified(found, undecided)
