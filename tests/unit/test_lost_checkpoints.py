"""What a stage and SFT do about checkpoints that cannot be read, are damaged or are lost, over stand-ins."""

import errno
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import test_loop
from test_checkpoint import ERRORS, contents, fails_once
from test_stage_options import CODE, MATH, World

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import SftConfig
from vt_ray.run.checkpoint import CheckpointError
from vt_ray.spectrum_phase.sft import run_sft, sft_checkpoints

STAGES = [MATH, CODE]


def without_logs(root):
    return {name: content for name, content in contents(root).items() if not name.startswith("model")}


def interrupted(root, updates=1, stages=STAGES):
    """A run that was killed at the start of an update, after `updates` finished ones."""
    world = World()
    whole = test_loop.train(root.with_name("whole"), world, stages=stages)
    at = [i for i, event in enumerate(whole.events, 1) if event == "update"][updates]
    with suppress(ConnectionAbortedError):
        test_loop.train(root, World(at), stages=stages)
    return root


def damage(step):
    (step / "learner" / "model.json").write_text("torn")


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("on", ["step_000001/manifest.json", "step_000001/learner/model.json"])
def test_a_stage_whose_checkpoint_cannot_be_read_keeps_everything_and_goes_on_later(tmp_path, monkeypatch, code, on):
    root = interrupted(tmp_path / "run")
    before = without_logs(root)
    assert any("rollouts" in name for name in before)
    with monkeypatch.context() as patched:
        fails_once(patched, code, Path, "read_text" if on.endswith("manifest.json") else "open", on)
        with pytest.raises(OSError, match="nothing was deleted"):
            test_loop.train(root, World(), stages=STAGES)
    assert without_logs(root) == before
    test_loop.train(root, World(), stages=STAGES)
    assert test_loop.outcome(root) == test_loop.outcome(tmp_path / "whole")


@pytest.mark.parametrize("lose", ["rollouts", "lines", "neither"])
def test_a_stage_that_has_lost_every_checkpoint_does_not_start_anew(tmp_path, lose):
    root = interrupted(tmp_path / "run")
    damage(root / "rl/math/checkpoints/step_000001")
    if lose == "rollouts":
        for file in root.glob("rollouts/math/*"):
            file.unlink()
    if lose == "lines":
        (root / "metrics.jsonl").write_text("")
    before = [name for name in without_logs(root) if "checkpoints" not in name]
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"stage math .* not started over.*run_name"):
            test_loop.train(root, World(), stages=STAGES)
    assert [name for name in without_logs(root) if "checkpoints" not in name] == before
    assert (root / "rl/math/checkpoints/step_000001.damaged/learner/model.json").exists()


def test_rollouts_that_cannot_be_listed_are_not_missing(tmp_path, monkeypatch):
    root = interrupted(tmp_path / "run")
    damage(root / "rl/math/checkpoints/step_000001")
    (root / "metrics.jsonl").write_text("")
    fails_once(monkeypatch, errno.EACCES, os, "listdir", "rollouts/math")
    with pytest.raises(PermissionError):
        test_loop.train(root, World(), stages=STAGES)
    assert not (root / "rl/math/checkpoints/step_000000").exists()


def test_a_stage_without_rollouts_whose_start_is_damaged_starts_again(tmp_path):
    root = interrupted(tmp_path / "run", updates=0)
    damage(root / "rl/math/checkpoints/step_000000")
    test_loop.train(root, World(), stages=STAGES)
    assert test_loop.outcome(root)[2] == test_loop.outcome(tmp_path / "whole")[2]


def after_the_first_stage(root, second):
    """A run that was killed before its second stage has a commit."""
    with suppress(ConnectionAbortedError):
        world = World()
        world.evaluate = lambda *arguments: world.record("ended") or (_ for _ in ()).throw(ConnectionAbortedError())
        test_loop.train(root, world, stages=[MATH, second])
    assert not (root / "rl/code").exists()
    return root / "rl/math/checkpoints/step_000002"


@pytest.mark.parametrize("optimizer_state", ["keep", "reset"])
def test_a_stage_never_begins_without_the_tracker_and_the_moments_of_the_one_before(tmp_path, optimizer_state):
    second = replace(CODE, optimizer_state=optimizer_state)
    damage(after_the_first_stage(tmp_path / "run", second))
    with pytest.raises(CheckpointError, match="step_000002 is needed"):
        test_loop.train(tmp_path / "run", World(), stages=[MATH, second])


def test_moments_that_another_process_has_left_are_kept(tmp_path):
    second = replace(CODE, optimizer_state="keep")
    after_the_first_stage(tmp_path / "run", second)
    world = test_loop.train(tmp_path / "run", World(), stages=[MATH, second])
    assert world.calls["states"] == [("math", True)]
    test_loop.train(tmp_path / "whole", World(), stages=[MATH, second])
    assert test_loop.outcome(tmp_path / "run") == test_loop.outcome(tmp_path / "whole")


def test_a_stage_with_commits_of_its_own_needs_none_of_the_stage_before(tmp_path):
    stages = [MATH, replace(CODE, optimizer_state="keep")]
    root = interrupted(tmp_path / "run", updates=2, stages=stages)
    assert (root / "rl/code/checkpoints/step_000000").exists()
    damage(root / "rl/math/checkpoints/step_000002")
    test_loop.train(root, World(), stages=stages)
    assert test_loop.outcome(root)[2] == test_loop.outcome(tmp_path / "whole")[2]


class Trajectory:
    """A cluster whose learner's model is the sum of the tokens it has seen; raises after `crash_at` calls."""

    def __init__(self, crash_at=0):
        self.value, self.calls, self.crash_at = 0, [], crash_at

    @contextmanager
    def learner(self, model_path, optimizer, total_steps, with_reference=False):
        yield self

    def publish(self, line):
        pass

    def record(self, call):
        self.calls.append(call)
        if len(self.calls) == self.crash_at:
            raise ConnectionAbortedError(call)

    def sft_step(self, sequences):
        self.record("step")
        self.value = self.value * 31 + sum(s.completion_ids[0] for s in sequences)
        return {"loss": float(self.value % 97), "tokens": 8.0}

    def _save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "value.json").write_text(json.dumps(self.value))

    def save_hf(self, folder):
        self.record("model")
        self._save(folder)

    def save_state(self, folder):
        self.record("state")
        self._save(folder)

    def load_state(self, folder):
        self.value = json.loads((folder / "value.json").read_text())


EXAMPLES = [TrainSequence((1,), (n, n + 1), 1.0) for n in range(9)]


def sft(folder, crash_at=0):
    folder.mkdir(exist_ok=True)
    cluster = Trajectory(crash_at)
    run_sft(cluster, folder, EXAMPLES, SftConfig(steps=7, batch_size=2, checkpoint_every=2), 0, folder)
    return cluster


def trajectory(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    models = [(path.name, (path / "value.json").read_text()) for path in sft_checkpoints(folder)]
    return [(line["step"], line["loss"]) for line in lines], models


def test_sft_that_crashes_anywhere_ends_the_same(tmp_path):
    calls = len(sft(tmp_path / "whole").calls)
    expected = trajectory(tmp_path / "whole")
    assert [name for name, _ in expected[1]] == [f"step_00000{n}" for n in (2, 4, 6, 7)]
    for crash_at in range(1, calls + 1):
        with pytest.raises(ConnectionAbortedError):
            sft(tmp_path / str(crash_at), crash_at)
        sft(tmp_path / str(crash_at))
        assert trajectory(tmp_path / str(crash_at)) == expected, f"after a crash in call {crash_at}"


def interrupted_sft(folder):
    with pytest.raises(ConnectionAbortedError):
        sft(folder, crash_at=13)
    assert sorted(p.name for p in (folder / "state").iterdir()) == ["step_000004", "step_000006"]
    return folder


def test_sft_takes_the_state_before_a_damaged_one(tmp_path):
    folder = interrupted_sft(tmp_path / "run")
    (folder / "state/step_000006/value.json").write_text("torn")
    sft(folder)
    sft(tmp_path / "whole")
    assert trajectory(folder) == trajectory(tmp_path / "whole")
    assert (folder / "state/step_000006.damaged/value.json").read_text() == "torn"


@pytest.mark.parametrize("code", ERRORS)
def test_sft_whose_state_cannot_be_read_keeps_everything(tmp_path, monkeypatch, code):
    folder = interrupted_sft(tmp_path / "run")
    before = contents(folder)
    fails_once(monkeypatch, code, Path, "read_text", "step_000006/manifest.json")
    with pytest.raises(OSError, match="nothing was deleted"):
        sft(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("models_too", [False, True])
def test_sft_that_has_lost_every_state_does_not_start_anew(tmp_path, models_too):
    folder = interrupted_sft(tmp_path / "run")
    for step in (folder / "state").iterdir():
        (step / "value.json").write_text("torn")
    if models_too:
        for model in sft_checkpoints(folder):
            model.rename(tmp_path / model.name)
    metrics = (folder / "metrics.jsonl").read_text()
    for _ in range(2):
        with pytest.raises(CheckpointError, match="SFT is not started over"):
            sft(folder)
    assert (folder / "metrics.jsonl").read_text() == metrics
