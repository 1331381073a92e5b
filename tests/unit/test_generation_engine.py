"""`cluster.generation_engine`: its class is found, or refused before Ray starts."""

from dataclasses import replace

import pytest

from vt_ray.config import ClusterConfig, Config, ConfigError
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


def test_arguments_of_vllm_pass_the_checks_and_go_to_vllm_alone():
    from vt_ray.engines.vllm.engine_args import FIXED, FIXED_ON_CPU, SETTINGS, engine_args_faults, known_fields

    # The names of the installed vLLM: a table that has an old one refuses nothing.
    assert {*SETTINGS, *FIXED, *FIXED_ON_CPU} <= known_fields().keys()
    given = {"kv_cache_dtype": "fp8", "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}
    assert not list(engine_args_faults(ClusterConfig(engine_args=given)))
    values = {"enable_chunked_prefill": True, "max_num_batched_tokens": 4096, "compilation_config": {"mode": 0}}
    assert values.keys() == FIXED_ON_CPU.keys()
    on_a_gpu = ClusterConfig(engine_args=values, gpus_per_generator=1)
    assert not list(engine_args_faults(on_a_gpu))
    other = ClusterConfig(engine_args=given, generation_engine=f"{__name__}:SmallEngine")
    (fault,) = engine_args_faults(other)
    assert "they are arguments of vLLM" in fault


def test_arguments_of_vllm_replace_those_of_vt_ray_that_may_change():
    from vt_ray.engines.vllm.engine import _engine_arguments

    spec = EngineSpec("model", "float32", 64, 8, 0, 1, 1, 0.5, 1, 0, engine_args={"block_size": 64})
    assert _engine_arguments(spec) == _engine_arguments(replace(spec, engine_args={})) | {"block_size": 64}


def test_an_error_of_the_kv_cache_names_the_arguments_of_vllm_too():
    from vt_ray.engines.vllm.engine import _with_config_keys

    spec = EngineSpec("model", "float32", 64, 8, 0, 1, 4, 0.5, 1, 0, engine_args={"num_gpu_blocks_override": 1})
    error = _with_config_keys(ValueError("No room in the KV cache."), spec)
    assert isinstance(error, ConfigError)
    assert "cluster.kv_cache_gb=4 and cluster.engine_args (num_gpu_blocks_override=1): No room" in str(error)
