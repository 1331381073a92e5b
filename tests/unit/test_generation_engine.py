"""`cluster.generation_engine`: its class is found, or refused before Ray starts."""

import pytest

from vt_ray.config import Config, ConfigError
from vt_ray.engines.generation import ENGINES, EngineSpec, GenerationEngine, engine_class
from vt_ray.planning.validate import validate


class SmallEngine:
    def __init__(self, spec):
        self.spec = spec


def test_an_engine_is_named_by_its_import_path():
    spec = EngineSpec("model", "float32", 64, 8, 0, 1, 1, 0.5, 1, 0)
    assert engine_class(f"{__name__}:SmallEngine")(spec).spec is spec


def test_vllms_engine_has_every_member_of_the_protocol():
    from vt_ray.engines.vllm.engine import VllmEngine

    assert engine_class("vllm") is VllmEngine
    members = {name for name in vars(GenerationEngine) if not name.startswith("_")}
    assert members - {"weight_version", "proven"} <= vars(VllmEngine).keys()


@pytest.mark.parametrize("name", ["sglang", "no_such_module:Engine", f"{__name__}:NoEngine"])
def test_an_engine_that_cannot_be_imported_is_refused_with_the_setting(name):
    config = Config()
    config.cluster.generation_engine = name
    with pytest.raises(ConfigError, match="cluster.generation_engine=.*" + ", ".join(ENGINES)):
        validate(config)
