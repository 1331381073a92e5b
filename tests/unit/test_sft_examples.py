"""SFT's examples on disk: the same batches as from lists in memory, 4 bytes a token."""

import json
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.config import ConfigError, DataConfig, SftConfig
from vt_ray.data import prompts
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.stream import batch_indices
from vt_ray.records import Problem, Solution
from vt_ray.spectrum_phase.examples import encoded_examples, question_key
from vt_ray.spectrum_phase.sft import run_sft

EOS = 3


class LettersTokenizer:
    """One token a letter; counts the texts that it encodes."""

    eos_token_id = EOS

    def __init__(self):
        self.texts = 0

    def __call__(self, texts, add_special_tokens):
        self.texts += len(texts)
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    def apply_chat_template(self, messages, add_generation_prompt, return_dict):
        return [ord(letter) for letter in f"<{messages[-1]['content']}>"]

    def decode(self, ids):
        return "".join(map(chr, ids))


def problem(i, *texts):
    styles = ("direct", "steps", "checked")
    solutions = tuple(Solution(style, text) for style, text in zip(styles, texts, strict=False))
    return Problem(f"q{i}", "algebra", "math", f"question {i}", "1", solutions=solutions)


def sets(problems):
    return ProblemSets(problems, [], [])


def encoder():
    return PromptEncoder(LettersTokenizer(), DataConfig())


def in_memory(problems, sft):
    """What SFT took before there was a file: every sequence as two tuples of ids."""
    made = [
        (tuple(ord(c) for c in f"<{p.question}>"), (*(ord(c) for c in s.text), EOS))
        for p in problems
        for s in p.solutions
        if not sft.styles or s.style in sft.styles
    ]
    return [(prompt, completion) for prompt, completion in made if len(prompt) + len(completion) <= sft.max_tokens]


def plain(sequence):
    return sequence.prompt_ids, tuple(sequence.completion_ids.tolist())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.text("abc", max_size=40), max_size=3), min_size=1, max_size=12),
    st.sampled_from([[], ["direct"], ["steps", "checked"]]),
    st.integers(1, 100),
)
def test_the_file_holds_what_the_lists_held(tmp_path_factory, texts, styles, chunk_chars):
    problems = [problem(i, *of_one) for i, of_one in enumerate(texts)]
    sft = SftConfig(styles=styles, max_tokens=40)
    expected = in_memory(problems, sft)
    folder = tmp_path_factory.mktemp("sft") / "examples"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "CHUNK_CHARS", chunk_chars)
        if not expected:
            with pytest.raises(ConfigError, match="no worked solution of styles .* fits"):
                encoded_examples(encoder(), sets(problems), sft, folder)
            return
        examples = encoded_examples(encoder(), sets(problems), sft, folder)
    assert [plain(e) for e in examples] == expected
    assert plain(examples[-1]) == expected[-1] and [plain(e) for e in examples[1:3]] == expected[1:3]
    assert (folder / "tokens.int32").stat().st_size == 4 * sum(len(p) + len(c) for p, c in expected)


class NotingLearner:
    def __init__(self):
        self.steps = []

    def sft_step(self, sequences):
        self.steps.append([(plain(s), s.token_weight) for s in sequences])
        return {"loss": 1.0, "tokens": 1}

    def save_hf(self, folder):
        (folder / "model").write_text("")

    def save_state(self, folder):
        (folder / "state").write_text("")


class OneLearner:
    def __init__(self):
        self.only = NotingLearner()

    @contextmanager
    def learner(self, *arguments):
        yield self.only

    def publish(self, line):
        assert line["loss"] == 1.0


def test_every_step_takes_the_batch_that_its_seed_drew_from_lists(tmp_path):
    problems = [problem(i, "a" * i, "b" * (i % 7), "c" * 30) for i in range(30)]
    sft = SftConfig(styles=["direct", "steps"], max_tokens=40, steps=9, batch_size=8, checkpoint_every=9)
    cluster = OneLearner()
    examples = encoded_examples(encoder(), sets(problems), sft, tmp_path / "e")
    run_sft(cluster, tmp_path, examples, sft, 5, tmp_path / "sft")
    lists = in_memory(problems, sft)
    assert len(lists) < 60
    for step, got in enumerate(cluster.only.steps):
        batch = [lists[i] for i in batch_indices(len(lists), 8, step, (5, "sft"))]
        assert [sequence for sequence, _ in got] == batch
        assert {weight for _, weight in got} == {1 / sum(len(completion) for _, completion in batch)}


def test_solutions_over_the_limit_are_counted_on_the_screen_and_in_the_record(tmp_path, capsys):
    problems = [problem(i, "a" * (10 if i < 3 else 1000)) for i in range(5)]
    examples = encoded_examples(encoder(), sets(problems), SftConfig(max_tokens=60), tmp_path / "e")
    assert len(examples) == 3
    said = capsys.readouterr().out
    assert "2 of 5 solutions are longer than spectrum.sft.max_tokens=60 (the longest has 1,013 tokens" in said
    assert "left out: raise it" in said
    record = json.loads((tmp_path / "e" / "examples.json").read_text())
    assert record == {"solutions": 5, "examples": 3, "left_out": 2, "longest": 1013, "max_tokens": 60, "tokens": 69}


def test_no_solution_within_the_limit_is_refused_with_the_limit_that_would_do(tmp_path):
    problems = [problem(i, "a" * 1000) for i in range(2)]
    with pytest.raises(ConfigError, match=r"max_tokens=60 \(2 of 2 .*: raise it to 1013"):
        encoded_examples(encoder(), sets(problems), SftConfig(max_tokens=60), tmp_path / "e")


def test_a_finished_encoding_is_reused_and_an_interrupted_or_cut_one_is_done_again(tmp_path):
    problems, sft, folder = [problem(i, "abc") for i in range(4)], SftConfig(), tmp_path / "e"

    def encode():
        """The number of texts that were encoded for it."""
        mine = encoder()
        assert len(encoded_examples(mine, sets(problems), sft, folder)) == 4
        return mine.tokenizer.texts

    class Interrupted(LettersTokenizer):
        def __call__(self, texts, add_special_tokens):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded_examples(PromptEncoder(Interrupted(), DataConfig()), sets(problems), sft, folder)
    assert (encode(), encode()) == (4, 0)
    tokens = folder / "tokens.int32"
    tokens.write_bytes(tokens.read_bytes()[:-4])
    assert (encode(), encode()) == (4, 0)
    ends = folder / "ends.npy"
    for cut in (ends.read_bytes()[:-16], b""):
        ends.write_bytes(cut)
        assert (encode(), encode()) == (4, 0)


def test_memory_does_not_grow_with_the_number_of_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "CHUNK_CHARS", 2_000)
    problems = [problem(i, "a" * 900) for i in range(1_000)]
    tracemalloc.start()
    try:
        examples = encoded_examples(encoder(), sets(problems), SftConfig(max_tokens=1_000), tmp_path / "e")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tokens = sum(len(examples[i]) for i in range(1_000))
    assert tokens > 900_000
    # Lists of ids would take at least 8 bytes a token; the arrays of all tokens in memory 4.
    assert peak < tokens
    assert examples[0].completion_ids.dtype == np.int32


def test_questions_that_differ_in_an_operator_have_keys_of_their_own():
    asked = ["What is 6 × 2?", "What is 6 ÷ 2?", "What is 6 2?", "What is 6! + 1?", "What is 6 + 1?", "(n!)", "(n)"]
    asked += [r"$\frac{6!}{3!}$", r"$\frac{6}{3}$", "$6!$", "$6$", "k!(n-k)!", "k(n-k)!"]
    assert len({question_key(q) for q in asked}) == len(asked)
    assert question_key("Find it, hurry!") == question_key("find it hurry")
    assert question_key(r"f\!\left(x\right)") == question_key(r"f\left(x\right)")
