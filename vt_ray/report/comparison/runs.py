"""Reads the runs of a comparison and groups runs that differ only in their seeds.

    folders --read_runs--> finished ComparedRuns --group_runs--> [Group]

Runs of different groups are paired by their seeds (`seed`, `signal.seed`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vt_ray.config import Config, StageConfig
from vt_ray.evaluation.benchmark_figures import unlike_parts
from vt_ray.evaluation.sampling import Score
from vt_ray.report.run_record import RunRecord, read_run
from vt_ray.run.identity import rename_importance
from vt_ray.run.milestone_names import BEFORE_RL, SPECTRUM_STAGES, before_rl, planned
from vt_ray.run.paths import DONE, RunPaths

CONTROL = "signal.control"
CONTROLS = {"": "MGPO", "shuffled_rewards": "shuffled rewards", "sft": "SFT continued"}
CONTROL_KEYS = {CONTROL, f"{CONTROL}_sft_steps", f"{CONTROL}_sft_like"}
LAMBDA, WEIGHT = "signal.mgpo.lam", "signal.mgpo.weight"
# Settings in which runs of one group may differ: name, path, seeds and prices.
OF_ONE_RUN = ("run_name", "runs_dir", "dry_run", "seed", "signal.seed", "cluster.currency")
# If groups differ in more keys than this, the label of a group is the name of its first run.
LABEL_KEYS = 3

Seed = tuple[int, int]


class ComparisonError(ValueError):
    """These runs cannot be compared. The message has the names of the runs and the remedy."""


@dataclass(frozen=True)
class ComparedRun:
    """One finished run. `name` is its path relative to the common folder of all runs; `scores` are by milestone."""

    name: str
    record: RunRecord
    config: Mapping[str, Any]
    scores: Mapping[str, Sequence[Score]]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The config by dotted key, without OF_ONE_RUN. Keys that an older run lacks have their default."""
        defaults = asdict(Config())
        stages = self.config.get("curriculum", {}).get("stages") or []
        defaults["curriculum"]["stages"] = [asdict(StageConfig()) for _ in stages]
        flat = flattened(defaults) | flattened(self.config)
        return {key: value for key, value in flat.items() if key not in self._of_one_run and "price" not in key}

    @property
    def _of_one_run(self) -> tuple[str, ...]:
        """The steps of SFT that takes the time of an RL run differ from seed to seed."""
        timed = self.config.get("signal", {}).get("control_sft_like")
        return (*OF_ONE_RUN, f"{CONTROL}_sft_steps", f"{CONTROL}_sft_like") if timed else OF_ONE_RUN

    @property
    def seed(self) -> Seed:
        return int(self.config.get("seed", 0)), int(self.config.get("signal", {}).get("seed", 0))

    @property
    def end(self) -> str:
        return list(self.scores)[-1]

    @property
    def start(self) -> str:
        """The milestone that RL starts from: the last one before RL, normally `fused`. In a run without RL, it is the
        one before the last: the gain is that of the last phase, normally of fusion."""
        before = [name for name in BEFORE_RL if name in self.scores]
        return before[-2] if before[-1] == self.end and len(before) > 1 else before[-1]

    @property
    def finished(self) -> bool:
        """Whether the run has a summary and the scores of the start of RL and of its last milestone."""
        ends = {before_rl(self.config)[-1], planned(self.config)[-1]}
        return bool(self.record.summary) and set(self.scores) >= ends

    @property
    def fused(self) -> str | None:
        """The id of the phase that made the start of RL, normally of the fused model."""
        paths = RunPaths(self.record.root)
        folders = {s.milestones[phase]: folder for s in SPECTRUM_STAGES for phase, folder in s.folders.items()}
        done = paths.root / ({"base": "base"} | folders).get(before_rl(self.config)[-1], "fused") / DONE
        return json.loads(done.read_text())["id"] if done.is_file() else None

    @property
    def held_out(self) -> frozenset[str]:
        return frozenset(score.question_id for score in self.scores[self.end])

    @property
    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """The figures of the benchmarks, if the compared scores are theirs; empty if the run has other problems."""
        last: Mapping[str, Any] = next((m for m in self.record.summary["milestones"] if m["name"] == self.end), {})
        found = last.get("benchmarks") or {}
        return found if {score.subdomain for score in self.scores[self.end]} <= found.keys() else {}

    @property
    def test_files(self) -> list[str]:
        """The hashes of data.test_files when the run started."""
        data = self.config.get("data", {})
        tested = [source for source in data.get("sources") or [] if "test" in source.get("use", [])]
        files = [*(data.get("test_files") or []), *tested]
        known = self.record.identity.get("inputs") or {}
        return [str(known.get(file["path"], file["path"])) for file in files]


@dataclass(frozen=True)
class Group:
    """Runs whose configs differ only in their seeds. `settings` has the keys in which the groups differ."""

    label: str
    settings: Mapping[str, Any]
    runs: Sequence[ComparedRun]

    @property
    def lam(self) -> float | None:
        """Lambda, if the groups differ only in lambda; else None."""
        return self.settings[LAMBDA] if list(self.settings) == [LAMBDA] else None

    @property
    def is_grpo(self) -> bool:
        """Whether the group is GRPO in a sweep over lambda or over the weight alone."""
        return self.lam == 0 or self.settings == {WEIGHT: "none"}


def read_runs(roots: Iterable[Path]) -> tuple[list[ComparedRun], list[ComparedRun]]:
    """(finished runs, unfinished runs), both in the given order."""
    roots = list(roots)
    common = Path(os.path.commonpath([root.resolve().parent for root in roots]))
    runs = [_read(root, str(root.resolve().relative_to(common))) for root in roots]
    return [run for run in runs if run.finished], [run for run in runs if not run.finished]


def refuse_incomparable(runs: Sequence[ComparedRun], unfinished: Sequence[ComparedRun] = ()) -> None:
    """Raises ComparisonError for fewer than two runs, different held-out problems or fingerprints of a benchmark, equal
    config and seeds."""
    if len(runs) < 2:
        names = ", ".join(run.name for run in unfinished) or "none"
        raise ComparisonError(
            f"a comparison needs 2 finished runs, there is {len(runs)} (unfinished: {names}): finish or add runs"
        )
    for run in runs[1:]:
        # Runs are paired within a seed, so that only runs of one seed need the same problems.
        first = next(other for other in runs if other.seed[0] == run.seed[0])
        if run.held_out != first.held_out:
            raise ComparisonError(
                f"{first.name} and {run.name} were evaluated on different held-out problems (they share "
                f"{len(first.held_out & run.held_out)} of {len(first.held_out)} and {len(run.held_out)}): compare "
                "runs that have the same problems wherever they have the same seed"
            )
        _refuse_other_fingerprints(first, run)
        if run.test_files != first.test_files:
            raise ComparisonError(
                f"{first.name} and {run.name} were evaluated on different contents of data.test_files: compare runs "
                "with the same files"
            )
    for group in group_runs(runs):
        for one, two in zip(group.runs, group.runs[1:], strict=False):
            if one.seed == two.seed:
                raise ComparisonError(
                    f"{one.name} and {two.name} have the same config and the same seeds (seed={one.seed[0]}, "
                    f"signal.seed={one.seed[1]}): pass only one of them"
                )


def _refuse_other_fingerprints(first: ComparedRun, run: ComparedRun) -> None:
    for name in first.benchmarks.keys() & run.benchmarks.keys():
        if unlike := unlike_parts(first.benchmarks[name], run.benchmarks[name]):
            raise ComparisonError(
                f"{first.name} and {run.name} were evaluated on {name} with other {unlike}: compare runs with the same "
                "fingerprint"
            )


def group_runs(runs: Sequence[ComparedRun]) -> list[Group]:
    """The groups in the given order, or by lambda if they differ only in lambda. Runs of a group are sorted by seed."""
    keys = differing_keys(runs)
    found: dict[str, list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps([run.settings.get(key) for key in keys], default=str), []).append(run)
    groups = [
        Group(_label(keys, members[0], runs[0]), {key: members[0].settings.get(key) for key in keys}, members)
        for members in (sorted(members, key=lambda run: run.seed) for members in found.values())
    ]
    return sorted(groups, key=lambda group: group.lam or 0) if keys == [LAMBDA] else groups


def baseline(groups: Sequence[Group], runs: Sequence[ComparedRun]) -> Group:
    """The group with which all others are compared: GRPO in a sweep over lambda or over the weight, else the
    group of the first run."""
    grpo = [group for group in groups if group.is_grpo]
    return (grpo or [group for group in groups if runs[0] in group.runs])[0]


def differing_keys(runs: Sequence[ComparedRun]) -> list[str]:
    """The settings in which the runs differ, sorted."""
    keys = sorted({key for run in runs for key in run.settings})
    return [key for key in keys if any(run.settings.get(key) != runs[0].settings.get(key) for run in runs)]


def seed_names(runs: Iterable[ComparedRun]) -> dict[Seed, str]:
    """{seed: its name}, made of `seed` and `signal.seed` as far as they vary."""
    seeds = sorted({run.seed for run in runs})
    several, several_rl = (len({seed[i] for seed in seeds}) > 1 for i in (0, 1))
    if several_rl and not several:
        return {seed: f"RL seed {seed[1]}" for seed in seeds}
    return {seed: f"seed {seed[0]}" + (f", RL seed {seed[1]}" if several_rl else "") for seed in seeds}


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings and lists of mappings to dotted keys; other lists are values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = {str(index): item for index, item in enumerate(value)}
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _read(root: Path, name: str) -> ComparedRun:
    import yaml

    record = read_run(root)
    try:
        config = yaml.safe_load(record.config)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        raise ComparisonError(f"{RunPaths(root).config} is missing or damaged: remove this run from the comparison")
    rename_importance((config.get("signal") or {}).get("mgpo") or {})
    scores = {}
    for milestone in planned(config):
        file = RunPaths(root).scores(milestone)
        if file.is_file():
            scores[milestone] = [Score(**score) for score in json.loads(file.read_text())["scores"]]
    return ComparedRun(name, record, config, scores)


def _label(keys: Sequence[str], first: ComparedRun, base: ComparedRun) -> str:
    """The label of the group of `first`. `base` is the first run of the comparison."""
    if not keys:
        return "all runs"
    own = {key for key in keys if first.settings.get(key) != base.settings.get(key)}
    if CONTROL in keys and own <= CONTROL_KEYS and first.settings[CONTROL] in CONTROLS:
        return CONTROLS[first.settings[CONTROL]]
    if own == {"phases"}:
        return f"{CONTROLS[first.settings[CONTROL]]} from {first.start}"
    if len(keys) > LABEL_KEYS:
        return first.name
    if list(keys) == [LAMBDA]:
        lam = first.settings[LAMBDA]
        return "GRPO" if lam == 0 else f"λ={lam:g}"
    if list(keys) == [WEIGHT]:
        return "GRPO" if first.settings[WEIGHT] == "none" else str(first.settings[WEIGHT])
    return " ".join(f"{key}={first.settings.get(key)}" for key in keys)
