from torch.nn import LayerNorm, Linear, Sequential

from vt_ray.config import OptimizerConfig
from vt_ray.engines.learner_spec import parameter_groups


def test_norms_and_biases_do_not_decay():
    network = Sequential(Linear(3, 2), LayerNorm(2))
    decayed, others = parameter_groups(network, OptimizerConfig(weight_decay=0.1))
    assert [p.shape for p in decayed["params"]] == [(2, 3)]
    assert "weight_decay" not in decayed
    assert (len(others["params"]), others["weight_decay"]) == (3, 0.0)
    assert parameter_groups(network, OptimizerConfig()) is None
