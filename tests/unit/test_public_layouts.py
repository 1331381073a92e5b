"""The first rows of the public files of the field, as published: read right, or refused with the right reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vt_ray.config import DataSource
from vt_ray.data.problem_rows import ProblemFileError, read_rows
from vt_ray.data.readers import read_problem_rows
from vt_ray.verify.gold_check import gold_faults

PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data" / "layouts"
pytestmark = pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public layouts are not at {PUBLIC}")

STDIO = {"type": "stdio", "compare": "decimal", "cases": [{"input": "3\n", "output": "9\n"}]}
SQUARES = {**STDIO, "cases": [*STDIO["cases"], {"input": "4\n", "output": "16\n"}]}
SQUARE = "Read n, print its square."
TWO = {"kind": "math", "question": "What is $1+1$?", "answer": "2"}

# file: (layout, rows, questions, fields of the first problem)
READ: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "acecode.jsonl": ("acecode", 1, 1, {"kind": "code", "question_id": "oss_1"}),
    "aime24_qwen.jsonl": ("math", 3, 3, {"kind": "math", "answer": "204"}),
    "amc23.jsonl": ("math", 3, 3, {"kind": "math", "answer": "27"}),
    "apps.parquet": ("apps", 3, 1, {"kind": "code", "question": SQUARE, "tests": SQUARES, "question_id": "apps/0"}),
    "arc_hf.parquet": ("arc", 3, 1, {"kind": "choice", "answer": "B", "options": ("a", "b", "c", "d")}),
    "bbh_date.json": ("text_choice", 250, 250, {"kind": "choice", "answer": "B", "options": 6}),
    "big_math_rl.parquet": ("math", 3, 3, TWO),
    "code_contests_hf.parquet": (
        "code_contests",
        3,
        1,
        {"question": SQUARE, "question_id": "0_A", "tests.time_limit_s": 2.0, "tests.memory_mb": 244, "cases": 3},
    ),
    "csqa_dev.jsonl": (
        "commonsense_qa",
        3,
        3,
        {"kind": "choice", "answer": "A", "options": ("bank", "library", "department store", "mall", "new york")},
    ),
    "dapo_math_17k.parquet": ("dapo", 33, 2, {"kind": "math", "answer": "236"}),
    "deepcoder_lcbv5.parquet": (
        "code",
        3,
        1,
        {
            "tests": {
                "type": "call",
                "function": "sq",
                "class": "Solution",
                "cases": [{"args": [3], "expected": 9}],
            }
        },
    ),
    "deepcoder_primeintellect.parquet": ("code", 3, 1, {"question": SQUARE, "tests": SQUARES}),
    "deepcoder_taco.parquet": ("code", 3, 1, {"question": SQUARE, "tests": SQUARES}),
    "deepcoder_taco_fn.parquet": (
        "code",
        3,
        1,
        {
            "tests": {
                "type": "call",
                "function": "sq",
                "class": None,
                "cases": [{"args": [3], "expected": 9}, {"args": [4], "expected": 16}],
            }
        },
    ),
    "deepmath_103k.parquet": ("deepmath", 3, 3, {**TWO, "subdomain": "number theory"}),
    "deepmath_roll.jsonl": ("roll_math", 3, 3, {"question_id": "deepmath_103k/1", "answer": "1"}),
    "deepscaler_preview.json": ("math", 3, 3, TWO),
    "deepscaler_verl.parquet": ("verl", 3, 3, {"answer": r"\frac{3}{7}"}),
    "eurus2_rl_code.parquet": ("verl_code", 3, 1, {"kind": "code", "question": SQUARE, "tests": SQUARES}),
    "eurus2_rl_math.parquet": ("verl", 3, 3, TWO),
    "gpqa_diamond.csv": ("gpqa", 3, 1, {"kind": "choice", "question_id": "rec0", "options": 4}),
    "gpqa_diamond_hf.parquet": ("gpqa", 3, 1, {"kind": "choice", "question_id": "rec0", "options": 4}),
    "gsm8k_hf.parquet": ("gsm8k", 3, 3, {**TWO, "answer": "1"}),
    "hf4_aime_2024.parquet": ("math", 3, 3, TWO),
    "hf4_math500.jsonl": (
        "math_500",
        3,
        3,
        {"subdomain": "precalculus", "level": 2, "answer": r"\left( 3, \frac{\pi}{2} \right)"},
    ),
    "kodcode_sft_r1.json": ("kodcode", 3, 3, {"kind": "code", "question_id": "Leetcode_00000000_C", "level": 2}),
    "leetcodedataset.jsonl": ("code", 3, 3, {"question_id": "leetcodedataset/3243", "tests.type": "check"}),
    "limo.jsonl": ("question_answer", 3, 3, TWO),
    "livecodebench.jsonl": (
        "live_code_bench",
        3,
        2,
        {"question_id": "abc301_a", "question": SQUARE, "tests.type": "stdio"},
    ),
    "math_hf.parquet": ("math_boxed", 3, 3, {**TWO, "level": 5, "subdomain": "statistics"}),
    "mathai_aime25.jsonl": ("math", 3, 3, TWO),
    "matharena_hmmt_feb_2025.parquet": ("math", 3, 3, TWO),
    "mbpp.jsonl": ("mbpp", 3, 3, {"kind": "code", "question_id": "mbpp/1", "tests.type": "check"}),
    "minerva_qwen.jsonl": ("math_boxed", 3, 3, {"answer": "1.6"}),
    "mmlu_pro.parquet": ("mmlu_pro", 3, 1, {"kind": "choice", "answer": "I", "options": 10, "subdomain": "physics"}),
    "olympiadbench_qwen.jsonl": ("olympiad_bench", 3, 3, {"answer": "2", "subdomain": "combinatorics"}),
    "open_instruct_rlvr.jsonl": ("open_instruct", 3, 3, {"question": "What is 1 + 2?", "answer": "3"}),
    "openai_humaneval.parquet": ("code", 3, 1, {"question_id": "HumanEval/0", "tests.entry_point": "sq"}),
    "openmathreasoning.parquet": ("open_math_reasoning", 3, 3, TWO),
    "openr1_math_220k.parquet": ("math", 3, 3, TWO),
    "orz_57k.json": ("orz", 3, 3, TWO),
    "orz_eval_math500.json": ("orz_eval", 3, 3, {"answer": r"\left( 3, \frac{\pi}{2} \right)"}),
    "physics_textonly.jsonl": ("physics", 3, 3, {"answer": r"L^2 = 2 \hbar^2, L_z = 0"}),
    "rllm_codeforces.json": ("code", 3, 3, {"tests.time_limit_s": 1.0, "tests.memory_mb": 256}),
    "rllm_lcb.json": ("code", 3, 3, {"tests.type": "stdio", "cases": 2}),
    "roll_gpqa_boxed.jsonl": ("roll_choice", 3, 3, {"kind": "choice", "answer": "B", "options": 4}),
    "s1k.parquet": ("s1k", 3, 3, TWO),
    "scibench_quan.json": ("scibench", 3, 3, {"answer": r"15.425 \mathrm{eV}"}),
    "skywork_or1_code.parquet": ("verl_code", 3, 1, {"question": SQUARE, "tests": SQUARES}),
    "skywork_or1_math.parquet": ("verl", 3, 3, TWO),
    "strategyqa.json": ("yes_no", 3, 3, {"kind": "choice", "options": ("Yes", "No"), "answer": "B"}),
    "taco.parquet": ("apps", 3, 1, {"question": SQUARE, "tests": {**SQUARES, "time_limit_s": 1.0, "memory_mb": 256}}),
    "verl_gsm8k.parquet": ("verl", 3, 3, TWO),
    "vibethinker_gpqa.parquet": ("verl_choice", 3, 3, {"kind": "choice", "answer": "A", "options": 4}),
    "x_leetcodedataset_id_as_text.jsonl": (
        "code",
        3,
        3,
        {"question_id": "x_leetcodedataset_id_as_text/3243", "tests.type": "check"},
    ),
}
# r^2_{He\\,g.s.} in one of its golds is not a formula that the verifier can read.
FAULTY_GOLDS = {"physics_textonly.jsonl": 1}
TRACES = "no known layout has the fields"
REFUSED = {
    "alpaca.jsonl": TRACES,
    "am_r1_distilled.jsonl": TRACES,
    "light_r1_sft.json": TRACES,
    "logic_rl_kk.parquet": "row 1: field 'reward_model.ground_truth' is of type dict",
    "numina_1_5.parquet": "row 2: field 'answer' is 'proof': .*drop_unanswered",
    "opencodereasoning.parquet": TRACES,
    "openthoughts3.parquet": TRACES,
    "openthoughts_114k.parquet": TRACES,
    "prompt_completion.jsonl": TRACES,
    "prompt_response_verl_sft.jsonl": "row 1: answer ends in .*expected the working, then '#### N'",
    "sharegpt_messages_multi_turn.jsonl": TRACES,
}


def test_each_file_is_listed() -> None:
    there = {path.name for path in PUBLIC.iterdir() if path.suffix not in (".md", ".zst")}
    assert there - set(READ) - set(REFUSED) == set()


@pytest.mark.parametrize("name", READ)
def test_a_public_file_is_read_right(name: str) -> None:
    layout, count, questions, expected = READ[name]
    read = read_problem_rows(read_rows(PUBLIC / name))
    assert not read.conflicts
    assert (dict(read.layouts), read.rows) == ({layout: count}, count)
    assert len({(p.question, p.system) for p in read.problems}) == questions
    first = read.problems[0]
    assert first.question and (first.answer or first.tests)
    assert sum(map(bool, gold_faults(read.problems))) == FAULTY_GOLDS.get(name, 0)
    for field, value in expected.items():
        assert found(first, field, value) == value, field


def found(problem: Any, field: str, value: Any) -> Any:
    """The field of a problem; "tests.type" reaches into its tests, and a number counts the options."""
    if field == "cases":
        return len(problem.tests["cases"])
    if field.startswith("tests."):
        return problem.tests[field.removeprefix("tests.")]
    return len(problem.options) if field == "options" and isinstance(value, int) else getattr(problem, field)


@pytest.mark.parametrize("name", REFUSED)
def test_a_public_file_without_gradable_problems_is_refused(name: str) -> None:
    with pytest.raises(ProblemFileError, match=f"{name}.*{REFUSED[name]}"):
        read_problem_rows(read_rows(PUBLIC / name))


def test_a_public_file_keeps_its_good_rows_on_demand() -> None:
    read = read_problem_rows(read_rows(PUBLIC / "numina_1_5.parquet"), DataSource(drop_unanswered=True))
    assert [p.row for p in read.problems] == [1] and read.left_out == {"no gold answer": 2}
