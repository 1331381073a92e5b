"""The messages to the model, and the problem or the topics in its replies.

subdomain --topics_request--> topics --problem_request(number)--> question --answer_request(sample)--> reply with a box
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vt_ray.data.chat_model import ChatRequest
from vt_ray.data.prompts import sample_seed
from vt_ray.verify.extraction.final_text import final_text

TOPICS = 24
TOPIC_CHARS = 80
QUESTION_CHARS = 4_000
# Problem number i has topic i and level i, each counted modulo their number.
LEVELS = (
    "an exercise of an introductory textbook",
    "a hard exercise of a university course",
    "a problem of a mathematics competition",
)
TOPICS_MESSAGE = """\
List {count} different topics of {subdomain}, on which mathematics problems can be written, from elementary to advanced.

Reply with one topic a line and nothing else."""
PROBLEM_MESSAGE = """\
Write one new mathematics problem.

Subdomain: {subdomain}
Topic: {topic}
Difficulty: {level}

The problem has exactly one correct answer: a number, a formula, an interval or a set. It states all that is needed to \
solve it, without a figure. It is no multiple-choice question, no proof, and not several questions in one.

Write the problem between <problem> and </problem>. Do not solve it."""
ANSWER_MESSAGE = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."

_PROBLEM = re.compile(r"<problem>(.*?)</problem>", re.DOTALL | re.IGNORECASE)
# A line that gives the answer away, or a part of a solution.
_SOLVED = re.compile(r"\\boxed|^\W*(?:final answer|answer|solution|ans)\W*[:=]", re.MULTILINE | re.IGNORECASE)
_BULLET = re.compile(r"^(?:[-*•#>]+|\(?\d{1,3}[.):])\s*")


def topics_request(subdomain: str, seed: int) -> ChatRequest:
    text = TOPICS_MESSAGE.format(count=TOPICS, subdomain=subdomain)
    return ChatRequest(text, sample_seed("topics", subdomain, seed))


def topics_of(reply: str, subdomain: str) -> list[str]:
    """Returns the topics of a reply, one for each line after its reasoning; the subdomain alone if there is none."""
    lines = (_BULLET.sub("", line.strip()).strip(" *.`") for line in (final_text(reply) or "").splitlines())
    topics = dict.fromkeys(line for line in lines if 3 <= len(line) <= TOPIC_CHARS)
    return list(topics)[:TOPICS] or [subdomain]


def problem_request(subdomain: str, topics: Sequence[str], number: int, seed: int) -> ChatRequest:
    """Returns the request for problem `number`. Each has a seed of its own, and its topic and level change in turn."""
    level = LEVELS[level_of(number) - 1]
    text = PROBLEM_MESSAGE.format(subdomain=subdomain, topic=topic_of(topics, number), level=level)
    return ChatRequest(text, sample_seed("problem", subdomain, seed, number))


def topic_of(topics: Sequence[str], number: int) -> str:
    return topics[number % len(topics)]


def level_of(number: int) -> int:
    """Returns 1 for the first of LEVELS, and so on."""
    return 1 + number % len(LEVELS)


def question_of(reply: str) -> str:
    """Returns the text between the last pair of tags after the reasoning.

    Raises ValueError with the fault of a reply that has no usable question.
    """
    found = _PROBLEM.findall(final_text(reply) or "")
    question = found[-1].strip() if found else ""
    if not question:
        raise ValueError("no problem between the tags")
    if len(question) > QUESTION_CHARS:
        raise ValueError(f"a question of more than {QUESTION_CHARS:,} characters")
    if _SOLVED.search(question):
        raise ValueError("the question states its answer")
    return question


def answer_request(question: str, sample: int) -> ChatRequest:
    return ChatRequest(ANSWER_MESSAGE.format(question=question), sample_seed("answer", question, sample))
