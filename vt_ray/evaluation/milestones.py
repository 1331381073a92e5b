"""Accuracy on the test problems at every milestone (section 4): base, last and best SFT, fused, after each stage.

held-out problems --> <milestone>.json          benchmarks --> <milestone>/<benchmark>.jsonl
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.config import digest
from vt_ray.evaluation.benchmark_figures import benchmark_figures, results_seconds
from vt_ray.evaluation.results_file import ResultsFile
from vt_ray.evaluation.sampling import Score, mean, sample_scores, scored
from vt_ray.evaluation.statistics import mean_interval, paired_difference
from vt_ray.progress import bar
from vt_ray.records import Sampling
from vt_ray.run.checkpoint import read_json, write_json
from vt_ray.run.inputs import problems_digest
from vt_ray.verify.kinds import KINDS, kind_entry

# For annotations only: a report reads scores without loading torch.
if TYPE_CHECKING:
    from vt_ray.experiment import Experiment
    from vt_ray.interfaces import Generator, Verifier


def evaluate(e: Experiment, milestone: str, generator: Generator, verifier: Verifier, folder: Path) -> None:
    """Write the scores of the weights that `generator` holds to `folder`/<milestone>.json.

    They are the scores of the held-out problems, or of the benchmarks' problems if the run has only these. The results
    of each benchmark are in `folder`/<milestone>/<benchmark>.jsonl. Does nothing if the scores exist; a killed
    evaluation continues after the last problem that it wrote.
    """
    # Here, because a report imports this module and needs no tokenizer.
    from vt_ray.evaluation.benchmarks import evaluate_benchmark

    path = folder / f"{milestone}.json"
    if path.exists():
        return
    scores, seconds = held_out_scores(e, milestone, generator, verifier, folder)
    for loaded in e.problems.benchmarks:
        results = folder / milestone / f"{loaded.name}.jsonl"
        of_benchmark = evaluate_benchmark(e, loaded, generator, verifier, results)
        if not (e.problems.test or loaded.benchmark.perturbation):
            scores += of_benchmark
        seconds += results_seconds(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    scores.sort(key=lambda s: s.question_id)
    write_json(path, {"name": milestone, "seconds": seconds, "scores": [s.as_dict() for s in scores]})
    _partial(folder, milestone).unlink(missing_ok=True)


def copy_scores(folder: Path, measured: str, milestone: str) -> None:
    """Write the scores of the milestone `measured` as those of `milestone`, which is the same model.

    The seeds are the same at every milestone, so another evaluation would give the same samples. The copy cost no time.
    """
    if (folder / measured).is_dir():
        shutil.copytree(folder / measured, folder / milestone, dirs_exist_ok=True)
    record = read_json(folder / f"{measured}.json")
    write_json(folder / f"{milestone}.json", {**record, "name": milestone, "seconds": 0.0, "same_model_as": measured})


def held_out_scores(
    e: Experiment, milestone: str, generator: Generator, verifier: Verifier, folder: Path
) -> tuple[list[Score], float]:
    """The scores of the held-out problems, and the seconds that they took."""
    problems, evaluation = e.problems.test, e.config.evaluation
    if not problems:
        return [], 0.0
    own = {"fingerprint": digest([asdict(evaluation), problems_digest(problems)])}
    with (
        ResultsFile(_partial(folder, milestone), own) as file,
        bar(f"evaluate {milestone}", len(problems), len(file.results)) as advance,
    ):
        scores = [_score(line) for line in file.results.values()]
        for settings in dict.fromkeys(kind.evaluation for kind in KINDS.values()):
            asked = [p for p in problems if kind_entry(p.kind).evaluation == settings]
            left = [p for p in asked if p.question_id not in file.results]
            samples, temperature = (getattr(evaluation, name) for name in settings)
            sampling = Sampling(temperature, evaluation.top_p, 0, evaluation.max_new_tokens, logprobs=False)
            # The same seeds at every milestone: paired differences have less noise.
            key = (e.config.seed, "evaluate")
            for score in sample_scores(generator, verifier, e.encoder, left, samples, sampling, key):
                file.add(score.as_dict())
                scores.append(score)
                advance(f"Pass@1 {mean(s.pass_at_1 for s in scores if s.valid):.1%}", 1)
        return scores, file.seconds


def _partial(folder: Path, milestone: str) -> Path:
    return folder / f"{milestone}.partial.jsonl"


def _score(line: dict[str, Any]) -> Score:
    return Score(**{name: value for name, value in line.items() if name != "seconds"})


def milestone_summaries(
    paths: Sequence[Path], k: int, flagged: Mapping[str, Mapping[str, str]] | None = None
) -> list[dict[str, Any]]:
    """The milestones of summary.json, in the order of `paths`, the score files. `flagged` are the problems of
    benchmarks that training rows contain, see `data.decontamination.flagged`.

    Each has its intervals, overall and by subdomain, the paired difference from the previous milestone, and the figures
    of the benchmarks if the run has some.
    """
    out: list[dict[str, Any]] = []
    before: dict[str, float] | None = None
    folders: list[tuple[str, Path]] = []
    for path in paths:
        record = json.loads(path.read_text())
        every = [Score(**score) for score in record["scores"]]
        scores = scored(every)
        now = {s.question_id: s.pass_at_1 for s in scores}
        summary = {"name": record["name"], **_passes(scores, k)}
        summary["by_subdomain"] = {
            subdomain: _passes([s for s in scores if s.subdomain == subdomain], k)
            for subdomain in sorted({s.subdomain for s in scores})
        }
        summary["difference"] = _difference(out[-1]["name"], before, now) if before else None
        summary |= {
            "num_problems": len(scores),
            "without_verdict": len(every) - len(scores),
            "samples": sum(s.samples for s in every),
            "truncated_share": sum(s.truncated for s in every) / sum(s.samples for s in every),
            "unverified": sum(s.samples - s.valid for s in every),
        }
        last, first = (folders[-1], folders[0]) if folders else (None, None)
        if benchmarks := benchmark_figures(path.with_suffix(""), last, flagged or {}, first):
            summary["benchmarks"] = benchmarks
        out.append(summary)
        before = now
        folders.append((record["name"], path.with_suffix("")))
    return out


def gain_over_best(starts: Sequence[Path], end: Path) -> dict[str, Any] | None:
    """Pass@1 at `end` minus Pass@1 of the best of `starts`, paired by question: overall and by subdomain.

    The best start is chosen by the same scores that it is compared on, so the luck of the choice counts against the
    gain. Returns None if no question has a verdict at both.
    """
    best = max(starts, key=lambda path: mean(s.pass_at_1 for s in _read(path)))
    before, after = ({s.question_id: s for s in _read(path)} for path in (best, end))

    def gain(subdomain: str | None) -> dict[str, Any] | None:
        scores = [
            {q: s.pass_at_1 for q, s in side.items() if subdomain in (None, s.subdomain)} for side in (before, after)
        ]
        return _difference(best.stem, *scores)

    whole = gain(None)
    parts = {d: gain(d) for d in sorted({s.subdomain for s in after.values()})}
    return {**whole, "to": end.stem, "by_subdomain": parts} if whole else None


def _read(path: Path) -> list[Score]:
    return scored([Score(**score) for score in json.loads(path.read_text())["scores"]])


def _passes(scores: list[Score], k: int) -> dict[str, Any]:
    samples = min(s.valid for s in scores)
    return {
        "pass_at_1": mean_interval([s.pass_at_1 for s in scores], samples).as_dict(),
        f"pass_at_{k}": mean_interval([s.pass_at(k) for s in scores], 1).as_dict(),
    }


def _difference(name: str, before: dict[str, float], now: dict[str, float]) -> dict[str, Any] | None:
    """The paired difference over the questions that have a verdict at both milestones."""
    shared = before.keys() & now.keys()
    if not shared:
        return None
    paired = paired_difference({q: before[q] for q in shared}, {q: now[q] for q in shared})
    return {"from": name, **paired.as_dict()}
