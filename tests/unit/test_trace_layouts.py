"""Public layouts of SFT traces: each is recognized, and read into the same reasoning and response."""

from pathlib import Path

import pytest

from vt_ray.data.traces.reasoning import CUT, EMPTY, MALFORMED, completion_text, split_reasoning
from vt_ray.data.traces.table import TRACE_LAYOUTS, detect_trace_layout
from vt_ray.data.traces.trace import Message, Trace, TraceError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
Q, THOUGHT, ANSWER = "What is 3 + 4?", "Three and four.", "It is \\boxed{7}."
TAGGED = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
CHAT = [{"role": "user", "content": Q}, {"role": "assistant", "content": TAGGED}]
SHARE_GPT = [{"from": "human", "value": Q}, {"from": "gpt", "value": TAGGED}]
SKY = f"<|begin_of_thought|>\n{THOUGHT}\n<|end_of_thought|>\n<|begin_of_solution|>\n{ANSWER}\n<|end_of_solution|>"
SKY_SYSTEM = "Write the thought as <|begin_of_thought|> ... <|end_of_thought|>."

# data set -> (layout, fields, correctness flags). Fields that a reader ignores are shortened.
ROWS = {
    "OpenR1-Math": (
        "openr1",
        {
            "problem": Q,
            "solution": "By hand.",
            "answer": "7",
            "generations": [TAGGED, TAGGED, TAGGED],
            "correctness_math_verify": [True, False, False],
            "correctness_llama": [False, True, False],
            "finish_reasons": ["stop", "stop", "stop"],
            "is_reasoning_complete": [True, True, True],
            "messages": CHAT,
        },
        [True, True, False],
    ),
    "OpenR1-Math without the judge": (
        "openr1",
        {
            "problem": Q,
            "generations": [TAGGED, TAGGED],
            "correctness_math_verify": [False, True],
            "correctness_llama": None,
            "finish_reasons": None,
        },
        [False, True],
    ),
    "generations with an accuracy": ("openr1", {"problem": Q, "generations": [TAGGED], "accuracy": 1.0}, [True]),
    "OpenThoughts-114k": (
        "conversations",
        {
            "system": SKY_SYSTEM,
            "conversations": [{"from": "user", "value": Q}, {"from": "assistant", "value": SKY}],
        },
        [None],
    ),
    "OpenThoughts-114k, metadata": (
        "openthoughts_metadata",
        {"problem": Q, "deepseek_reasoning": THOUGHT, "deepseek_solution": ANSWER, "ground_truth_solution": "7"},
        [None],
    ),
    "OpenThoughts3": ("conversations", {"difficulty": 7, "domain": "math", "conversations": SHARE_GPT}, [None]),
    "s1K": (
        "s1k",
        {"question": Q, "solution": "7", "cot": None, "thinking_trajectories": [THOUGHT], "attempt": ANSWER},
        [None],
    ),
    "s1K-1.1": (
        "s1k_1_1",
        {
            "question": Q,
            "solution": "7",
            "deepseek_thinking_trajectory": THOUGHT,
            "deepseek_attempt": ANSWER,
            "deepseek_grade": "Yes",
            "gemini_thinking_trajectory": THOUGHT,
            "gemini_attempt": ANSWER,
            "gemini_grade": "No",
        },
        [True, False],
    ),
    "Light-R1": (
        "conversations",
        {"conversations": [{"from": "user", "value": Q}, {"from": "assistant", "value": TAGGED}]},
        [None],
    ),
    "AM-DeepSeek-R1-Distilled": (
        "messages",
        {
            "messages": [
                {"role": "user", "content": Q, "info": {"reference_answer": "7", "think_content": None}},
                {
                    "role": "assistant",
                    "content": f"<think>{THOUGHT}</think><answer>{ANSWER}</answer>",
                    "info": {"think_content": THOUGHT, "answer_content": ANSWER},
                },
            ]
        },
        [None],
    ),
    "NuminaMath-CoT": ("messages", {"problem": Q, "solution": TAGGED, "messages": CHAT}, [None]),
    "a key of its own, as in APIs": (
        "messages",
        {"messages": [CHAT[0], {"role": "assistant", "reasoning_content": THOUGHT, "content": ANSWER}]},
        [None],
    ),
    "content in parts": (
        "messages",
        {"messages": [CHAT[0], {"role": "assistant", "content": [{"type": "text", "text": TAGGED}]}]},
        [None],
    ),
    "OpenMathReasoning": (
        "openmathreasoning",
        {"problem": Q, "generated_solution": TAGGED, "expected_answer": "7", "inference_mode": "cot"},
        [None],
    ),
    "OpenCodeReasoning": (
        "opencodereasoning",
        {"id": "0", "input": Q, "output": TAGGED, "solution": "print(7)", "split": "train"},
        [None],
    ),
    "KodCode-V1-SFT-R1": ("kodcode", {"question": Q, "r1_correctness": "False", "conversations": SHARE_GPT}, [False]),
    "alpaca": ("alpaca", {"instruction": "What is", "input": "3 + 4?", "output": TAGGED}, [None]),
    "TRL, text": ("prompt_completion", {"prompt": Q, "completion": TAGGED}, [None]),
    "TRL, chats": ("prompt_completion", {"prompt": CHAT[:1], "completion": CHAT[1:]}, [None]),
    "prompt and response": ("prompt_completion", {"prompt": CHAT[:1], "response": TAGGED}, [None]),
    "verl": ("question_answer", {"question": Q, "answer": TAGGED}, [None]),
    "Qwen2.5-Math": (
        "qwen_math_evaluation",
        {"question": Q, "code": [TAGGED, TAGGED], "score": [True, False], "gt": "7"},
        [True, False],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_layout_gives_the_same_question_reasoning_and_response(name):
    expected, fields, flags = ROWS[name]
    layout = detect_trace_layout(fields)
    assert layout is TRACE_LAYOUTS[expected]
    traces = layout.read(fields)
    question = Q.replace("is 3", "is\n\n3") if expected == "alpaca" else Q
    assert [(t.question, t.reasoning, t.response, t.fault) for t in traces] == [(question, THOUGHT, ANSWER, "")] * len(
        flags
    )
    assert [t.correct for t in traces] == flags
    assert {t.text for t in traces} == {TAGGED}
    assert all(m.role != "system" for t in traces for m in t.messages)


def test_limo_has_its_reasoning_in_the_response():
    (trace,) = detect_trace_layout({"question": Q, "solution": ANSWER, "answer": "7"}).read(
        {"question": Q, "solution": ANSWER}
    )
    assert (trace.reasoning, trace.response, trace.text) == ("", ANSWER, ANSWER)


def test_every_layout_has_a_row_above_and_a_row_in_the_document():
    assert {layout for layout, _, _ in ROWS.values()} == TRACE_LAYOUTS.keys() - {"limo"}
    page = DOCS.read_text()
    for layout in TRACE_LAYOUTS.values():
        assert f"| `{layout.name}` |" in page and f"]({layout.url})" in page, layout.name


@pytest.mark.parametrize(
    "fields",
    [
        {"question": Q, "answer": "7"},  # a benchmark
        {"question": Q, "answer": "3 + 4 = 7\n#### 7"},  # GSM8K
        {"problem": Q, "solution": "By hand.", "answer": "7"},  # MATH
        {"messages": CHAT[:1], "ground_truth": "7"},  # a prompt of RL
        {"conversations": [SHARE_GPT[0], {"from": "assistant", "ground_truth": {"value": "7"}}]},  # Open-Reasoner-Zero
        {"prompt": CHAT[:1], "reward_model": {"ground_truth": "7"}},  # verl
        {
            "query": Q,
            "prompt": "import math",
            "completion": "def f(): ...",
            "entry_point": "f",
            "test": "...",
        },  # LeetCode
        {"instruction": Q, "input": "", "output": "the correct answer is answer1", "answer": "answer1"},  # ARC
    ],
)
def test_problems_are_not_taken_for_traces(fields):
    assert detect_trace_layout(fields) is None


def turns(*contents):
    return [{"role": role, "content": content} for role, content in contents]


def test_each_turn_of_the_assistant_is_a_trace_and_earlier_reasoning_is_left_out():
    chat = turns(("system", "S"), ("user", "a"), ("assistant", "<think>t</think>A"), ("user", "b"), ("assistant", "B"))
    first, second = TRACE_LAYOUTS["messages"].read({"messages": [*chat, *turns(("user", "unanswered"))]})
    assert first == Trace((Message("system", "S"), Message("user", "a")), "t", "A")
    asked = (*first.messages, Message("assistant", "A"), Message("user", "b"))
    assert second == Trace(asked, "", "B")


def test_turns_that_are_marked_as_given_are_not_learnt():
    chat = turns(("user", "a"), ("assistant", "A"), ("user", "b"), ("assistant", "B"))
    for mark in ({"weight": 0}, {"train": False}):
        (trace,) = TRACE_LAYOUTS["messages"].read({"messages": [chat[0], chat[1] | mark, *chat[2:]]})
        assert trace.response == "B" and len(trace.messages) == 3
    prompt, completion = chat[:3], chat[3:]
    (trace,) = TRACE_LAYOUTS["prompt_completion"].read({"prompt": prompt, "completion": completion})
    assert trace.response == "B"


@pytest.mark.parametrize(
    ("layout", "fields", "message"),
    [
        (
            "messages",
            {"messages": turns(("tool", "x"), ("assistant", "A"))},
            "turn 1 of 'messages' has the role 'tool'",
        ),
        ("messages", {"messages": turns(("user", " "), ("assistant", "A"))}, "turn 1 .* holds no text"),
        ("messages", {"messages": turns(("assistant", "A"))}, "turn 1 .* answers no user"),
        (
            "messages",
            {"messages": turns(("user", "a"), ("assistant", "A"), ("assistant", "B"))},
            "turn 3 .* answers no",
        ),
        ("openr1", {"problem": Q, "generations": []}, r"'generations' is \[\]"),
        ("openr1", {"problem": Q, "generations": ["x"], "finish_reasons": ["stop"] * 2}, "holds 2 values for 1 traces"),
        ("openr1", {"problem": Q, "generations": ["x"], "correctness_llama": [0.5]}, "holds 0.5: expected true"),
        ("openr1", {"problem": None, "generations": ["x"]}, "field 'problem' is empty"),
        (
            "s1k",
            {"question": Q, "attempt": "x", "thinking_trajectories": ["a", "b"]},
            "holds 2 texts for one 'attempt'",
        ),
        ("kodcode", {"r1_correctness": "maybe", "conversations": SHARE_GPT}, "'r1_correctness' is 'maybe'"),
        ("alpaca", {"instruction": Q, "output": ""}, "field 'output' is empty"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(layout, fields, message):
    with pytest.raises(TraceError, match=message):
        TRACE_LAYOUTS[layout].read(fields)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nr\n</think>\n\na", ("r", "a", "")),
        ("r</think>a", ("r", "a", "")),  # the prompt opened the reasoning
        ("<think>\n\n</think>\n\na", ("", "a", "")),
        ("a", ("", "a", "")),
        ("<think>r", ("r", "", CUT)),
        ("<think>r</think>", ("r", "", EMPTY)),
        ("<think>r</think><answer></answer>", ("r", "", EMPTY)),
        ("", ("", "", EMPTY)),
        ("<think>r</think>a<think>s</think>b", ("r", "a<think>s</think>b", MALFORMED)),
        ("Sure. <think>r</think>a", ("r", "a", MALFORMED)),
        ("<think>r<think>s</think>a", ("r<think>s", "a", MALFORMED)),
        ("<|begin_of_thought|>r", ("r", "", CUT)),
    ],
)
def test_the_reasoning_is_split_from_the_response(text, parts):
    assert split_reasoning(text) == parts


def test_unusable_traces_say_why():
    openr1 = {"problem": Q, "generations": [TAGGED] * 3, "is_reasoning_complete": [True, False, True]}
    traces = TRACE_LAYOUTS["openr1"].read({**openr1, "finish_reasons": ["stop", "stop", "length"]})
    assert [(t.fault, t.finish_reason) for t in traces] == [("", "stop"), (CUT, "length"), (CUT, "length")]
    row = {"problem": Q, "generated_solution": TAGGED, "inference_mode": "genselect"}
    assert TRACE_LAYOUTS["openmathreasoning"].read(row)[0].fault == "inference_mode genselect"
    row = {"id": "0", "input": "-", "output": TAGGED, "solution": ""}
    assert TRACE_LAYOUTS["opencodereasoning"].read(row)[0].fault == "no question"


@pytest.mark.parametrize(
    ("prompt_end", "reasoning", "completion"),
    [
        ("<|assistant|>\n", "r", "<think>\nr\n</think>\n\na"),
        ("<|assistant|>\n", "", "a"),
        ("<|assistant|>\n<think>\n", "r", "r\n</think>\n\na"),
        ("<|assistant|>\n<think>", "r", "\nr\n</think>\n\na"),
        ("<|assistant|>\n<think>\n", "", "\n</think>\n\na"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", "", "a"),
    ],
)
def test_the_completion_continues_the_generation_prompt(prompt_end, reasoning, completion):
    trace = Trace((Message("user", Q),), reasoning, "a")
    assert completion_text(trace, prompt_end) == completion
    assert (prompt_end + completion).count("<think>") <= 1
