"""Perturbations of the words of a question: typos, white space, an irrelevant sentence. Formulas and code stay."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from vt_ray.data.perturbations.options import stem_end
from vt_ray.records import Problem

# Code, formulas, LaTeX commands and drawings. A question with an odd dollar sign keeps more text unchanged.
PROTECTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\[asy\].*?\[/asy\]|\$\$.*?\$\$|\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\\[A-Za-z]+(?:\s*\{[^{}]*\})*|<[^<>\n]*>|https?://\S+",
    re.DOTALL,
)
# The first line of code in the text of the question: nothing from there on may change.
PROGRAM = re.compile(
    r"^[ \t]*(?:(?:def|class|assert|for|while|print)\b.*[(:=]|import\s+\w|from\s+\S+\s+import\b|>>>)", re.MULTILINE
)
# A word between blanks and punctuation; no name such as `list_sum` or `f(x)`.
_WORD = re.compile(r"(?<![\w\\.'’(-])[A-Za-z][a-z]{4,}(?![\w(\\'’-])")
# A typo must not touch words that decide the answer.
_KEPT = re.compile(
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty"
    r"|seventy|eighty|ninety|hundred|thousand|million|billion|half|third|quarter|fourth|fifth|\w+th|once|twice|thrice"
    r"|double|triple|dozen|first|second|least|fewer|more|except|never|neither|true|false)s?",
    re.IGNORECASE,
)
_SPACE = re.compile(r"(?<=\S) (?=\S)")
TYPO_EVERY = 10
SENTENCES = (
    "My neighbour's cat likes to sleep near the window.",
    "The library in our town is closed on public holidays.",
    "It rained for most of the morning, and the streets were still wet.",
    "A friend of mine has just returned from a long journey by train.",
    "The old clock in the hall needs to be repaired.",
    "Somebody left a blue umbrella in the classroom.",
    "The bakery on the corner sells very good bread.",
    "Our teacher prefers green ink to black ink.",
)


def with_typos(problem: Problem, rng: Random) -> Problem | None:
    """Exchanges two letters inside about every tenth long word, in one word at least. Options stay."""
    end = _prose_end(problem)
    text = problem.question
    hidden = [m.span() for m in PROTECTED.finditer(text[:end])]
    words = [
        word
        for word in _WORD.finditer(text[:end])
        if not _KEPT.fullmatch(word[0])
        and len(set(word[0][1:-1])) > 1
        and not any(start <= word.start() < stop for start, stop in hidden)
    ]
    for word in sorted(rng.sample(words, -(-len(words) // TYPO_EVERY)), key=lambda w: w.start(), reverse=True):
        text = text[: word.start()] + _exchanged(word[0], rng) + text[word.end() :]
    return replace(problem, question=text) if words else None


def with_white_space(problem: Problem, rng: Random) -> Problem | None:
    """Writes one to four spaces for each space between two words, and a tab now and then. Options stay."""
    end = _prose_end(problem)
    parts, position = [], 0
    for protected in PROTECTED.finditer(problem.question[:end]):
        parts += [_SPACE.sub(lambda _: _blanks(rng), problem.question[position : protected.start()]), protected[0]]
        position = protected.end()
    last = _SPACE.sub(lambda _: _blanks(rng), problem.question[position:end])
    question = "".join([*parts, last, problem.question[end:]])
    return replace(problem, question=question) if question != problem.question else None


def with_irrelevant_sentence(problem: Problem, rng: Random) -> Problem | None:
    """Writes a sentence without a number, and without a connection to the question, before the question."""
    if PROGRAM.match(problem.question.lstrip()):
        return None
    return replace(problem, question=f"{rng.choice(SENTENCES)} {problem.question}")


def _prose_end(problem: Problem) -> int:
    """The number of characters that may change: up to the options or the code; 0 if the options are not found."""
    program = PROGRAM.search(problem.question)
    return min(stem_end(problem) or 0, program.start() if program else len(problem.question))


def _exchanged(word: str, rng: Random) -> str:
    """The word with two different neighbouring letters exchanged; its first and last letters stay."""
    places = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    i = rng.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _blanks(rng: Random) -> str:
    return "\t" if rng.random() < 0.05 else " " * rng.randint(1, 4)
