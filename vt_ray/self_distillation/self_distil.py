"""Self-distillation: SFT of a student on the traces that it does not yet model well (arXiv 2606.16140).

traces --encoder--> examples/ --student--> nll/part_000000.json ... --select--> selection.json --SFT--> checkpoints/
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from math import nan
from pathlib import Path

import numpy as np

from vt_ray.algorithms.learning_rate import with_steps
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import ConfigError, DataSource, SelfDistilConfig, SftConfig
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.source_report import SourceReport
from vt_ray.data.traces.files import TraceCounts, TraceFiles, subdomains_of_traces
from vt_ray.data.traces.trace import TRACE_STYLE
from vt_ray.experiment import Experiment
from vt_ray.progress import bar, console
from vt_ray.run.checkpoint import exists, read_json, write_json
from vt_ray.run.paths import SelfDistilPaths
from vt_ray.self_distillation.selection import KEPT, REASONS, MeasuredTrace, counts_by_subdomain, select
from vt_ray.spectrum_phase.examples import encoded_examples
from vt_ray.spectrum_phase.sft import run_sft

# Traces in one part file. A killed phase loses the work on at most one part.
CHUNK = 512
# No trace is left out when it is encoded: `select` leaves out those over the context, and counts them.
NO_LIMIT = 2**31 - 1


def run_self_distil(e: Experiment, student: Path, problems: ProblemSets, folder: Path) -> None:
    """Train `student` on chosen traces of `problems`. An interrupted attempt in `folder` continues.

    Raises ConfigError if no trace is kept.
    """
    paths, settings = SelfDistilPaths(folder), e.config.self_distil
    sft = _sft_settings(settings)
    examples = encoded_examples(e.encoder, problems, sft, paths.sft.examples)
    files = problems.traces
    subdomains = [d for source in files.sources for d in subdomains_of_traces(source, files.contaminated)]
    nll = measured_nll(e, student, examples, paths)
    traces = [
        MeasuredTrace(d, len(s.completion_ids), value, len(s) <= e.config.context_tokens)
        for d, s, value in zip(subdomains, examples, nll, strict=True)
    ]
    fates, buckets = select(traces, settings)
    kept = np.array([fate == KEPT for fate in fates], bool)
    counts = counts_by_subdomain(traces, fates)
    write_json(paths.selection, {"traces": len(traces), "kept": int(kept.sum()), "counts": counts, "buckets": buckets})
    shown = ", ".join(f"{fates.count(reason):,} {reason}" for reason in REASONS if reason in fates)
    console.print(f"self_distil: {len(traces):,} traces ({shown})", highlight=False)
    if not kept.any():
        raise ConfigError(
            f"self_distil: none of {len(traces):,} traces is kept ({shown}): lower self_distil.nll_low and "
            "self_distil.length_buckets, or give more traces"
        )
    chosen = examples.where(kept)
    run_sft(e.cluster, student, chosen, with_steps(sft, len(chosen)), e.config.seed, folder, section="self_distil")


def traces_as_problems(file: Path) -> ProblemSets:
    """The traces file of the phase rejection as the only source of SFT."""
    source = DataSource(str(file), use=["sft"])
    with file.open("rb") as lines:
        counts = TraceCounts(source.path, traces=sum(1 for _ in lines))
    return ProblemSets([], [], [], TraceFiles((source,), (counts,)), sources=[SourceReport(source, {}, 0)])


def traces_alone(problems: ProblemSets) -> ProblemSets:
    """The traces of `data.trace_files` without the worked solutions of problems."""
    return replace(problems, train=[], sft_only=[])


def measured_nll(
    e: Experiment, student: Path, examples: Sequence[TrainSequence], paths: SelfDistilPaths
) -> list[float]:
    """The NLL of each example under `student`, in nats per completion token. Parts of an earlier attempt are read.

    NaN for an example over the context, which the learner's memory may not hold.
    """
    paths.nll.mkdir(exist_ok=True)
    starts = range(0, len(examples), CHUNK)
    if not all(exists(paths.nll_part(start)) for start in starts):
        with (
            e.cluster.learner(student, e.config.self_distil.optimizer, 1) as learner,
            bar("NLL", len(examples)) as advance,
        ):
            for start in starts:
                part, begin = examples[start : start + CHUNK], time.monotonic()
                if not exists(paths.nll_part(start)):
                    fits = [len(s) <= e.config.context_tokens for s in part]
                    fitting = [*compress(part, fits)]
                    found = iter(learner.completion_nll(fitting))
                    values = [next(found) if fit else nan for fit in fits]
                    tokens = sum(map(len, fitting))
                    record = {"seconds": time.monotonic() - begin, "tokens": tokens, "nll": values}
                    write_json(paths.nll_part(start), record)
                advance("", len(part))
    return [value for start in starts for value in read_json(paths.nll_part(start))["nll"]]


def _sft_settings(settings: SelfDistilConfig) -> SftConfig:
    return SftConfig(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        checkpoint_every=settings.checkpoint_every,
        max_tokens=NO_LIMIT,
        styles=[TRACE_STYLE],
        optimizer=settings.optimizer,
    )
