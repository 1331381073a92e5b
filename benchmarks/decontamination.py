"""Decontamination on one core: documents a second beside a plain set of n-grams, and recall of planted questions.

    python benchmarks/decontamination.py [--train FILE...] [--eval FILE...] [--rounds 5] [--large ROWS]

Without files, the training texts are 5,000 built-in problems and the evaluation texts 500 others. Speed: both ways
check all training texts in turns, on one CPU; the time is CPU time, and the best round counts. The plain way makes a
set of the 10-grams of each text with `re` and `str.split`. Planted questions: each evaluation question is changed in
nine ways and mixed with the training texts. Recall is the share of planted texts that are found; precision is the share
of planted texts among those found. `--large` decontaminates a file of ROWS rows in a process of its own and prints its
peak memory. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vt_ray.data.decontamination.matcher import Matcher
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question, read_all

BATCH = 500
NGRAM = 10
EXACT = DecontaminationOptions(near_duplicates="off", number_blind="off")
Check = Callable[[Sequence[str]], set[int]]

SYNONYMS = {
    **{"find": "determine", "compute": "work out", "what is": "give", "how many": "the number of which", "let": "take"},
    **{
        "the": "that",
        "such that": "so that",
        "and": "as well as",
        "has": "possesses",
        "are": "form",
        "each": "any one",
    },
    **{
        "integer": "whole number",
        "positive": "nonnegative",
        "value": "size",
        "if": "provided that",
        "of": "belonging to",
    },
}


def in_other_words(question: str) -> str:
    """A mechanical paraphrase: common words are replaced and the sentences are reversed."""
    pattern = re.compile(rf"\b({'|'.join(sorted(SYNONYMS, key=len, reverse=True))})\b", re.IGNORECASE)
    return reordered(pattern.sub(lambda found: SYNONYMS[found[0].lower()], question))


def reordered(question: str) -> str:
    return " ".join(reversed(re.split(r"(?<=[.?!])\s+", question)))


# A kind that cannot change a question, such as another order of one sentence, leaves this question out.
PLANTS: dict[str, Callable[[str], str]] = {
    "case": str.upper,
    "punctuation": lambda q: re.sub(r"[.,;:?!$]", "", q),
    "LaTeX spacing": lambda q: re.sub(r"(?<=[=+(])|(?=[=+)])", r" \\, ", q).replace("$ ", r"\;$~"),
    "wrapper": lambda q: f"{q}\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    "sentences around": lambda q: f"Here is an old puzzle of my uncle. {q} Explain each of your steps with care.",
    "first words cut": lambda q: " ".join(q.split()[6:]),
    "renamed numbers": lambda q: re.sub(r"\d+", lambda found: str(int(found[0]) + 101), q),
    "reordered sentences": reordered,
    "paraphrase": in_other_words,
}


def plain_check(evaluation: Sequence[str]) -> Check:
    """A set of n-grams in plain Python."""
    known = {gram for text in evaluation for gram in plain_grams(text)}

    def check(texts: Sequence[str]) -> set[int]:
        return {number for number, text in enumerate(texts) if not known.isdisjoint(plain_grams(text))}

    return check


def plain_grams(text: str) -> set[str]:
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return {" ".join(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}


def our_check(evaluation: Sequence[str], options: DecontaminationOptions) -> Check:
    matcher = Matcher([Question("eval", row, text) for row, text in enumerate(evaluation)], options)

    def check(texts: Sequence[str]) -> set[int]:
        return {
            start + match.text
            for start in range(0, len(texts), BATCH)
            for match in matcher.matches(texts[start : start + BATCH])
        }

    return check


def speed(checks: dict[str, Check], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Returns the microseconds of CPU time a text of each way, of its best round; the ways take turns."""
    best = dict.fromkeys(checks, float("inf"))
    for _ in range(rounds):
        for name, check in checks.items():
            start = time.process_time()
            check(texts)
            best[name] = min(best[name], time.process_time() - start)
    return {name: seconds / len(texts) * 1e6 for name, seconds in best.items()}


def planted(evaluation: Sequence[str], clean: Sequence[str]) -> dict[str, dict[str, float]]:
    """Returns recall and precision of the rows that are dropped, and recall of those dropped or reported, by kind."""
    options = DecontaminationOptions()
    matcher = Matcher([Question("eval", row, text) for row, text in enumerate(evaluation)], options)
    false_alarms = sum(dropped for dropped, _ in outcomes(matcher, options, clean))
    figures = {}
    for kind, change in PLANTS.items():
        texts = [changed for text in evaluation if (changed := change(text)) != text and changed]
        found = outcomes(matcher, options, texts)
        drops, hits = sum(dropped for dropped, _ in found), sum(hit for _, hit in found)
        figures[kind] = {
            "planted": len(texts),
            "recall": round(drops / max(len(texts), 1), 3),
            "precision": round(drops / max(drops + false_alarms, 1), 3),
            "recall_with_reported": round(hits / max(len(texts), 1), 3),
        }
    return figures


def outcomes(matcher: Matcher, options: DecontaminationOptions, texts: Sequence[str]) -> list[tuple[bool, bool]]:
    """Returns (dropped, dropped or reported) for each text."""
    actions: list[set[str]] = [set() for _ in texts]
    for start in range(0, len(texts), BATCH):
        for match in matcher.matches(texts[start : start + BATCH]):
            actions[start + match.text].add(options.action(match.reason, match.score))
    return [("drop" in found, bool(found)) for found in actions]


def large(texts: Sequence[str], evaluation: Sequence[str], rows: int) -> dict[str, float]:
    """Returns seconds and peak memory of `vt-tools decontaminate` on a file of `rows` different rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        with path.open("w") as file:
            for number, text in zip(range(rows), itertools.cycle(texts), strict=False):
                file.write(json.dumps({"question": f"{text} Number {number}."}) + "\n")
        command = [sys.executable, "-m", "vt_ray.tools", "decontaminate", "--train", str(path), "--output", folder]
        start = time.monotonic()
        passes = ["--near-duplicates", "off"]
        subprocess.run([*command, *passes, "--eval", *evaluation], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"rows": rows, "seconds": round(seconds, 1), "peak_mb": round(peak)}


def made_texts(split: str, count: int) -> list[str]:
    from vt_ray.data.makers import make_problems

    subdomains = ("algebra", "geometry", "calculus", "statistics")
    return [
        problem.question for name in subdomains for problem in make_problems(name, split, count // len(subdomains), 0)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="*", default=[])
    parser.add_argument("--eval", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=0, help="rows of the large file; needs --eval")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    training = [question.text for question in read_all(options.train)] or made_texts("train", 5_000)
    evaluation = [question.text for question in read_all(options.eval)] or made_texts("test", 500)
    checks = {
        "plain": plain_check(evaluation),
        "n-grams": our_check(evaluation, EXACT),
        "all passes": our_check(evaluation, DecontaminationOptions()),
    }
    micros = speed(checks, training, options.rounds)
    figures = {
        "texts": len(training),
        "words": round(sum(len(text.split()) for text in training) / len(training), 1),
        "us_per_text": {name: round(value, 2) for name, value in micros.items()},
        "texts_per_s": {name: round(1e6 / value) for name, value in micros.items()},
        "ratio": round(micros["plain"] / micros["n-grams"], 2),
        "found": {name: len(check(training)) for name, check in checks.items()},
        "planted": planted(evaluation, training),
    }
    if options.large:
        figures["large"] = large(training, options.eval, options.large)
    show(figures)
    print(json.dumps(figures))


def show(figures: dict) -> None:
    table = Table(
        "way", "us a text", "texts/s", "found", title=f"{figures['texts']:,} texts of {figures['words']} words"
    )
    for name, micros in figures["us_per_text"].items():
        table.add_row(name, str(micros), f"{figures['texts_per_s'][name]:,}", f"{figures['found'][name]:,}")
    kinds = Table("planted kind", "texts", "recall", "precision", "recall with reported")
    for kind, found in figures["planted"].items():
        kinds.add_row(kind, *map(str, found.values()))
    for each in (table, kinds):
        Console(highlight=False).print(each)


if __name__ == "__main__":
    main()
