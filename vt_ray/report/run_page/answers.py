"""Answers to benchmarks for the search of the report: what the models of a run wrote, with the verdicts.

evaluation/<milestone>/<benchmark>.jsonl, traces/ beside it --benchmark_answers--> entries as of `samples.search_sample`

Texts that must not be shown (GPQA) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vt_ray.evaluation.results import ProblemResult
from vt_ray.evaluation.results_file import read_results, traces_path
from vt_ray.report.run_page import samples
from vt_ray.run.paths import RunPaths


def benchmark_answers(root: Path, milestones: Sequence[str]) -> list[dict[str, Any]]:
    """Up to SEARCH_ROLLOUTS answers with up to SEARCH_CHARACTERS of text, evenly over milestones, benchmarks and
    problems."""
    folders = [RunPaths(root).evaluation / name for name in milestones]
    files = [file for folder in folders for file in sorted(folder.glob("*.jsonl")) if traces_path(file).exists()]
    return [entry for file in files for entry in _entries(file, len(files))]


def _entries(file: Path, num_files: int) -> Iterator[dict[str, Any]]:
    header, results = read_results(file)
    if header is None:
        return
    traces = {q: line for q, line in read_results(traces_path(file))[1].items() if line.get("question")}
    shown = [question_id for question_id in results if question_id in traces]
    left = samples.SEARCH_CHARACTERS // num_files
    for question_id in samples.evenly(shown, max(1, samples.SEARCH_ROLLOUTS // 2 // num_files)):
        result, line = ProblemResult.from_dict(results[question_id]), traces[question_id]
        question = _short(line["question"])
        for place in _places(result, len(line["texts"])):
            sample = _sample(result, place, line["texts"][place])
            left -= len(question) + len(sample["text"])
            if left < 0:
                return
            yield {
                "stage": file.parent.name,
                "step": header["benchmark"],
                "question_id": question_id,
                "subdomain": result.subdomain,
                "p_c": result.pass_at(1) if result.valid else None,
                "question": question,
                **sample,
            }


def _places(result: ProblemResult, kept: int) -> list[int]:
    """The first correct sample and the first other one, of the samples whose texts were kept."""
    first: dict[bool, int] = {}
    for place, verdict in enumerate(result.verdicts[:kept]):
        first.setdefault(verdict == "correct", place)
    return sorted(first.values())


def _sample(result: ProblemResult, place: int, text: str) -> dict[str, Any]:
    answer = result.answers[place] if result.answers else None
    return {
        "text": _short(text),
        "verdict": result.verdicts[place],
        "reason": "" if answer is None else f"answer {answer[:80]}",
        "finish_reason": "length" if result.truncated[place] else "stop",
        "tokens": result.tokens[place],
    }


def _short(text: str) -> str:
    return samples.shortened(text, samples.SEARCH_HEAD, samples.SEARCH_TAIL)
