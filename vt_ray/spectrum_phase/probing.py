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

from vt_ray.config import ProbeConfig
from vt_ray.data.prompts import PromptEncoder
from vt_ray.evaluation.sampling import Score, mean, sample_scores, scored
from vt_ray.interfaces import Cluster, Generator, Verifier
from vt_ray.progress import bar
from vt_ray.records import Problem, Sampling
from vt_ray.run.checkpoint import write_json


def run_probe(
    cluster: Cluster,
    base: Path,
    checkpoints: Sequence[Path],
    problems: Sequence[Problem],
    encoder: PromptEncoder,
    probe: ProbeConfig,
    seed: int,
    folder: Path,
) -> None:
    """Probe every checkpoint and write probe.json. Engines stay, only weights change; a checkpoint that an
    interrupted attempt has measured is not measured again."""
    total = len(checkpoints) * len(problems)
    with cluster.generator(base) as generator, cluster.verifier() as verifier, bar("probe", total) as advance:
        for index, checkpoint in enumerate(checkpoints):
            path = folder / f"{checkpoint.name}.json"
            if path.exists():
                advance(f"{checkpoint.name} already measured", len(problems))
                continue
            generator.load_checkpoint(checkpoint, index)
            probe_model(generator, verifier, encoder, problems, probe, seed, path, partial(advance, checkpoint.name, 1))
    measured = {c.name: _read_scores(folder / f"{c.name}.json") for c in checkpoints}
    write_json(folder / "probe.json", probe_table(measured, probe.k))


def probe_model(
    generator: Generator,
    verifier: Verifier,
    encoder: PromptEncoder,
    problems: Sequence[Problem],
    probe: ProbeConfig,
    seed: int,
    path: Path,
    advance: Callable[[], None],
) -> None:
    """Write the scores of the weights that `generator` holds to `path`; `advance` is called after each problem.

    The seeds are the same for every model, so that scores of two of them can be compared in pairs.
    """
    sampling = Sampling(probe.temperature, probe.top_p, 0, probe.max_new_tokens)
    began = time.monotonic()
    scores = []
    for score in sample_scores(generator, verifier, encoder, problems, probe.samples, sampling, (seed, "probe")):
        scores.append(score)
        advance()
    write_json(path, {"seconds": time.monotonic() - began, "scores": [s.as_dict() for s in scores]})


def probe_table(measured: dict[str, list[Score]], k: int) -> dict[str, Any]:
    """Pass@K and Pass@1 of each checkpoint in each subdomain, the specialist of each, and the best by Pass@1.

    Equal Pass@K is settled by Pass@1, then by the later checkpoint.
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
    """The index of the greatest; of equal ones the last."""
    return max(range(len(scores)), key=lambda i: (*scores[i], i))


def _read_scores(path: Path) -> list[Score]:
    return scored(Score(**score) for score in json.loads(path.read_text())["scores"])
