"""Domain-aware diversity probing: M*_i = argmax over checkpoints t of Pass@K(M_t, D_i) (arXiv 2511.06221, section 3.3).

checkpoint --> generators --> n samples a problem --> <checkpoint>.json --probe_table--> one specialist a subdomain
                   ^                                    ^    |
                   |       other probings with the same ┘    |
                   └──── racing: next part of the problems, without checkpoints that cannot win
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from vt_ray.config import ProbeConfig
from vt_ray.evaluation.sampling import graded
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Generator, Verifier
from vt_ray.progress import bar
from vt_ray.records import Problem, Sampling
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import ProbePaths, SftPaths
from vt_ray.spectrum_phase.groups import grouped
from vt_ray.spectrum_phase.probe_scores import CRITERIA, ProbeScore, pass_at, probe_score, read_scores
from vt_ray.spectrum_phase.probe_table import probe_table
from vt_ray.spectrum_phase.racing import Race

# Settings that change neither the samples nor their scores, only the choice among checkpoints.
CHOICE = tuple(f"spectrum.probe.{name}" for name in ("k", "ks", "criterion", "racing", "groups"))


def run_probe(e: Experiment, checkpoints: Sequence[Path], folder: Path, others: Sequence[Path] = ()) -> None:
    """Measure every checkpoint on the probing sets and write `folder`/probe.json.

    The engines stay open and only load other weights. Without racing there is one round with all problems. Scores that
    an interrupted attempt has written are not measured again, and the race repeats its decisions from them. Scores are
    also taken from `others`: folders of probings of the same checkpoints that differ in settings of CHOICE only.
    """
    paths, probe = ProbePaths(folder), e.config.spectrum.probe
    problems = grouped(e.problems.probe, probe.groups)
    race = Race(_ids(problems), [c.name for c in checkpoints], probe.racing, e.config.seed)
    with ExitStack() as engines, bar("probe", len(checkpoints) * len(problems)) as advance:

        @cache
        def started() -> tuple[Generator, Verifier]:
            """The engines, which are started at the first problem without a score."""
            return engines.enter_context(e.cluster.generator(e.base)), engines.enter_context(e.cluster.verifier())

        for ids in race.rounds():
            of_round = [p for p in problems if p.question_id in ids]
            for index, checkpoint in enumerate(checkpoints):
                path = paths.scores(checkpoint.name)
                asked = [p for p in of_round if checkpoint.name in race.active[p.subdomain]]
                for other in others:
                    take_scores(path, asked, ProbePaths(other).scores(checkpoint.name))
                left = _unanswered(path, asked)
                if done := len(of_round) - len(left):
                    advance(f"{checkpoint.name} needs no samples", done)
                if left:
                    generator, verifier = started()
                    generator.load_checkpoint(checkpoint, index)
                    probe_model(e, generator, verifier, path, partial(advance, checkpoint.name, 1), left)
            race.stop_losers({c.name: _values(paths.scores(c.name), probe) for c in checkpoints})
    measured = {c.name: read_scores(paths.scores(c.name)) for c in checkpoints}
    losses = _heldout_losses(SftPaths(checkpoints[0].parent.parent)) if "sft" in e.config.phases else {}
    write_json(paths.table, probe_table(measured, probe, losses, race.stopped))


def take_scores(path: Path, problems: Sequence[Problem], other: Path) -> None:
    """Add the scores of `problems` that `path` lacks and `other` has. Their seconds are a share of those of `other`."""
    subdomains = {p.question_id: p.subdomain for p in _unanswered(path, problems)}
    known = read_scores(other) if subdomains else []
    taken = [replace(s, subdomain=subdomains[s.question_id]) for s in known if s.question_id in subdomains]
    if taken:
        _write(path, [*read_scores(path), *taken], _seconds(path) + _seconds(other) * len(taken) / len(known))


def probe_model(
    e: Experiment,
    generator: Generator,
    verifier: Verifier,
    path: Path,
    advance: Callable[[], None],
    problems: Sequence[Problem] | None = None,
) -> None:
    """Add the scores of the weights that `generator` holds to `path`. `advance` is called after each problem.

    `problems` have their group as subdomain; None takes all probing problems. All models are sampled with the same
    seeds, so their scores can be compared in pairs.
    """
    probe, key = e.config.spectrum.probe, (e.config.seed, "probe")
    sampling = Sampling(probe.temperature, probe.top_p, 0, probe.max_new_tokens, logprobs=False)
    asked = grouped(e.problems.probe, probe.groups) if problems is None else problems
    start = time.monotonic()
    scores, seconds = read_scores(path), _seconds(path)
    for group in graded(generator, verifier, e.encoder.prompts(asked, probe.samples, key), sampling):
        scores.append(probe_score(group, verifier.rollouts(group)))
        advance()
    _write(path, scores, seconds + time.monotonic() - start)


def _heldout_losses(sft: SftPaths) -> dict[str, float]:
    """{checkpoint: SFT loss on held-out examples, in nats per token}; {} if SFT has not measured it."""
    return json.loads(sft.heldout.read_text())["heldout_loss"] if sft.heldout.exists() else {}


def _ids(problems: Sequence[Problem]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in problems:
        found.setdefault(problem.subdomain, []).append(problem.question_id)
    return found


def _values(path: Path, probe: ProbeConfig) -> dict[str, float | None]:
    """The criterion's figure of each problem; None for a problem without any verdict."""
    figure = CRITERIA.get(probe.criterion, pass_at)
    return {s.question_id: figure(s, probe.k) if s.valid else None for s in read_scores(path)}


def _unanswered(path: Path, problems: Sequence[Problem]) -> list[Problem]:
    known = {s.question_id for s in read_scores(path)}
    return [p for p in problems if p.question_id not in known]


def _write(path: Path, scores: Sequence[ProbeScore], seconds: float) -> None:
    write_json(path, {"seconds": seconds, "scores": [s.as_dict() for s in scores]})


def _seconds(path: Path) -> float:
    return json.loads(path.read_text())["seconds"] if path.exists() else 0.0
