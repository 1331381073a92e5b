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
    for question_id in samples.evenly(shown, max(1, samples.SEARCH_ROLLOUTS // num_files)):
        result = ProblemResult.from_dict(results[question_id])
        entry = {
            "stage": file.parent.name,
            "step": header["benchmark"],
            "question_id": question_id,
            "subdomain": result.subdomain,
            "p_c": result.pass_at(1) if result.valid else None,
            "question": _short(traces[question_id]["question"]),
            **_sample(result, traces[question_id]["texts"]),
        }
        left -= len(entry["question"]) + len(entry["text"])
        if left < 0:
            return
        yield entry


def _sample(result: ProblemResult, texts: Sequence[str]) -> dict[str, Any]:
    """The first sample whose text was kept."""
    answer = result.answers[0] if result.answers else None
    return {
        "text": _short(texts[0]),
        "verdict": result.verdicts[0],
        "reason": "" if answer is None else f"answer {answer[:80]}",
        "finish_reason": "length" if result.truncated[0] else "stop",
        "tokens": result.tokens[0],
    }


def _short(text: str) -> str:
    return samples.shortened(text, samples.SEARCH_HEAD, samples.SEARCH_TAIL)
