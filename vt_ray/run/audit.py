"""Proves from the run folder that no completion was lost or used twice (`vt-tools audit`).

    pool.json + seeds --> the questions of each step -----+
    rollouts/*.parquet --> the fate of each completion ---+--> all agree, and each completion has exactly one fate
    metrics.jsonl --> the learner's digest of its input --+
    manifests, stage.json --> the steps of each stage ----+

The three sources are independent: the seeds, the rollout files of the recorder, and the learner's count of its input.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vt_ray.algorithms.ledger import CONSUMED, DROPPED, completion_digest
from vt_ray.config import Config, to_config
from vt_ray.data.mixture import Mixture
from vt_ray.data.prompts import sample_seed
from vt_ray.data.stream import batch_indices, refill_indices
from vt_ray.progress import bar
from vt_ray.run.checkpoint import MANIFEST, CheckpointError, committed
from vt_ray.run.identity import differing, identity
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.paths import RunPaths
from vt_ray.run.read_run import read_run

Rows = Sequence[Mapping[str, Any]]
COLUMNS = [
    "question_id",
    "sample",
    "seed",
    "tokens",
    "rollout_logprobs",
    "weight_versions",
    "verdict",
    "reason",
    "weight",
    "advantage",
    "fate",
]
MOST_SHOWN = 20


@dataclass
class StageAudit:
    """The result for one stage: `faults` are the contradictions as text, `fates` counts the completions by fate.

    `beyond` is the number of steps in the metrics after the newest commit.
    """

    name: str
    steps: int = 0
    ended: str = ""
    beyond: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def completions(self) -> int:
        return self.fates.total()


def audit(root: Path) -> list[StageAudit]:
    """Audit all stages of the run in `root`, in order. Raises FileNotFoundError and ValueError as `read_run`."""
    paths = RunPaths(root)
    known_run, settings = read_run(root)
    config = to_config(settings)
    lines = read_lines(paths.metrics)
    audits, version = [], 0
    for stage in config.curriculum.stages:
        found = _Stage(config, stage.name, paths, [line for line in lines if line["stage"] == stage.name], version)
        audits.append(found.audit())
        version += found.result.steps
    noted = known_run.get("settings")
    if noted is None:
        audits[0].faults.append("run.json does not record the settings: an older version of vt_ray made this run")
    elif changed := differing(noted, identity(config), config):
        audits[0].faults.append(f"config.yaml has other settings than run.json: {'; '.join(changed)}")
    known = {stage.name for stage in config.curriculum.stages}
    if unknown := {line["stage"] for line in lines} - known:
        audits[0].faults.append(f"metrics.jsonl has lines of unknown stages {sorted(unknown)}")
    return audits


class _Stage:
    """The audit of one stage."""

    def __init__(
        self, config: Config, name: str, run: RunPaths, lines: Sequence[Mapping[str, Any]], first_version: int
    ):
        self.config, self.lines, self.first_version = config, lines, first_version
        self.stage = next(s for s in config.curriculum.stages if s.name == name)
        self.paths = run.stage(name)
        self.result = StageAudit(name)

    def audit(self) -> StageAudit:
        if not self.paths.pool.exists():
            return self.result
        self.pool: list[str] = json.loads(self.paths.pool.read_text())
        weighted = self.paths.mixture.exists()
        self.mixture = Mixture(**json.loads(self.paths.mixture.read_text())) if weighted else None
        self._check_commits()
        self._check_lines()
        files = self._rollout_files()
        with bar(f"audit {self.stage.name}", self.result.steps) as advance:
            for step in range(1, self.result.steps + 1):
                if step in files:
                    self._check_step(step, files[step])
                advance("", 1)
        return self.result

    def _fault(self, text: str) -> None:
        self.result.faults.append(text)

    def _check_commits(self) -> None:
        """Find the newest commit of the stage and compare it with stage.json, which a finished stage has."""
        try:
            steps = [json.loads((folder / MANIFEST).read_text()) for folder in committed(self.paths.checkpoints)]
        except (OSError, CheckpointError) as error:
            self._fault(f"the checkpoints cannot be read: {error}")
            return
        self.result.steps = steps[-1]["step"] if steps else 0
        for manifest in steps:
            if manifest["weight_version"] != self.first_version + manifest["step"]:
                self._fault(f"the manifest of step {manifest['step']} has weight version {manifest['weight_version']}")
        if self.paths.end.exists():
            end = json.loads(self.paths.end.read_text())
            self.result.ended = end["ended"]
            if end["steps"] != self.result.steps:
                self._fault(f"stage.json says {end['steps']} steps, the newest commit is of step {self.result.steps}")
            if end["weight_version"] != self.first_version + end["steps"]:
                self._fault(f"stage.json says weight version {end['weight_version']}")
            unused = sum(len(questions) for questions in end["unused"].values())
            self.result.fates["stage ended"] += unused * self.stage.group_size

    def _check_lines(self) -> None:
        """The metrics have one line for each step, in order, and each step's sync has the next weight version."""
        numbers = [line["step"] for line in self.lines]
        self.result.beyond = sum(number > self.result.steps for number in numbers)
        if numbers[: self.result.steps] != list(range(1, self.result.steps + 1)):
            self._fault(f"metrics.jsonl has steps {_short(numbers)}, {self.result.steps} are committed")
        if self.result.beyond and self.result.ended:
            self._fault(f"metrics.jsonl has {self.result.beyond} more steps after the end of the stage")
        for line in self.lines:
            version = self.first_version + line["step"] - 1
            if (line["weight_version"], line["sync"]["version"]) != (version, version + 1):
                self._fault(
                    f"step {line['step']} has weight version {line['weight_version']} and syncs "
                    f"{line['sync']['version']}, expected {version} and {version + 1}"
                )

    def _rollout_files(self) -> dict[int, Path]:
        """The rollout files by step."""
        found = {int(file.stem.split("_")[1]): file for file in self.paths.rollout_files()}
        missing = sorted(set(range(1, self.result.steps + 1)) - found.keys())
        if missing:
            self._fault(f"no rollouts of steps {_short(missing)}")
        if self.result.ended and max(found, default=0) > self.result.steps:
            self._fault(f"there are rollouts of step {max(found)}, after the end of the stage")
        return found

    def _check_step(self, step: int, file: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows: Rows = pq.read_table(file, columns=COLUMNS).to_pylist()
        except (OSError, pa.ArrowException) as error:
            self._fault(f"step {step}: {file.name} cannot be read: {str(error).splitlines()[0]}")
            return
        self.result.fates.update(row["fate"] for row in rows)
        by_question: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_question.setdefault(row["question_id"], []).append(row)
        for fault in (
            *self._question_faults(step, by_question),
            *self._sample_faults(step, by_question),
            *self._row_faults(step, rows),
            *self._update_faults(step, rows),
        ):
            self._fault(f"step {step}: {fault}")

    def _question_faults(self, step: int, found: Mapping[str, Rows]) -> Iterator[str]:
        """Checks that the questions are exactly the seeds' draw for this step."""
        replaced = [q for q, rows in found.items() if any(row["fate"] == "replaced" for row in rows)]
        kept = len(found) - len(replaced)
        batch = min(self.stage.prompts_per_step, len(self.pool))
        if kept != batch:
            yield f"{kept} questions are in the update, expected {batch}"
        if unknown := sorted(found.keys() - set(self.pool)):
            yield f"questions {_short(unknown)} are not in the stage's pool"
        if self.stage.sampling == "tracker":
            return
        key = (self.config.seed, self.config.signal.seed, self.stage.name)
        first = [self.pool[i] for i in batch_indices(len(self.pool), batch, step - 1, key, self.mixture)]
        order = [self.pool[i] for i in refill_indices(len(self.pool), ("refill", *key, step - 1), self.mixture)]
        refill = [question for question in order if question not in set(first)]
        expected = {*first, *refill[: len(found) - batch]}
        if expected != set(found):
            missing, instead = sorted(expected - found.keys()), sorted(found.keys() - expected)
            yield f"questions {_short(missing)} were expected, {_short(instead)} are recorded instead"

    def _sample_faults(self, step: int, found: Mapping[str, Rows]) -> Iterator[str]:
        """Each question has each of its samples once, with the right seed."""
        samples = list(range(self.stage.group_size))
        for question, rows in found.items():
            if [row["sample"] for row in rows] != samples:
                yield f"{question} has samples {[row['sample'] for row in rows]}, not {samples}"
            key = (self.config.seed, self.config.signal.seed, self.stage.name, step - 1, question)
            if any(row["seed"] != sample_seed(*key, row["sample"]) for row in rows):
                yield f"{question} was sampled with wrong seeds"

    def _row_faults(self, step: int, rows: Rows) -> Iterator[str]:
        """Each completion has one fate, which agrees with its verdict, its advantage and its weight versions."""
        now = self.first_version + step - 1
        oldest = now - (self.config.signal.max_staleness if self.config.signal.schedule == "pipelined" else 0)
        for row in rows:
            name = f"{row['question_id']}/{row['sample']}"
            if row["fate"] not in (*CONSUMED, *DROPPED):
                yield f"{name} has no known fate: {row['fate']!r}"
            if (row["fate"] == "updated") != (row["advantage"] != 0):
                yield f"{name} is {row['fate']} with advantage {row['advantage']:g}"
            if row["fate"] != "replaced" and (row["fate"] == "unverified") != (row["verdict"] == "unverified"):
                yield f"{name} is {row['fate']} with verdict {row['verdict']}"
            if not len(row["tokens"]) == len(row["rollout_logprobs"]) == len(row["weight_versions"]):
                yield f"{name} has {len(row['tokens'])} tokens and {len(row['rollout_logprobs'])} log-probabilities"
            versions = row["weight_versions"]
            if versions != sorted(versions) or not all(oldest <= v <= now for v in versions):
                yield f"{name} has tokens of versions {_short(sorted(set(versions)))}, allowed are {oldest} to {now}"

    def _update_faults(self, step: int, rows: Rows) -> Iterator[str]:
        """The learner's digest of its input tokens equals the digest of the rows recorded as updated."""
        line = next((line for line in self.lines if line["step"] == step), None)
        if line is None:
            return
        # With a KL term the learner also computes completions without an advantage.
        computed = CONSUMED if self.config.signal.mgpo.kl_coef else ("updated",)
        updated = [row for row in rows if row["fate"] in computed and row["tokens"]]
        if line["updated_completions"] != len(updated):
            yield f"the learner used {line['updated_completions']:g} completions, {len(updated)} are recorded as used"
        digest = sum(completion_digest(row["question_id"], row["sample"], row["tokens"]) for row in updated)
        if line["consumed_digest"] != digest:
            yield "the learner's digest of its rows is not the digest of the rows recorded as updated"


def _short(values: Sequence[Any]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return f"[{shown}{', ...' if len(values) > 6 else ''}]"
