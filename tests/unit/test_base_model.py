"""The scratch model's folder, read back as any other tool would read it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from vt_ray.config import ConfigError, ModelConfig
from vt_ray.data.makers import SUBDOMAINS, make_problems
from vt_ray.engines.base_model import prepare_base_model, tokenizer_at_hand

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
    with pytest.raises(ConfigError, match="model.path='/nowhere/model'.*check the path"):
        prepare_base_model(ModelConfig(source="hf", path="/nowhere/model"), [], 0, tmp_path)


# --- folders that are no model, generation configs that transformers refuses ------------------------------------


@pytest.mark.parametrize(
    ("values", "kept", "said"),
    [
        (
            {"do_sample": False, "temperature": 0.6, "top_p": 0.9},
            {"do_sample": True, "temperature": 0.6},
            "set to true",
        ),
        ({"temperature": 0.6}, {"do_sample": True, "temperature": 0.6}, "set to true"),
        ({"do_sample": False, "top_k": 20}, {"do_sample": True, "top_k": 20}, "set to true"),
        ({"num_beams": 1, "early_stopping": True}, {"early_stopping": None}, "early_stopping"),
        ({"max_new_tokens": -1}, {"max_new_tokens": None}, "max_new_tokens"),
        ("no JSON", {}, "not valid"),
        ({"do_sample": True, "temperature": 0.6}, {"temperature": 0.6}, ""),
    ],
)
def test_a_generation_config_that_transformers_refuses_is_corrected(folder, tmp_path, capsys, values, kept, said):
    mine = shutil.copytree(folder, tmp_path / "mine")
    ids = {"eos_token_id": 3, "pad_token_id": 0}
    (mine / "generation_config.json").write_text(values if isinstance(values, str) else json.dumps(values | ids))
    prepare_base_model(ModelConfig(source="hf", path=str(mine)), [], 0, tmp_path / "base")
    saved = json.loads((tmp_path / "base" / "generation_config.json").read_text())
    for name, value in kept.items():
        assert saved.get(name) == value
    if isinstance(values, dict):
        assert saved["eos_token_id"] == 3
    printed = capsys.readouterr().out
    assert said in printed and bool(said) == ("generation_config.json" in printed)
    AutoModelForCausalLM.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "again")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f), "is not a folder on this machine"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: [file.unlink() for file in f.glob("tokenizer*")], "has no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_before_anything_starts(folder, tmp_path, spoil, said):
    mine = shutil.copytree(folder, tmp_path / "mine")
    assert tokenizer_at_hand(ModelConfig(source="hf", path=str(mine)), download=False) is not None
    spoil(mine)
    with pytest.raises(ConfigError, match=f"model.path='{mine}'.*{said}"):
        tokenizer_at_hand(ModelConfig(source="hf", path=str(mine)), download=True)


@pytest.mark.parametrize("path", ["./mine", "../mine", "a/b/c", "~/mine", "my model"])
def test_a_path_that_is_no_hub_name_is_not_asked_for_over_the_network(path):
    with pytest.raises(ConfigError, match="is not a folder on this machine"):
        tokenizer_at_hand(ModelConfig(source="hf", path=path), download=True)


def test_a_tokenizer_without_a_chat_template_is_refused_before_anything_starts(folder, tmp_path):
    mine = shutil.copytree(folder, tmp_path / "mine")
    (mine / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="needs an EOS token and a chat template"):
        tokenizer_at_hand(ModelConfig(source="hf", path=str(mine)), download=True)


def test_a_made_model_and_a_dry_run_need_no_model_at_hand():
    assert tokenizer_at_hand(ModelConfig(), download=True) is None
    assert tokenizer_at_hand(ModelConfig(source="hf", path="Qwen/Qwen2.5-Math-1.5B"), download=False) is None
    elsewhere = ModelConfig(source="hf", path="/on/the/cluster", parameters_b=1.5)
    assert tokenizer_at_hand(elsewhere, download=False) is None
    with pytest.raises(ConfigError, match="is not a folder on this machine"):
        tokenizer_at_hand(replace(elsewhere, parameters_b=0.0), download=False)
