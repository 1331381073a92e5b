"""The audit of small runs: no fault in a complete run, and the right fault in each changed run."""

import errno
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_loop
from omegaconf import OmegaConf
from test_checkpoint import fails_once
from typer.testing import CliRunner

from vt_ray.actors.recorder import rollout_rows
from vt_ray.algorithms.ledger import completion_digest
from vt_ray.config import Config, StageConfig
from vt_ray.records import GradedGroup, Rollouts, Verdict
from vt_ray.run.audit import audit
from vt_ray.run.identity import identity
from vt_ray.run.read_run import read_run
from vt_ray.tools import app

STAGES = [StageConfig("math", ["algebra"], 3, 2, 4, 8, refill_rounds=1), StageConfig("code", ["code"], 2, 3, 4, 8)]


class World(test_loop.World):
    """Completions of three tokens. The recorder writes real parquet files, the learner returns its digest."""

    def generate(self, prompts, sampling):
        for rollouts in super().generate(prompts, sampling):
            prompt = next(p for p in prompts if p.problem.question_id == rollouts.problem.question_id)
            made = tuple(
                replace(c, sample=i, token_ids=np.array((seed % 97, seed % 89, i), np.int32))
                for i, (c, seed) in enumerate(zip(rollouts.completions, prompt.seeds, strict=True))
            )
            version = len(self.calls["update"])
            made = tuple(replace(c, version_runs=((version, 3),)) for c in made)
            yield Rollouts(rollouts.problem, rollouts.prompt_token_ids, made, prompt.step, prompt.seeds)

    def grade(self, rollouts):
        for r in rollouts:
            self.record("grade", r.problem.question_id)
            verdicts = tuple(Verdict(("correct", "wrong", "unverified")[int(c.text) % 3]) for c in r.completions)
            if r.problem.question_id.endswith(("1", "4")):
                verdicts = (Verdict("wrong"),) * 4
            firsts = tuple(c.version_runs[0][0] for c in r.completions)
            yield GradedGroup(
                r.problem.question_id, r.problem.subdomain, verdicts, 2, (3,) * 4, (False,) * 4, r, r.step, firsts
            )

    def update(self, groups, advantages, *args):
        metrics = super().update(groups, advantages, *args)
        taken = [
            completion_digest(g.question_id, c.sample, c.token_ids)
            for g, its in zip(groups, advantages, strict=True)
            for c, a in zip(g.rollouts.completions, its.advantages, strict=True)
            if a
        ]
        return {**metrics, "updated_completions": len(taken), "consumed_digest": sum(taken)}

    def write(self, path, stage, step, groups, advantages, fates):
        self.record("write")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            row
            for g, a, f in zip(groups, advantages, fates, strict=True)
            for row in rollout_rows(stage, step, g, a, f, g.rollouts)
        ]
        pq.write_table(pa.Table.from_pylist(rows), path)


def trained(root, world):
    test_loop.train(root, world, stages=STAGES)
    return root


def identify(root):
    config = Config()
    config.curriculum.stages = STAGES
    config.signal.keep_checkpoints = 1
    (root / "run.json").write_text(json.dumps({"settings": identity(config)}))
    (root / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(asdict(config))))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = trained(tmp_path_factory.mktemp("audited") / "run", World())
    identify(root)
    return root


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def faults(root):
    return [fault for stage in audit(root) for fault in stage.faults]


def rewrite(root, change, stage="math", step=2):
    file = root / "rollouts" / stage / f"step_{step:06d}.parquet"
    rows = change(pq.read_table(file).to_pylist())
    pq.write_table(pa.Table.from_pylist(rows), file)


def first(rows, **values):
    """Changes the first row with the fate `updated`."""
    index = next(i for i, row in enumerate(rows) if row["fate"] == "updated")
    return [*rows[:index], {**rows[index], **values}, *rows[index + 1 :]]


def test_an_undisturbed_run_is_clean_and_every_completion_counted(whole):
    math, code = audit(whole)
    assert math.faults == code.faults == []
    assert (math.steps, math.ended, code.steps) == (3, "steps", 2)
    # Refilled groups are added to the 3 steps x 2 questions x 4 samples.
    assert math.fates["replaced"] > 0
    assert math.completions == 24 + math.fates["replaced"]
    assert code.completions == 2 * 3 * 4


@pytest.mark.parametrize("crash_at", range(8, 60, 4))
def test_a_run_that_crashed_and_went_on_is_clean(tmp_path, crash_at):
    with suppress(ConnectionAbortedError):
        trained(tmp_path, World(crash_at))
    identify(tmp_path)
    assert faults(tmp_path) == []
    trained(tmp_path, Continued(tmp_path))
    assert faults(tmp_path) == []


class Continued(World):
    """The weight versions of a stage continue from the committed steps of the previous stage."""

    def __init__(self, root):
        super().__init__()
        self.calls["update"] = [None] * (len(list(root.glob("rollouts/*/*.parquet"))))

    def load(self, weights, fingerprint):
        self.calls["update"] = [None] * weights.version
        return super().load(weights, fingerprint)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "has samples"),
        (lambda rows: [rows[0], *rows], "has samples"),
        (lambda rows: rows[4:], "questions are in the update"),
        (lambda rows: first(rows, fate="no_signal"), "with advantage"),
        (lambda rows: first(rows, fate=""), "no known fate"),
        (lambda rows: first(rows, tokens=[1, 2, 3]), "digest"),
        (lambda rows: first(rows, verdict="unverified"), "with verdict unverified"),
        (lambda rows: first(rows, seed=5), "wrong seeds"),
        (lambda rows: first(rows, weight_versions=[0, 0, 0]), "versions"),
        (lambda rows: first(rows, rollout_logprobs=[-1.0]), "log-probabilities"),
        (lambda rows: [{**row, "question_id": "code/3"} for row in rows[:4]] + rows[4:], "not in the stage's pool"),
    ],
)
def test_changed_rollouts_are_found(run, change, said):
    rewrite(run, change)
    assert any(said in fault for fault in faults(run)), faults(run)


def metrics(root, change):
    path = root / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "metrics.jsonl has steps"),
        (lambda lines: [lines[0], *lines], "metrics.jsonl has steps"),
        (lambda lines: [{**line, "weight_version": 7} for line in lines], "expected 0 and 1"),
        (lambda lines: [{**line, "updated_completions": 99} for line in lines], "the learner used 99"),
        (lambda lines: [*lines, {**lines[0], "stage": "else"}], "unknown stages"),
    ],
)
def test_changed_metrics_are_found(run, change, said):
    metrics(run, change)
    assert any(said in fault for fault in faults(run)), faults(run)


def test_checkpoints_that_cannot_be_read_are_a_fault(run, monkeypatch):
    fails_once(monkeypatch, errno.EIO, Path, "read_text", "math/checkpoints/step_000003/manifest.json")
    assert any("checkpoints cannot be read" in fault and "manifest.json" in fault for fault in faults(run))


@pytest.mark.parametrize(("cap", "kind"), [(0.0, "none"), (2.0, "truncate")])
def test_a_run_of_an_older_version_is_read_in_the_names_of_today(run, cap, kind):
    config, known = OmegaConf.load(run / "config.yaml"), json.loads((run / "run.json").read_text())
    config.signal.mgpo.pop("importance")
    config.signal.mgpo.importance_cap = cap
    OmegaConf.save(config, run / "config.yaml")
    noted = {k: v for k, v in known["settings"].items() if ".importance." not in k}
    (run / "run.json").write_text(json.dumps(known | {"settings": noted | {"signal.mgpo.importance_cap": cap}}))
    assert faults(run) == []
    assert read_run(run)[1].signal.mgpo.importance.kind == kind


def test_a_line_that_a_killed_run_has_half_written_is_no_line(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "math", "st')
    assert faults(run) == []


def test_a_step_without_rollouts_is_found_out(run):
    (run / "rollouts/math/step_000002.parquet").unlink()
    assert faults(run) == ["no rollouts of steps [2]"]


def test_a_truncated_file_is_a_fault_like_any_other(run):
    file = run / "rollouts/math/step_000002.parquet"
    file.write_bytes(file.read_bytes()[:100])
    (fault,) = faults(run)
    assert "step_000002.parquet cannot be read" in fault


def test_another_configuration_is_found_out(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("lam: 1.0", "lam: 2.0"))
    assert any("config.yaml" in fault and "signal.mgpo.lam was 1.0, is 2.0" in fault for fault in faults(run))


def test_the_command_exits_with_one_where_something_is_wrong(run):
    clean = CliRunner().invoke(app, ["audit", str(run)])
    assert clean.exit_code == 0 and "clean" in clean.output
    rewrite(run, lambda rows: rows[1:])
    wrong = CliRunner().invoke(app, ["audit", str(run)])
    assert wrong.exit_code == 1 and "step 2" in wrong.output
    assert CliRunner().invoke(app, ["audit", str(run / "rl")]).exit_code == 2
