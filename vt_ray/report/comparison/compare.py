"""comparison.json: the comparison of several runs as plain data, from which the page and the tables are made.

    ComparedRuns --group_runs--> groups --two-level bootstrap--> intervals of scores and of differences

Each interval is {mean, low, high, by_seed, num_problems} from `evaluation.statistics`: `mean_over_seeds`, or
`mean_over_nested_seeds` if runs with different seeds have different held-out problems.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any

from vt_ray.evaluation.sampling import Score
from vt_ray.evaluation.statistics import (
    ScoresBySeed,
    SeededInterval,
    difference_over_seeds,
    mean_interval,
    mean_over_nested_seeds,
    mean_over_seeds,
)
from vt_ray.report.comparison.runs import (
    ComparedRun,
    Group,
    Seed,
    baseline,
    differing_keys,
    group_runs,
    refuse_incomparable,
    seed_names,
)
from vt_ray.report.run_page import curves
from vt_ray.run.milestone_names import SFT_CONTINUED

Names = dict[Seed, str]
# Selects a milestone of a run; a Side is one side of a difference.
Milestone = Callable[[ComparedRun], str]
Side = tuple[Sequence[ComparedRun], Milestone]
# [{step, name}]: the first step and the name of each stage.
Stages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class How:
    """How scores are averaged: the names of the seeds, the K of Pass@K, and whether runs with different seeds have
    different held-out problems."""

    names: Names
    ks: Sequence[int]
    nested: bool


def compare(runs: Sequence[ComparedRun], left_out: Sequence[ComparedRun] = ()) -> dict[str, Any]:
    """The whole comparison. Raises ComparisonError if the runs cannot be compared (see `refuse_incomparable`)."""
    refuse_incomparable(runs, left_out)
    groups, names = group_runs(runs), seed_names(runs)
    base, stages = baseline(groups, runs), shared_stages(runs)
    # For runs that were evaluated with different K, the smaller K is used.
    k = min(run.settings["evaluation.k"] for run in runs)
    how = How(names, sorted({1, k}), nested=len({run.held_out for run in runs}) > 1)
    return {
        "k": k,
        "num_problems": len(runs[0].held_out),
        "nested": how.nested,
        "differs_in": differing_keys(runs),
        "baseline": base.label,
        "groups": [_group(group, base, how, stages) for group in groups],
        "runs": [_run(run, group, names, k) for group in groups for run in group.runs],
        "left_out": [{"run": run.name, "last": next(reversed(list(run.scores)), None)} for run in left_out],
        "stages": stages,
    }


def _group(group: Group, base: Group, how: How, stages: Stages) -> dict[str, Any]:
    runs = group.runs
    milestones = dict.fromkeys(name for run in runs for name in run.scores)
    return {
        "label": group.label,
        "lambda": group.lam,
        "settings": dict(group.settings),
        "seeds": [how.names[run.seed] for run in runs],
        "end": runs[0].end,
        **_means(runs, _end, how),
        "gain": {"from": runs[0].start, **_changes((runs, _start), (runs, _end), how)},
        "difference": None if group is base else _differences(group, base, how),
        "milestones": [{"name": name, **_means(runs, _called(name), how)} for name in milestones],
        "reward": reward_curve(runs, stages),
        "cost": _cost(runs),
    }


def _differences(group: Group, base: Group, how: How) -> dict[str, Any] | None:
    """Differences from the baseline at the last milestone, overall and by subdomain; None without a common seed."""
    if not {run.seed for run in group.runs} & {run.seed for run in base.runs}:
        return None
    before, after = (base.runs, _end), (group.runs, _end)
    common = _answered_by_all((*base.runs, *group.runs), how.nested)
    subdomains = sorted({s.subdomain for s in _scored(base.runs[0], base.runs[0].end) if s.question_id in common})
    by_subdomain = {name: _changes(before, after, how, name) for name in subdomains}
    return {**_changes(before, after, how), "by_subdomain": by_subdomain}


def _answered_by_all(runs: Sequence[ComparedRun], nested: bool) -> set[str]:
    """The questions with a score in all of these runs; if nested, in all of these runs with the seed of the first."""
    compared = [run for run in runs if not nested or run.seed == runs[0].seed]
    return set.intersection(*({s.question_id for s in _scored(run, run.end)} for run in compared))


def reward_curve(runs: Sequence[ComparedRun], stages: Stages) -> list[dict[str, float]]:
    """Mean, minimum and maximum over runs of the moving mean of the reward, for each RL step.

    Steps are counted through all stages, and a stage starts at the step in `stages`. If a gate has ended a stage early
    in some runs, the later steps contain only the other runs.
    """
    begins = {stage["name"]: stage["step"] for stage in stages}
    steps: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        for start, name, lines in curves.by_stage(run.record.rl):
            for number, reward in enumerate(curves.smoothed(_rewards(lines)), begins.get(name, start)):
                if reward is not None:
                    steps[number].append(reward)
    return [
        {"step": number, "mean": fmean(found), "low": min(found), "high": max(found)}
        for number, found in sorted(steps.items())
    ]


def _rewards(lines: curves.Lines) -> list[Any]:
    return [line.get("reward_mean") for line in lines]


def _run(run: ComparedRun, group: Group, names: Names, k: int) -> dict[str, Any]:
    scores = _scored(run, run.end)
    return {
        "name": run.name,
        "path": str(run.record.root.resolve()),
        "group": group.label,
        "seed": names[run.seed],
        "pass_at_1": mean_interval([s.pass_at_1 for s in scores], min(s.valid for s in scores)).as_dict(),
        f"pass_at_{k}": mean_interval([s.pass_at(k) for s in scores], 1).as_dict(),
        "fused": run.fused,
        "code": run.record.identity.get("code"),
        "config_hash": run.record.identity.get("config_hash"),
    }


def _cost(runs: Sequence[ComparedRun]) -> dict[str, float]:
    """Mean costs of the group's runs. RL is listed separately, because earlier phases may be shared with other runs."""
    phases = [run.record.summary.get("phases") or {} for run in runs]
    # SFT that continues in place of RL counts as RL.
    rl = [[c for name, c in of_run.items() if name.startswith("rl ") or name == SFT_CONTINUED] for of_run in phases]
    return {
        "wall_seconds": fmean(run.record.summary.get("wall_seconds") or 0.0 for run in runs),
        "rl_seconds": fmean(sum(phase["seconds"] for phase in of_run) for of_run in rl),
        "rl_tokens": fmean(sum(phase["tokens"] for phase in of_run) for of_run in rl),
        "tokens": fmean(sum(phase["tokens"] for phase in of_run.values()) for of_run in phases),
    }


def shared_stages(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """The first step of each stage. A stage has the length of its longest run. Empty if the runs have different
    stages."""
    found = [[(name, len(lines)) for _, name, lines in curves.by_stage(run.record.rl)] for run in runs]
    if len({tuple(name for name, _ in stages) for stages in found}) != 1:
        return []
    begins = accumulate((max(steps for _, steps in same) for same in zip(*found, strict=True)), initial=1)
    return [{"step": step, "name": name} for step, (name, _) in zip(begins, found[0], strict=False)]


def _means(runs: Sequence[ComparedRun], milestone: Milestone, how: How) -> dict[str, Any]:
    mean = mean_over_nested_seeds if how.nested else mean_over_seeds
    return {f"pass_at_{k}": _plain(mean(_scores(runs, milestone, k)), how.names) for k in how.ks}


def _changes(before: Side, after: Side, how: How, subdomain: str | None = None) -> dict[str, Any]:
    """The difference after - before, over all problems or over those of `subdomain`."""
    sides = {k: (_scores(*before, k, subdomain), _scores(*after, k, subdomain)) for k in how.ks}
    found = {k: difference_over_seeds(*sides[k], nested=how.nested) for k in how.ks}
    return {f"pass_at_{k}": _plain(difference, how.names) for k, difference in found.items()}


def _scores(runs: Sequence[ComparedRun], milestone: Milestone, k: int, subdomain: str | None = None) -> ScoresBySeed:
    """{seed: {question id: Pass@k}} at a milestone, for the runs that have reached it."""
    return {
        run.seed: {s.question_id: s.pass_at(k) for s in _scored(run, name) if subdomain in (None, s.subdomain)}
        for run in runs
        if (name := milestone(run)) in run.scores
    }


def _scored(run: ComparedRun, milestone: str) -> list[Score]:
    return [score for score in run.scores[milestone] if score.valid]


def _end(run: ComparedRun) -> str:
    return run.end


def _start(run: ComparedRun) -> str:
    return run.start


def _called(name: str) -> Milestone:
    return lambda run: name


def _plain(found: SeededInterval, names: Names) -> dict[str, Any]:
    by_seed = {names[seed]: mean for seed, mean in found.by_seed.items()}
    return {**found.interval.as_dict(), "by_seed": by_seed, "num_problems": found.num_problems}
