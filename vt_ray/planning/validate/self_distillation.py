"""Checks of the phases rejection and self_distil."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from vt_ray.config import Config
from vt_ray.data.roles import sources_for
from vt_ray.planning.validate.rules import Problems, at_least, optimizer, sampling
from vt_ray.run.milestone_names import SELF_DISTIL, before_self_distil, given_folders, named_models


def self_distillation(c: Config) -> Problems:
    if "rejection" in c.phases:
        yield from _rejection(c)
    if SELF_DISTIL in c.phases:
        yield from _self_distil(c)
    known = before_self_distil(asdict(c))
    for _, folder in given_folders(asdict(c)):
        if not (Path(folder) / "config.json").is_file():
            yield (
                f"{folder!r} is neither a milestone of the run ({', '.join(known)}) nor a Hugging Face folder: correct "
                "rejection.models or self_distil.student"
            )


def _rejection(c: Config) -> Problems:
    r = c.rejection
    yield from at_least("rejection.problems", r.problems, 0)
    for name in ("samples", "ngram"):
        yield from at_least(f"rejection.{name}", getattr(r, name), 1)
    yield from sampling("rejection", r.temperature, r.top_p, r.max_new_tokens)
    if not 0 <= r.max_repeated <= 1:
        yield f"rejection.max_repeated={r.max_repeated} must lie in [0, 1]: 1 keeps every completion"
    names = [name for name, _ in named_models(r.models)]
    for name in sorted({name for name in names if names.count(name) > 1 or not name}):
        yield f"rejection.models: the name {name!r} must be unique, because it names the model: give NAME=FOLDER"
    if not r.models and c.model.source == "scratch" and before_self_distil(asdict(c)) == ["base"]:
        yield f"phases={c.phases}: rejection would sample random weights: give rejection.models=[...] or add sft"


def _self_distil(c: Config) -> Problems:
    s = c.self_distil
    if "rejection" not in c.phases and not (c.data.trace_files or sources_for(c.data, "sft")):
        yield f"phases={c.phases}: self_distil has no traces: add rejection before it, or give data.trace_files"
    if not s.student and c.model.source == "scratch" and before_self_distil(asdict(c)) == ["base"]:
        yield f"phases={c.phases}: self_distil would train random weights: give self_distil.student=... or add sft"
    if not 0 <= s.drop_shortest < 1:
        yield f"self_distil.drop_shortest={s.drop_shortest} must lie in [0, 1): 0.05 leaves out the shortest 5%"
    if not 0 <= s.nll_low < s.nll_high <= 1:
        yield (
            f"self_distil.nll_low={s.nll_low} must be below nll_high={s.nll_high}, both in [0, 1]: 0 and 1 keep all "
            "traces of a bucket"
        )
    for name in ("length_buckets", "batch_size", "checkpoint_every"):
        yield from at_least(f"self_distil.{name}", getattr(s, name), 1)
    if not 0 < s.epochs < float("inf"):
        yield f"self_distil.epochs={s.epochs} must be above 0: 1 is one pass over the kept traces"
    yield from optimizer("self_distil.optimizer", s.optimizer)
