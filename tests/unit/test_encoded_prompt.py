"""The prompt that dry_run and report show, token by token."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from vt_ray.benchmarks import Benchmark
from vt_ray.config import DataConfig, ModelConfig
from vt_ray.data.benchmark_problems import BenchmarkProblems
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.engines.base_model import prepare_base_model
from vt_ray.records import Problem
from vt_ray.report.encoded_prompt import (
    WIDTH,
    encoded_prompt,
    print_prompt,
    prompt_sentences,
    recorded_prompt,
    token_lines,
)
from vt_ray.report.run_page.sections import prompt_section
from vt_ray.report.run_record import read_run
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import RunPaths

SMALL = {"hidden_size": 32, "num_layers": 1, "num_heads": 1, "intermediate_size": 32}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    prepare_base_model(ModelConfig(**SMALL, chat_template="think"), ["What is 1+1?"], 0, folder)
    return PromptEncoder(AutoTokenizer.from_pretrained(folder), DataConfig(math_suffix=" Box it.", system="Be brief."))


def sets(*train, test=()):
    return ProblemSets(list(train), [], list(test))


def problem(question="What is 1+1?", source="mine.jsonl"):
    return Problem("q", "algebra", "math", question, "2", source=source, row=3)


def test_the_tokens_are_those_of_the_prompt(encoder):
    shown = encoded_prompt(encoder, sets(problem(), problem("other")))
    assert shown["ids"] == encoder.chat_ids(problem())
    assert "".join(shown["tokens"]) == shown["text"] == encoder.tokenizer.decode(shown["ids"])
    assert shown["text"].startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert shown["text"].endswith("What is 1+1? Box it.<|im_end|>\n<|im_start|>assistant\n<think>\n")
    (sentence,) = prompt_sentences(shown)
    assert f"mine.jsonl, row 3 has {len(shown['ids'])} tokens. A response ends with <|im_end|> (id" in sentence


def test_an_evaluation_shows_a_prompt_of_a_benchmark_in_its_own_format(encoder):
    exam = Benchmark("exam", suffix=" Answer with a letter.", system="Think.")
    hidden = BenchmarkProblems(replace(exam, name="gpqa"), (problem(source="gpqa_diamond.csv"),))
    benchmarks = (hidden, BenchmarkProblems(exam, (problem("Which one?"),)))
    shown = encoded_prompt(encoder, replace(sets(), benchmarks=benchmarks))
    assert shown["text"].startswith("<|im_start|>system\nThink.<|im_end|>")
    assert "Which one? Answer with a letter.<|im_end|>" in shown["text"]
    assert not encoded_prompt(encoder, replace(sets(), benchmarks=(hidden,)))
    assert "What is 1+1?" in encoded_prompt(encoder, replace(sets(problem()), benchmarks=benchmarks))["text"]


def test_each_token_has_its_id_and_quotes(encoder):
    shown = encoded_prompt(encoder, sets(problem("x " * 200)))
    lines = token_lines(shown)
    start = encoder.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert lines[0].startswith(f'{start} "<|im_start|>"')
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.count(f'{start} "<|im_start|>"') for line in lines) == 3


def test_an_end_of_the_template_on_which_generation_does_not_stop_is_named(encoder):
    tokenizer = AutoTokenizer.from_pretrained(encoder.tokenizer.name_or_path)
    tokenizer.eos_token = "<|endoftext|>"
    shown = encoded_prompt(PromptEncoder(tokenizer, DataConfig()), sets(problem()))
    assert "ends a response with <|im_end|> instead" in prompt_sentences(shown)[1]


def test_questions_of_gpqa_are_never_shown(encoder):
    hidden = problem("secret", source="/data/GPQA_diamond.csv")
    assert encoded_prompt(encoder, sets(hidden, test=[hidden])) == {}
    assert "secret" not in str(encoded_prompt(encoder, sets(hidden, test=[hidden, problem()])))
    assert encoded_prompt(encoder, sets(replace(problem("secret"), meta={"canary": True}))) == {}


def test_dry_run_prints_text_and_tokens_without_control_characters(encoder, capsys):
    print_prompt(encoded_prompt(encoder, sets(problem("a [red]b[/] \x1b[31m é 數"))))
    printed = capsys.readouterr().out
    assert "  | a [red]b[/] ␛[31m é 數 Box it." in printed and "\x1b[31m" not in printed
    assert '"<|im_end|>"' in printed
    print_prompt({})
    assert "no prompt to show" in capsys.readouterr().out


def test_the_report_shows_the_recorded_prompt(encoder, tmp_path):
    assert recorded_prompt(RunPaths(tmp_path).prompt) == {}
    assert "has not recorded a prompt" in prompt_section(read_run(tmp_path)).text[0]
    write_json(RunPaths(tmp_path).prompt, encoded_prompt(encoder, sets(problem())))
    section = prompt_section(read_run(tmp_path))
    assert "What is 1+1? Box it." in section.code[0][1] and '"<|im_end|>"' in section.code[1][1]
    assert recorded_prompt(RunPaths(tmp_path).prompt)["eos_token"] == "<|im_end|>"
