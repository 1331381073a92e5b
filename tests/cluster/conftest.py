"""A local Ray with the real vLLM and DeepSpeed, on a model of 0.1M parameters, shared by this folder's tests."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from vt_ray.config import to_config
from vt_ray.main import CONF


@pytest.fixture(scope="session")
def tiny_config():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", ["experiment=tiny"]))


@pytest.fixture(scope="session")
def problems(tiny_config):
    from vt_ray.data.problem_sets import load_problem_sets

    return load_problem_sets(tiny_config.data, seed=0)


@pytest.fixture(scope="session")
def base_model(tiny_config, problems, tmp_path_factory):
    from vt_ray.engines.base_model import prepare_base_model

    folder = tmp_path_factory.mktemp("model") / "base"
    corpus = [text for p in problems.train for text in (p.question, *(s.text for s in p.solutions))]
    prepare_base_model(tiny_config.model, corpus, 0, folder)
    return folder


@pytest.fixture(scope="session")
def encoder(tiny_config, base_model):
    from transformers import AutoTokenizer

    from vt_ray.data.prompts import PromptEncoder

    return PromptEncoder(AutoTokenizer.from_pretrained(base_model), tiny_config.data)


@pytest.fixture(scope="session")
def cluster(tiny_config, tmp_path_factory):
    from vt_ray.actors.cluster import RayCluster

    with RayCluster(tiny_config, tmp_path_factory.mktemp("logs")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def one_rank(cluster):
    from ranks import open_ranks

    with open_ranks(1) as (rank,):
        yield rank


@pytest.fixture(scope="session")
def two_ranks(cluster):
    from ranks import open_ranks

    with open_ranks(2) as ranks:
        yield ranks
