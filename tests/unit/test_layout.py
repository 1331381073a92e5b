"""A learner's state is loaded only with the number of ranks and the ZeRO stage that wrote it."""

from types import SimpleNamespace

import pytest

from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.entropy_bonus import EntropyBonus
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.training import TrainingEngine


class Engine(TrainingEngine):
    """One of `ranks`, without DeepSpeed."""

    rank = world_size = 0

    def __init__(self, ranks=1, step_count=0, **learner):
        self.spec = LearnerSpec("base", ModelConfig(), OptimizerConfig(), LearnerConfig(**learner), 10, 0)
        self.world_size, self.step_count, self.loaded = ranks, step_count, False
        self.entropy_bonus = EntropyBonus()
        self.engine = SimpleNamespace(save_checkpoint=lambda *a, **k: None, load_checkpoint=self.load)

    def load(self, folder, tag):
        self.loaded = True
        return folder, {"step_count": 7}


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_a_state_is_loaded_in_its_own_layout_with_other_memory_settings(tmp_path, zero_stage):
    Engine(ranks=2, zero_stage=2).save_state(tmp_path)
    engine = Engine(ranks=2, zero_stage=zero_stage, offload_optimizer=True, row_tokens=64)
    engine.load_state(tmp_path)
    assert engine.loaded and engine.step_count == 7


@pytest.mark.parametrize(("ranks", "zero_stage"), [(1, 2), (1, 1), (2, 0), (2, 3)])
def test_a_state_of_another_layout_is_refused_before_it_is_loaded(tmp_path, ranks, zero_stage):
    Engine(ranks=2, zero_stage=2).save_state(tmp_path)
    engine = Engine(ranks=ranks, zero_stage=zero_stage)
    with pytest.raises(RuntimeError, match=r"take cluster.num_learners=2 learner.zero_stage=2 until SFT"):
        engine.load_state(tmp_path)
    assert not engine.loaded
