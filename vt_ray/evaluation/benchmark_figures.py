"""The figures of the benchmarks at one milestone, from its results files. Loads neither torch nor a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import JOULES, read_results, votes_path
from vt_ray.evaluation.summary import benchmark_summary, by_group, paired_change, pass_at_1, vote_summary

# Entries of a results file's header that summary.json repeats.
SHOWN = ("title", "fingerprint", "parts", "temperature", "top_p", "max_new_tokens", "notes", "published")
# In a line of a results file: the verdicts of the second grader, see `answers.SECOND_GRADER`.
SECOND = "second_verdicts"
# The problems that no training row contains, in "by_training_rows".
NO_MATCH = "no match"


def benchmark_figures(
    folder: Path,
    before: tuple[str, Path] | None = None,
    flagged: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    first: tuple[str, Path] | None = None,
) -> dict[str, dict[str, Any]]:
    """{benchmark: figures} from the results files of one milestone in `folder`, for summary.json.

    `before` is the name and the folder of the milestone before: `difference` is the paired change from it, or has the
    reason why the two figures cannot be compared. `difference_from_first` is the same for the milestone `first`.
    `flagged` has {benchmark: {question id: KEPT or LEFT_OUT}} of the problems that training rows contain.
    """
    found = {}
    read = [(*read_results(path), path) for path in sorted(folder.glob("*.jsonl"))]
    complete = [(head, lines, path) for head, lines, path in read if head and lines]
    for head, lines, path in sorted(complete, key=lambda entry: entry[0]["place"]):
        results = [ProblemResult.from_dict(line) for line in lines.values()]
        seconds = sum(line["seconds"] for line in lines.values())
        tokens = sum(sum(r.tokens) for r in results)
        figures = benchmark_summary(results, head["k"])
        found[head["benchmark"]] = {
            **figures,
            "pass_at_1_vibethinker": _second_pass_at_1(results, [line.get(SECOND) for line in lines.values()]),
            **{name: head[name] for name in SHOWN},
            "seconds": seconds,
            "tokens_per_second": tokens / seconds if seconds else None,
            "joules": _joules(path),
            "difference": _difference(before, path.name, head, results) if before else None,
            "difference_from_first": _difference(first, path.name, head, results) if first else None,
            "by_training_rows": _by_training_rows(results, flagged.get(head["benchmark"], {})),
            **_vote(head, results, path),
            **_perturbation(head, results, folder),
        }
    return found


def _by_training_rows(results: Sequence[ProblemResult], flagged: Mapping[str, str]) -> Mapping[str, Any]:
    """Pass@1 of the problems that match training rows, by what became of these rows, and of the others; {} without
    any match."""
    if not flagged:
        return {}
    return by_group([r for r in results if r.valid], lambda r: flagged.get(r.question_id, NO_MATCH))


def _vote(head: dict[str, Any], results: Sequence[ProblemResult], path: Path) -> dict[str, Any]:
    """The figures of `evaluation.vote`; {} without a vote, or if its claims are not all checked."""
    rule = head.get("vote", "none")
    votes = read_results(votes_path(path))[1] if rule == "clr" else {}
    if rule == "none" or (rule == "clr" and len(votes) < len(results)):
        return {}
    return {"vote": vote_summary(results, rule, votes)}


def _perturbation(head: dict[str, Any], results: Sequence[ProblemResult], folder: Path) -> dict[str, Any]:
    """The name of the perturbation, its benchmark, and the paired change of Pass@1 that it causes; {} without one."""
    if not head.get("perturbation"):
        return {}
    _, lines = read_results(folder / f"{head['original']}.jsonl")
    change = paired_change([ProblemResult.from_dict(line) for line in lines.values()], results)
    return {"perturbation": head["perturbation"], "original": head["original"], "change": change}


def _second_pass_at_1(results: Sequence[ProblemResult], seconds: Sequence[Any]) -> dict[str, float] | None:
    """Pass@1 by the second grader; None if it does not grade these problems."""
    if not all(seconds):
        return None
    regraded = [replace(r, verdicts=verdicts) for r, verdicts in zip(results, seconds, strict=True)]
    return pass_at_1([r for r in regraded if r.valid])


def results_seconds(path: Path) -> float:
    """The time that the results in `path` and their votes took, over all processes that worked at them."""
    return sum(line["seconds"] for file in (path, votes_path(path)) for line in read_results(file)[1].values())


def _joules(path: Path) -> float | None:
    """The energy of the results in `path` and their votes; None if a part of it is not known."""
    parts = [line.get(JOULES) for file in (path, votes_path(path)) for line in read_results(file)[1].values()]
    known = [joules for joules in parts if joules is not None]
    return fsum(known) if len(known) == len(parts) else None


def _difference(
    before: tuple[str, Path], file: str, head: dict[str, Any], results: Sequence[ProblemResult]
) -> dict[str, Any] | None:
    name, folder = before
    old, lines = read_results(folder / file)
    if old is None:
        return None
    if unlike := unlike_parts(old, head):
        return {"from": name, "not_comparable": unlike}
    change = paired_change([ProblemResult.from_dict(line) for line in lines.values()], results)
    return {"from": name, **change} if change else None


def unlike_parts(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Why two results of one benchmark cannot be compared: "problems, settings"; "" if their fingerprints are equal."""
    if one["fingerprint"] == other["fingerprint"]:
        return ""
    return ", ".join(part for part in one["parts"] if one["parts"][part] != other["parts"].get(part)) or "fingerprint"
