"""Files of traces: chosen, counted, kept apart from the test problems, and encoded for SFT."""

import json

import pytest

from vt_ray.config import Config, ConfigError, DataConfig, DataSource, SftConfig
from vt_ray.data.problem_rows import ProblemFileError
from vt_ray.data.problem_sets import ProblemSets, fitting, load_problem_sets, refuse_without_solutions
from vt_ray.data.prompts import PromptEncoder
from vt_ray.data.source_report import SourceReport
from vt_ray.data.traces.files import WRONG, chosen_traces, survey_traces
from vt_ray.data.traces.reasoning import CUT, MALFORMED
from vt_ray.pipeline import base_inputs, sft_inputs, traces_digest
from vt_ray.planning.validate import validate
from vt_ray.records import Problem, Solution
from vt_ray.run.inputs import input_files
from vt_ray.spectrum_phase.examples import encoded_examples

EOS = 3


class ChatTokenizer:
    """One token a character. Its chat template writes <role:content>, and opens the reasoning if `opened` is set."""

    eos_token_id, eos_token = EOS, chr(EOS)

    def __init__(self, opened=""):
        self.opened = opened

    def __call__(self, texts, add_special_tokens):
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        chat = "".join(f"<{m['role']}:{m['content']}>" for m in messages) + f"<assistant:{self.opened}"
        return [ord(letter) for letter in chat] if tokenize else chat

    def decode(self, ids):
        return "".join(map(chr, ids))


def encoder(opened=""):
    return PromptEncoder(ChatTokenizer(opened), DataConfig())


def write(path, *rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def openr1(question, *generations, **more):
    return {"problem": question, "generations": list(generations), **more}


def sample(tmp_path):
    return write(
        tmp_path / "r1.jsonl",
        openr1("a", "<think>r</think>A", "<think>s</think>B", correctness_math_verify=[True, False]),
        openr1("b", "<think>cut", "x<think>r</think>A", "C"),
    )


def texts(traces):
    return [trace.text for trace in traces]


def data(**changes):
    counts = {"train_per_subdomain": 4, "probe_per_subdomain": 1, "test_per_subdomain": 1}
    return DataConfig(subdomains=["algebra"], **counts, **changes)


def test_several_traces_of_a_question_stay_several_and_others_are_counted_by_reason(tmp_path):
    source = DataSource(sample(tmp_path))
    assert texts(chosen_traces(source)) == ["<think>\nr\n</think>\n\nA", "C"]
    (counts,) = survey_traces([source], {}).counts
    assert (counts.rows, counts.traces, counts.chosen) == (2, 5, 2)
    assert counts.dropped == {WRONG: 1, CUT: 1, MALFORMED: 1}
    assert str(counts).endswith(
        "r1.jsonl: 5 traces in 2 rows of layout openr1; left out: 1 cut off, 1 malformed reasoning, 1 marked as wrong"
    )
    source.keep_wrong = True
    assert len(list(chosen_traces(source))) == 3


def test_the_digest_follows_the_chosen_traces_alone(tmp_path):
    path = sample(tmp_path)
    digests = {survey_traces([DataSource(path, **more)], {}).digest for more in ({}, {"layout": "openr1"})}
    assert len(digests) == 1
    digests |= {
        survey_traces([DataSource(path, **more)], {}).digest for more in ({"keep_wrong": True}, {"suffix": "!"})
    }
    assert len(digests) == 3


def test_named_fields_replace_a_layout(tmp_path):
    row = {"q": "a", "r1": "A", "think": "r", "ok": "False", "sys": "S", "solution": "by hand"}
    path = write(tmp_path / "mine.jsonl", row, {**row, "ok": 1})
    fields = {"question": "q", "response": "r1", "reasoning": "think", "correct": "ok", "system": "sys"}
    (trace,) = chosen_traces(DataSource(path, fields=fields))
    assert trace.text == "<think>\nr\n</think>\n\nA" and (trace.correct, trace.row) == (True, 2)
    assert [m.content for m in trace.messages] == ["S", "a"]
    with pytest.raises(ProblemFileError, match=r"row 1: no layout of traces has the fields \['ok'.*fields: \{question"):
        list(chosen_traces(DataSource(path)))


def test_a_suffix_follows_the_question(tmp_path):
    path = write(tmp_path / "a.jsonl", {"prompt": "a", "completion": "A"})
    assert next(chosen_traces(DataSource(path, suffix=" Box it."))).question == "a Box it."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([openr1("a", "A"), {"problem": "b"}], r"row 2: the fields \['problem'\] are not those of the layout 'openr1'"),
        ([openr1("a", "A"), openr1("b")], r"row 2: field 'generations' is \[\]"),
        ([openr1("a", "<think>")], "left out: 1 cut off: no trace remains"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_with_its_row(tmp_path, rows, message):
    config = data(trace_files=[DataSource(write(tmp_path / "a.jsonl", *rows))])
    with pytest.raises(ConfigError, match=message):
        load_problem_sets(config, 0)


@pytest.mark.parametrize("suffix", ["", " Put it in a box."])
def test_a_trace_of_a_held_out_question_is_refused(tmp_path, suffix):
    question = load_problem_sets(data(), 0).test[0].question
    chat = [{"role": "user", "content": question.upper()}, {"role": "assistant", "content": "A"}]
    later = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "B"}]
    sources = [DataSource(write(tmp_path / "a.jsonl", {"messages": [*chat, *later]}), suffix=suffix)]
    config = data(trace_files=sources, decontaminate="off")
    with pytest.raises(ConfigError, match=r"a.jsonl, row 1: the question of the trace is also .* of the test set"):
        load_problem_sets(config, 0)


def test_traces_stay_with_the_problems_that_fit(tmp_path):
    config = data(trace_files=[DataSource(sample(tmp_path))], drop_overlong=True)
    sets = load_problem_sets(config, 0)
    longest = sorted(len(encoder().chat_ids(p)) for p in sets.train)[-1]
    config.max_prompt_tokens = longest - 1
    assert len(fitting(sets, PromptEncoder(ChatTokenizer(), config)).traces.counts) == 1


def test_traces_are_learnt_by_style(tmp_path):
    refuse_without_solutions([], [], traces=True)
    refuse_without_solutions([], ["trace"], traces=True)
    with pytest.raises(ConfigError, match=r"\['steps'\] leaves out the traces .* add 'trace'"):
        refuse_without_solutions([], ["steps"], traces=True)
    with pytest.raises(ConfigError, match="SFT has nothing to learn"):
        refuse_without_solutions([], ["trace"])
    solved = Problem("q", "algebra", "math", "1+1?", "2", solutions=(Solution("steps", "2"),))
    with pytest.raises(
        ConfigError, match=r"styles=\['trace'\]: the training problems have solutions of styles \['steps'\]"
    ):
        refuse_without_solutions([solved], ["trace"])


def encoded(tmp_path, source, opened="", max_tokens=200):
    source.use = ["sft"]
    traces = survey_traces([source], {})
    sets = ProblemSets([], [], [], traces, sources=[SourceReport(source, {}, 0)])
    examples = encoded_examples(encoder(opened), sets, SftConfig(styles=[], max_tokens=max_tokens), tmp_path / "e")
    return [tuple("".join(map(chr, ids)) for ids in (e.prompt_ids, e.completion_ids)) for e in examples]


@pytest.mark.parametrize(
    ("opened", "reasoned", "plain"),
    [
        ("", "<think>\nr\n</think>\n\nA", "C"),
        ("<think>\n", "r\n</think>\n\nA", "\n</think>\n\nC"),
    ],
)
def test_sft_learns_the_response_after_the_generation_prompt(tmp_path, opened, reasoned, plain):
    end = chr(EOS)
    assert encoded(tmp_path, DataSource(sample(tmp_path)), opened) == [
        (f"<user:a><assistant:{opened}", reasoned + end),
        (f"<user:b><assistant:{opened}", plain + end),
    ]


def test_in_several_turns_the_loss_is_on_the_assistant_alone(tmp_path):
    chat = [("system", "S"), ("user", "a"), ("assistant", "<think>r</think>A"), ("user", "b"), ("assistant", "B")]
    rows = {"messages": [{"role": role, "content": content} for role, content in chat]}
    found = encoded(tmp_path, DataSource(write(tmp_path / "a.jsonl", rows)))
    assert found == [
        ("<system:S><user:a><assistant:", f"<think>\nr\n</think>\n\nA{chr(EOS)}"),
        ("<system:S><user:a><assistant:A><user:b><assistant:", f"B{chr(EOS)}"),
    ]


def test_longer_traces_are_counted_by_file(tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", openr1("a", "A"), openr1("b", "B" * 300))
    assert len(encoded(tmp_path, DataSource(path))) == 1
    assert "1 of 2 traces and solutions are longer than spectrum.sft.max_tokens=200" in capsys.readouterr().out
    record = json.loads((tmp_path / "e" / "examples.json").read_text())
    assert record["left_out_of"] == {path: 1}


def test_a_response_with_the_end_token_inside_is_refused(tmp_path):
    path = write(tmp_path / "a.jsonl", openr1("a", f"A{chr(EOS)}B"))
    with pytest.raises(ConfigError, match=r"a.jsonl, row 1: the response holds '\\x03'.*delete it"):
        encoded(tmp_path, DataSource(path))


def test_files_and_settings_of_traces_are_inputs_of_sft_but_not_of_the_base_model(tmp_path):
    without, given = Config(), Config()
    given.data.trace_files = [DataSource(sample(tmp_path))]
    assert base_inputs(given) == base_inputs(without)
    assert not any("trace" in key for key in sft_inputs(without))
    assert sft_inputs(given)["data.trace_files.0.path"] == given.data.trace_files[0].path
    assert given.data.trace_files[0].path in input_files(given)
    sets = load_problem_sets(data(trace_files=given.data.trace_files), 0)
    assert traces_digest(sets) == {"traces": sets.traces.digest}
    assert traces_digest(load_problem_sets(data(), 0)) == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (DataSource("no.jsonl"), "data.trace_files: 'no.jsonl' is no file"),
        (DataSource(__file__, layout="mine"), "data.trace_files.*layout='mine' must be one of"),
        (DataSource(__file__, layout="s1k", fields={"question": "q", "response": "r"}), "both layout and fields"),
        (DataSource(__file__, fields={"question": "q", "response": "r", "gold": "g"}), "fields='gold' must be one of"),
        (DataSource(__file__, fields={"question": "q"}), "must name at least question and response"),
    ],
)
def test_a_source_that_cannot_work_is_refused_before_reading(source, message):
    config = Config()
    config.data.trace_files = [source]
    with pytest.raises(ConfigError, match=message):
        validate(config)
