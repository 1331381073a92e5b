"""The scratch model's folder, read back as any other tool would read it."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from vt_ray.config import ConfigError, ModelConfig
from vt_ray.data.makers import SUBDOMAINS, make_problems
from vt_ray.engines.base_model import prepare_base_model

SMALL = ModelConfig(hidden_size=64, num_layers=1, num_heads=2, intermediate_size=64)


@pytest.fixture(scope="module")
def problems():
    return [p for subdomain in SUBDOMAINS for p in make_problems(subdomain, "train", 40, seed=0)]


@pytest.fixture(scope="module")
def folder(problems, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    corpus = [text for p in problems for text in (p.question, *(s.text for s in p.solutions))]
    prepare_base_model(SMALL, corpus, 0, folder)
    return folder


def test_tokenizer_fits_the_model_and_gives_every_text_back(folder, problems):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) <= AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    for problem in problems:
        for solution in problem.solutions:
            ids = tokenizer(solution.text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == solution.text
            assert len(ids) < len(solution.text)


def test_digits_stand_alone(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer("90210", add_special_tokens=False)["input_ids"]) == 5


def test_prompt_ends_where_the_assistant_begins_and_stops_at_eos(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2+2?"}], add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.decode(ids) == "<|user|>2+2?<|assistant|>"
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|end|>"


def test_same_seed_gives_the_same_weights(folder, tmp_path, problems):
    corpus = [text for p in problems for text in (p.question, *(s.text for s in p.solutions))]
    prepare_base_model(SMALL, corpus, 0, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_missing_model_is_named_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match="model.path='/nowhere/model'.*Give a folder"):
        prepare_base_model(ModelConfig(source="hf", path="/nowhere/model"), [], 0, tmp_path)
