"""Public files of SFT traces in the folder VT_RAY_PUBLIC_DATA, where it is set: layouts, counts and flags."""

import csv
import json
import os
from pathlib import Path

import pytest

from vt_ray.data.traces.table import TRACE_LAYOUTS, detect_trace_layout

PUBLIC = Path(os.environ.get("VT_RAY_PUBLIC_DATA", "/nonexistent"))
# File -> layout, traces in its first three rows, of which with reasoning, of which correct (None: no flags).
FILES = {
    "layouts/alpaca.jsonl": ("alpaca", 3, 3, None),
    "layouts/am_r1_distilled.jsonl": ("messages", 3, 3, None),
    "layouts/kodcode_sft_r1.json": ("kodcode", 3, 3, 3),
    "layouts/light_r1_sft.json": ("conversations", 3, 3, None),
    "layouts/limo.jsonl": ("limo", 3, 0, None),
    "layouts/opencodereasoning.parquet": ("opencodereasoning", 3, 3, None),
    "layouts/openmathreasoning.parquet": ("openmathreasoning", 3, 3, None),
    "layouts/openr1_math_220k.parquet": ("openr1", 6, 6, 3),
    "layouts/openthoughts3.parquet": ("conversations", 3, 3, None),
    "layouts/openthoughts_114k.parquet": ("conversations", 3, 3, None),
    "layouts/prompt_completion.jsonl": ("prompt_completion", 3, 3, None),
    "layouts/prompt_response_verl_sft.jsonl": ("question_answer", 3, 3, None),
    "layouts/s1k.parquet": ("s1k", 3, 3, None),
    "layouts/sharegpt_messages_multi_turn.jsonl": ("messages", 6, 3, None),
    "sft/kodcode_r1_algorithm.json": ("kodcode", 31, 31, 23),
    "sft/kodcode_r1_leetcode.json": ("kodcode", 27, 27, 21),
    "sft/kodcode_r1_prefill.json": ("kodcode", 172, 172, 144),
    "sft/math_cot_100_samples.jsonl": ("qwen_math_evaluation", 800, 0, 728),
    "sft/physics_r1_traces_correct.jsonl": ("openr1", 316, 316, 316),
}


def public_rows(path):
    if not path.is_file():
        pytest.skip("VT_RAY_PUBLIC_DATA names no folder with this file")
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open() as file:
            return list(csv.DictReader(file))
    return json.loads(path.read_text()) if path.suffix == ".json" else list(map(json.loads, path.open()))


@pytest.mark.parametrize("name", FILES)
def test_public_files_are_read(name):
    rows = public_rows(PUBLIC / name)
    layout, count, reasoned, correct = FILES[name]
    assert {detect_trace_layout(row).name for row in rows} == {layout}
    traces = [trace for row in rows for trace in TRACE_LAYOUTS[layout].read(row)]
    flags = [t.correct for t in traces if t.correct is not None]
    assert (len(traces), sum(bool(t.reasoning) for t in traces)) == (count, reasoned)
    assert (sum(flags) if flags else None) == correct
    assert not any("<think>" in t.response or "begin_of_thought" in t.response for t in traces)


def test_no_public_file_of_problems_is_taken_for_traces():
    files = [path for path in sorted((PUBLIC / "layouts").glob("*")) if path.suffix in (".json", ".jsonl", ".parquet")]
    for path in files or pytest.skip("VT_RAY_PUBLIC_DATA names no folder"):
        rows = public_rows(path)
        if f"layouts/{path.name}" not in FILES and isinstance(rows, list) and isinstance(rows[0], dict):
            assert detect_trace_layout(rows[0]) is None, path.name
