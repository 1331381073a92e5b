"""Domain-aware diversity probing: M*_i = argmax over checkpoints t of Pass@K(M_t, D_i) (arXiv 2511.06221, section 3.3).

checkpoint --> generators --> K samples a problem --> Pass@K by subdomain --> one specialist a subdomain
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vt_ray.evaluation.sampling import Score, mean, sample_scores, scored
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar
from vt_ray.records import Sampling
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import ProbePaths


def run_probe(e: Experiment, checkpoints: Sequence[Path], folder: Path) -> None:
    """Measure every checkpoint on the probing sets and write `folder`/probe.json.

    The engines stay open and only load other weights. Checkpoints that an interrupted attempt has measured are skipped.
    """
    paths, problems = ProbePaths(folder), len(e.problems.probe)
    with (
        e.cluster.generator(e.base) as generator,
        e.cluster.verifier() as verifier,
        bar("probe", len(checkpoints) * problems) as advance,
    ):
        for index, checkpoint in enumerate(checkpoints):
            path = paths.scores(checkpoint.name)
            if path.exists():
                advance(f"{checkpoint.name} already measured", problems)
                continue
            generator.load_checkpoint(checkpoint, index)
            probe_model(e, generator, verifier, path, partial(advance, checkpoint.name, 1))
    measured = {c.name: _read_scores(paths.scores(c.name)) for c in checkpoints}
    write_json(paths.table, probe_table(measured, e.config.spectrum.probe.k))


def probe_fused(e: Experiment, generator: Generator, verifier: Verifier, path: Path) -> None:
    """Measure the fused model, which `generator` holds, on the problems of the specialists, unless `path` exists."""
    if path.exists():
        return
    with bar("probe fused", len(e.problems.probe)) as advance:
        probe_model(e, generator, verifier, path, partial(advance, "", 1))


def probe_model(
    e: Experiment, generator: Generator, verifier: Verifier, path: Path, advance: Callable[[], None]
) -> None:
    """Write the scores of the weights that `generator` holds to `path`. `advance` is called after each problem.

    All models are sampled with the same seeds, so their scores can be compared in pairs.
    """
    probe, key = e.config.spectrum.probe, (e.config.seed, "probe")
    sampling = Sampling(probe.temperature, probe.top_p, 0, probe.max_new_tokens)
    start = time.monotonic()
    scores = []
    for score in sample_scores(generator, verifier, e.encoder, e.problems.probe, probe.samples, sampling, key):
        scores.append(score)
        advance()
    write_json(path, {"seconds": time.monotonic() - start, "scores": [s.as_dict() for s in scores]})


def probe_table(measured: dict[str, list[Score]], k: int) -> dict[str, Any]:
    """Pass@K and Pass@1 of each checkpoint by subdomain, the specialist of each subdomain, and the best by Pass@1.

    Between checkpoints of equal Pass@K, the higher Pass@1 decides, then the later checkpoint.
    """
    names = list(measured)
    subdomains = sorted({s.subdomain for scores in measured.values() for s in scores})
    at_k = {d: [mean(s.pass_at(k) for s in measured[n] if s.subdomain == d) for n in names] for d in subdomains}
    at_1 = {d: [mean(s.pass_at_1 for s in measured[n] if s.subdomain == d) for n in names] for d in subdomains}
    specialists = {d: names[_argmax(list(zip(at_k[d], at_1[d], strict=True)))] for d in subdomains}
    overall = [mean(at_1[d][i] for d in subdomains) for i in range(len(names))]
    best = names[_argmax([(score,) for score in overall])]
    return {
        "k": k,
        "checkpoints": names,
        "pass_at_k": at_k,
        "pass_at_1": at_1,
        "specialists": specialists,
        "best_pass_at_1": best,
    }


def _argmax(scores: Sequence[tuple[float, ...]]) -> int:
    """The index of the maximum, the last one if several are equal."""
    return max(range(len(scores)), key=lambda i: (*scores[i], i))


def _read_scores(path: Path) -> list[Score]:
    return scored(Score(**score) for score in json.loads(path.read_text())["scores"])
