"""Steps without an update are marked in their line and counted. Three in a row end the run."""

from __future__ import annotations

import json
import math

import pytest
from test_loop import World, train

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import SftConfig, StageConfig
from vt_ray.run.metrics_log import MetricsLog, read_lines
from vt_ray.run.skipped_steps import SkippedSteps, TrainingDiverged
from vt_ray.spectrum_phase.sft import run_sft

GOOD = {"loss": 0.5, "grad_norm": 1.0}
NAN_LOSS = {"loss": math.nan, "grad_norm": math.inf}
LONG = [StageConfig("math", ["algebra"], 6, 2, 4, 8)]


class Diverging(World):
    """A learner whose k-th update returns the loss and norm in `answers[k]`."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = iter(answers)

    def update(self, *args):
        return {**super().update(*args), **next(self.answers)}


def strict_lines(path):
    """The lines of a file as JSON, which has no NaN and no infinity."""

    def refuse(name):
        raise AssertionError(f"{name} in {path}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_two_skipped_steps_in_a_row_are_counted_and_the_stage_continues(tmp_path):
    skipped_by_the_optimizer = {**GOOD, "skipped": 1.0}
    train(tmp_path, Diverging(GOOD, NAN_LOSS, skipped_by_the_optimizer, GOOD, NAN_LOSS, GOOD), stages=LONG)
    lines = strict_lines(tmp_path / "metrics.jsonl")
    assert [line["skipped"] for line in lines] == [False, True, True, False, True, False]
    assert [line["skipped_steps"] for line in lines] == [0, 1, 2, 2, 3, 3]
    assert [line["loss"] for line in lines] == [0.5, None, 0.5, 0.5, None, 0.5]
    assert lines[1]["grad_norm"] is None


def test_three_skipped_steps_in_a_row_end_the_run(tmp_path):
    with pytest.raises(
        TrainingDiverged, match=r"stage math: step 4: .* 3 steps in a row, now with loss nan and gradient norm inf .*lr"
    ):
        train(tmp_path, Diverging(GOOD, NAN_LOSS, NAN_LOSS, NAN_LOSS, GOOD, GOOD), stages=LONG)
    assert [line["skipped_steps"] for line in strict_lines(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]


def test_skipped_steps_before_a_resume_count(tmp_path):
    world = Diverging(GOOD, NAN_LOSS, NAN_LOSS)
    with pytest.raises(StopIteration):
        train(tmp_path, world, stages=LONG)
    with pytest.raises(TrainingDiverged, match="step 4"):
        train(tmp_path, Diverging(NAN_LOSS), stages=LONG)


def test_a_diverged_run_can_be_continued(tmp_path):
    with pytest.raises(TrainingDiverged):
        train(tmp_path, Diverging(NAN_LOSS, NAN_LOSS, NAN_LOSS), stages=LONG)
    train(tmp_path, Diverging(GOOD, GOOD, GOOD), stages=LONG)
    assert [line["skipped_steps"] for line in strict_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 3, 3, 3]


def test_three_skipped_steps_in_a_row_end_sft(tmp_path):
    class Learner(World):
        def sft_step(self, sequences):
            return {"loss": math.nan, "grad_norm": 1.0, "tokens": 4}

    (tmp_path / "model.json").write_text("1")
    examples = [TrainSequence((1, 2), (3, 4), 1.0)] * 4
    with pytest.raises(TrainingDiverged, match=r"sft: step 3: .*loss nan and gradient norm 1.0.*spectrum.sft.opt"):
        run_sft(Learner(), tmp_path, examples, SftConfig(steps=9, batch_size=2), 0, tmp_path / "sft")
    assert [line["skipped_steps"] for line in strict_lines(tmp_path / "sft" / "metrics.jsonl")] == [1, 2, 3]


def test_sft_counts_skipped_steps_before_a_resume(tmp_path):
    class Learner(World):
        def sft_step(self, sequences):
            return {"tokens": 4, **next(losses)}

        def save_state(self, folder):
            (folder / "state").write_text("1")

        def load_state(self, folder, restart_schedule=False):
            pass

    (tmp_path / "model.json").write_text("1")
    examples, sft = [TrainSequence((1, 2), (3, 4), 1.0)] * 4, SftConfig(steps=4, batch_size=2, checkpoint_every=2)
    losses = iter([NAN_LOSS, GOOD, NAN_LOSS])
    with pytest.raises(StopIteration):
        run_sft(Learner(), tmp_path, examples, sft, 0, tmp_path / "sft")
    losses = iter([NAN_LOSS, GOOD])
    run_sft(Learner(), tmp_path, examples, sft, 0, tmp_path / "sft")
    assert [line["skipped_steps"] for line in strict_lines(tmp_path / "sft" / "metrics.jsonl")] == [1, 1, 2, 2]


@pytest.mark.parametrize("bad", [NAN_LOSS, {"loss": 1.0, "grad_norm": math.nan}, {"loss": -math.inf, "grad_norm": 1.0}])
def test_loss_and_norm_must_both_be_finite(bad):
    assert SkippedSteps().count(bad) == {"skipped": True, "skipped_steps": 1}
    assert SkippedSteps().count({**GOOD, "skipped": 0.0}) == {"skipped": False, "skipped_steps": 0}


def test_nan_and_infinity_are_null_in_the_metrics_at_any_depth(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"a": math.nan, "b": {"c": [1.5, -math.inf]}, "d": True})
    assert strict_lines(log.path) == read_lines(log.path) == [{"a": None, "b": {"c": [1.5, None]}, "d": True}]
