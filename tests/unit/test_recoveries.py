"""After a lost actor the phases run again. Repeated losses without progress end the run."""

import json

import pytest

from vt_ray import pipeline
from vt_ray.planning.placement import ClusterError
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.paths import RunPaths
from vt_ray.run.recoveries import MOST_IN_A_ROW, Recoveries
from vt_ray.run.run_folder import newest_commit


class Cluster:
    """Replaces an actor after a ConnectionError and raises every other error."""

    def recover(self, error):
        if isinstance(error, ConnectionError):
            return "learner_0"
        raise error

    def hardware(self):
        return None


class Run:
    def __init__(self, root):
        self.root, self.paths = root, RunPaths(root)


@pytest.fixture
def fail_with(monkeypatch):
    """The pipeline without its phases: after `fail_with(errors)`, each run of the phases raises the next error."""
    attempts = []

    def prepare(errors):
        remaining = list(errors)

        def run_phases(*arguments):
            attempts.append(arguments)
            if remaining:
                raise remaining.pop(0)
            return ["base"]

        monkeypatch.setattr(pipeline, "run_phases", run_phases)
        monkeypatch.setattr(pipeline, "write_summary", lambda *arguments: {"names": arguments[2]})
        monkeypatch.setattr(pipeline, "print_table", lambda *arguments: None)
        monkeypatch.setattr(pipeline, "write_report", lambda *arguments: None)
        return attempts

    return prepare


def commit(root, step):
    folder = root / "rl" / "math" / "checkpoints" / f"step_{step:06d}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def test_the_phases_run_again_after_a_lost_actor(tmp_path, fail_with):
    attempts = fail_with([ConnectionError("gone"), ConnectionError("gone again")])
    assert pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None) == {"names": ["base"]}
    assert len(attempts) == 3
    assert [line["lost"] for line in read_lines(tmp_path / "recoveries.jsonl")] == ["learner_0"] * 2


def test_an_error_without_a_lost_actor_ends_the_run(tmp_path, fail_with):
    attempts = fail_with([ValueError("wrong")])
    with pytest.raises(ValueError, match="wrong"):
        pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None)
    assert len(attempts) == 1


def test_repeated_losses_without_a_commit_end_the_run(tmp_path, fail_with):
    attempts = fail_with([ConnectionError("gone")] * 99)
    with pytest.raises(ClusterError, match="actors in a row were lost"):
        pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None)
    assert len(attempts) == MOST_IN_A_ROW


def test_losses_with_commits_between_them_do_not_end_the_run(tmp_path):
    recoveries = Recoveries(tmp_path)
    for step in range(3 * MOST_IN_A_ROW):
        recoveries.record("learner_1", ConnectionError())
        commit(tmp_path, step)


def test_the_newest_commit_is_found(tmp_path):
    assert newest_commit(tmp_path) == ""
    commit(tmp_path, 3)
    assert newest_commit(tmp_path) == "math step_000003"
    sft = tmp_path.parent / "phases" / "sft-1" / "state" / "step_000007"
    sft.mkdir(parents=True)
    (sft / "manifest.json").write_text("{}")
    (tmp_path / "phase.json").write_text(json.dumps({"phase": "sft", "folder": "sft-1"}))
    assert newest_commit(tmp_path) == "sft step_000007"
