"""Learner and generator of a shared GPU are the same after sleep. Without a GPU the states move from CPU to CPU."""

from __future__ import annotations

import sys

import pytest
import ray
from ray import cloudpickle

from vt_ray.algorithms.packing import TrainSequence, pack
from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.training import LearnerSpec, TrainingEngine
from vt_ray.records import Sampling

pytestmark = pytest.mark.slow
# Ray's workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SEQUENCES = [TrainSequence((5, 6, 7), (8, 9, 10 + i), 1 / 6, 1.0, (-5.0,) * 3) for i in range(2)]


def train(spec: LearnerSpec, folder, sleeps: bool) -> dict[str, int]:
    """Checksums of the weights after three steps; the state is saved and loaded before the third. Asleep before each
    step if `sleeps`."""
    engine = TrainingEngine(spec)
    for step in range(3):
        if sleeps:
            engine.sleep()
            engine.wake_up()
        if step == 2:
            engine.save_state(folder)
            engine.load_state(folder)
        engine.sft_step(pack(SEQUENCES, 64))
    if sleeps:
        engine.sleep()
        engine.wake_up()
    checksums = {entry.name: entry.checksum for bucket in engine.export_weights(1 << 20) for entry in bucket.entries}
    if sleeps:
        engine.sleep()
    engine.close()
    return checksums


@pytest.mark.parametrize(("zero_stage", "dtype"), [(1, "float32"), (2, "float32"), (2, "bfloat16")])
def test_a_learner_that_sleeps_between_steps_trains_as_one_that_does_not(
    one_rank, base_model, tmp_path, zero_stage, dtype
):
    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=0)
    learner = LearnerConfig(zero_stage=zero_stage)
    spec = LearnerSpec(str(base_model), ModelConfig(dtype=dtype), optimizer, learner, 10, 0)
    with_sleep, without_sleep = (
        ray.get(one_rank.call.remote(train, spec, tmp_path / str(sleeps), sleeps)) for sleeps in (True, False)
    )
    assert len(without_sleep) > 10
    assert with_sleep == without_sleep


def test_a_generator_that_slept_generates_as_before(cluster, base_model, encoder, problems):
    prompts, sampling = encoder.prompts(problems.train[:2], 2, ("sleep",)), Sampling(1.0, 1.0, 0, 8)

    def generated(generator):
        rollouts = ray.get(list(generator.generate(prompts, sampling)))
        return {r.problem.question_id: [c.token_ids.tolist() for c in r.completions] for r in rollouts}

    with cluster.generator(base_model) as generator:
        before = generated(generator)
        generator.sleep()
        generator.wake_up()
        assert generated(generator) == before
