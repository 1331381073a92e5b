"""Problems as token ids, with a tokenizer of one id per character."""

import itertools
from dataclasses import replace

import pytest

from vt_ray.config import ConfigError, DataConfig
from vt_ray.data.prompts import PromptEncoder, refuse_foreign_tokenizer, sample_seed
from vt_ray.records import Problem, Solution

EOS = 3


class CharacterTokenizer:
    """`<` + text + `>` is a user's turn."""

    eos_token_id = EOS

    def __call__(self, text, add_special_tokens=True):
        if isinstance(text, list):
            return {"input_ids": [self(t, add_special_tokens)["input_ids"] for t in text]}
        ids = [ord(c) for c in text]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        assert add_generation_prompt
        assert not return_dict
        return [i for m in messages for i in self("<" + m["content"] + ">", add_special_tokens=False)["input_ids"]]

    def decode(self, ids):
        return "".join(map(chr, ids))


def problem(question_id="algebra/1", question="1+1?", kind="math", solutions=()):
    return Problem(question_id, "algebra", kind, question, "2", solutions=solutions)


def encoder(**data):
    return PromptEncoder(CharacterTokenizer(), DataConfig(**data))


def text(ids):
    return "".join(chr(i) for i in ids)


def test_the_suffix_of_the_kind_stands_inside_the_turn():
    e = encoder(math_suffix=" M", code_suffix=" C")
    assert text(e.prompt_ids(problem())) == "<1+1? M>"
    assert text(e.prompt_ids(problem(kind="choice"))) == "<1+1? M>"
    assert text(e.prompt_ids(problem(kind="code"))) == "<1+1? C>"


def test_a_prompt_over_the_limit_is_named():
    e = encoder(max_prompt_tokens=8)
    assert len(e.prompt_ids(problem(question="x" * 6))) == 8
    with pytest.raises(ConfigError, match=r"geometry/17.*9 tokens.*8.*max_prompt_tokens"):
        e.prompt_ids(problem("geometry/17", "x" * 7))


class BytesTokenizer:
    """One token a byte, after two for the chat template. Counts the texts that it splits."""

    def __init__(self):
        self.split = 0

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        chat = "<" + messages[0]["content"] + ">"
        self.split += tokenize
        return list(chat.encode()) if tokenize else chat


@pytest.mark.parametrize("letter", ["x", "é", "数", "🚢"])
def test_a_prompt_fits_if_it_has_at_most_the_tokens_of_the_limit(letter):
    e = PromptEncoder(BytesTokenizer(), DataConfig(max_prompt_tokens=30, math_suffix=""))
    for count in range(1, 40):
        asked = problem(question=letter * count)
        assert e.fits(asked) == (len(e.chat_ids(asked)) <= 30), count


def test_short_ascii_prompts_are_not_split_into_tokens():
    e = PromptEncoder(BytesTokenizer(), DataConfig(max_prompt_tokens=30, math_suffix=""))
    assert all(e.fits(problem(question="x" * count)) for count in range(28)) and e.tokenizer.split == 0
    assert e.fits(problem(question="x" * 28)) and not e.fits(problem(question="x" * 29)) and e.tokenizer.split == 2


class SystemTokenizer(CharacterTokenizer):
    """Writes a system message as [text]."""

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        marks = {"system": "[%s]", "user": "<%s>"}
        return [ord(c) for m in messages for c in marks[m["role"]] % m["content"]]


class DroppingTokenizer(CharacterTokenizer):
    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        users = [m for m in messages if m["role"] == "user"]
        return super().apply_chat_template(users, add_generation_prompt, return_dict)


class RefusingTokenizer(CharacterTokenizer):
    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        if messages[0]["role"] == "system":
            raise ValueError("System role not supported")
        return super().apply_chat_template(messages, add_generation_prompt, return_dict)


@pytest.mark.parametrize(
    ("tokenizer", "prompt"),
    [
        (SystemTokenizer, "[Be brief.]<1+1?>"),
        (DroppingTokenizer, "<Be brief.\n\n1+1?>"),
        (RefusingTokenizer, "<Be brief.\n\n1+1?>"),
    ],
)
def test_a_system_message_is_part_of_every_prompt(tokenizer, prompt):
    e = PromptEncoder(tokenizer(), DataConfig())
    assert text(e.prompt_ids(replace(problem(), system="Be brief."))) == prompt
    assert text(e.prompt_ids(problem())) == "<1+1?>"


def test_seeds_depend_on_key_question_and_sample_alone():
    e = encoder()
    a, b = problem("a"), problem("b")
    together = e.prompts([a, b], 4, (0, "math", 3))
    apart = e.prompts([b], 2, (0, "math", 3)) + e.prompts([a], 8, (0, "math", 3))
    assert together[1].seeds[:2] == apart[0].seeds
    assert together[0].seeds == apart[1].seeds[:4]
    reworded = encoder(math_suffix="!").prompts([problem("a", "2+0?")], 4, (0, "math", 3))
    assert reworded[0].seeds == together[0].seeds


def test_every_sample_of_every_question_of_every_step_has_a_seed_of_its_own():
    e = encoder()
    problems = [problem(f"q{i}") for i in range(20)]
    keys = [(seed, stage, step) for seed in (0, 1) for stage in ("s", "t") for step in range(5)]
    seeds = [s for key in keys for p in e.prompts(problems, 8, key) for s in p.seeds]
    assert all(0 <= s < 2**31 for s in seeds)
    # 3200 draws of 31 bits: more than one collision by chance has odds below one in a thousand.
    assert len(seeds) - len(set(seeds)) <= 1


def test_seeds_stay_what_they_were():
    # The upper 31 of the first 32 bits of the sha256 of "(0, 'math', 3, 'a', 0)", in any process; another value
    # would make published runs irreproducible.
    assert encoder().prompts([problem("a")], 1, (0, "math", 3))[0].seeds == (1776710453,)
    parts = [sample_seed(*key) for key in itertools.permutations((1, "1", "a"))]
    assert len(set(parts)) == len(parts)
    assert sample_seed("ab", "c") != sample_seed("a", "bc")


def test_worked_solutions_end_with_eos_and_choose_styles():
    p = problem(solutions=(Solution("direct", "2"), Solution("steps", "1+1=2")))
    e = encoder()
    both = list(e.solutions([p], []))
    assert [text(s.completion_ids[:-1]) for s in both] == ["2", "1+1=2"]
    assert all(s.completion_ids[-1] == EOS for s in both)
    assert all(text(s.prompt_ids) == "<1+1?>" for s in both)
    assert [text(s.completion_ids[:-1]) for s in e.solutions([p], ["steps"])] == ["1+1=2"]
    assert list(e.solutions([p], ["checked"])) == []


def test_the_fingerprint_is_the_beginning_of_question_and_solution():
    p = problem(solutions=(Solution("direct", "two"), Solution("steps", "other")))
    assert text(encoder().fingerprint(p, 8)) == "<1+1?>tw"
    assert text(encoder().fingerprint(problem(), 32)) == "<1+1?>2"


def test_a_tokenizer_of_another_model_is_named_before_anything_is_computed():
    refuse_foreign_tokenizer(151_665, 151_936, "qwen")
    with pytest.raises(ConfigError, match="tokenizer of mine has 300 tokens, its model embeds 256"):
        refuse_foreign_tokenizer(300, 256, "mine")
