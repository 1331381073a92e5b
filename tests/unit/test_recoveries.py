"""Lost actors are replaced and the path is walked again; what goes on being lost ends the run."""

import json

import pytest

from vt_ray import pipeline
from vt_ray.planning.placement import ClusterError
from vt_ray.run.metrics_log import read_lines
from vt_ray.run.paths import RunPaths
from vt_ray.run.recoveries import MOST_IN_A_ROW, Recoveries
from vt_ray.run.run_folder import newest_commit


class Cluster:
    """Replaces whatever raised a ConnectionError."""

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
def walked(monkeypatch):
    """The pipeline without its phases: `walked(errors)` raises them one after the other."""
    walks = []

    def prepare(errors):
        left = list(errors)

        def run_phases(*arguments):
            walks.append(arguments)
            if left:
                raise left.pop(0)
            return ["base"]

        monkeypatch.setattr(pipeline, "run_phases", run_phases)
        monkeypatch.setattr(pipeline, "write_summary", lambda *arguments: {"names": arguments[2]})
        monkeypatch.setattr(pipeline, "print_table", lambda *arguments: None)
        monkeypatch.setattr(pipeline, "write_report", lambda *arguments: None)
        return walks

    return prepare


def commit(root, step):
    folder = root / "rl" / "math" / "checkpoints" / f"step_{step:06d}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def test_after_a_loss_the_path_is_walked_again(tmp_path, walked):
    walks = walked([ConnectionError("gone"), ConnectionError("gone again")])
    assert pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None) == {"names": ["base"]}
    assert len(walks) == 3
    assert [line["lost"] for line in read_lines(tmp_path / "recoveries.jsonl")] == ["learner_0"] * 2


def test_an_error_that_is_no_loss_ends_the_run(tmp_path, walked):
    walks = walked([ValueError("wrong")])
    with pytest.raises(ValueError, match="wrong"):
        pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None)
    assert len(walks) == 1


def test_losses_without_a_commit_between_them_end_the_run(tmp_path, walked):
    walks = walked([ConnectionError("gone")] * 99)
    with pytest.raises(ClusterError, match="losses one after the other"):
        pipeline.run_pipeline(None, Cluster(), Run(tmp_path), None)
    assert len(walks) == MOST_IN_A_ROW


def test_losses_with_commits_between_them_do_not(tmp_path):
    recoveries = Recoveries(tmp_path)
    for step in range(3 * MOST_IN_A_ROW):
        recoveries.note("learner_1", ConnectionError())
        commit(tmp_path, step)


def test_the_newest_commit_is_named(tmp_path):
    assert newest_commit(tmp_path) == ""
    commit(tmp_path, 3)
    assert newest_commit(tmp_path) == "math step_000003"
    sft = tmp_path.parent / "phases" / "sft-1" / "state" / "step_000007"
    sft.mkdir(parents=True)
    (sft / "manifest.json").write_text("{}")
    (tmp_path / "phase.json").write_text(json.dumps({"phase": "sft", "folder": "sft-1"}))
    assert newest_commit(tmp_path) == "sft step_000007"
