import pytest

from vt_ray.config import ModelConfig
from vt_ray.engines.base_model import prepare_base_model


@pytest.fixture(scope="session")
def base_model(tmp_path_factory):
    """The folder of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    model = ModelConfig(hidden_size=64, intermediate_size=192, num_layers=2, num_heads=2)
    prepare_base_model(model, ["1 + 2 = 3"], 0, folder)
    return folder
