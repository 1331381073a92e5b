"""The phases rejection and self_distil: filters, choice of traces, files, resume, milestones and refusals."""

import json
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pytest
import test_loop
import test_phases
from test_config import changed, composed
from test_phases import given, settings
from test_prompts import EOS, CharacterTokenizer

from vt_ray import pipeline
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import Config, ConfigError, DataConfig, DataSource, SelfDistilConfig
from vt_ray.data.problem_sets import of_stage
from vt_ray.data.traces.files import chosen_traces, subdomains_of_traces, survey_traces
from vt_ray.evaluation.repetition import repeated_share
from vt_ray.planning.resource_plan import phase_plan
from vt_ray.planning.validate import validate
from vt_ray.records import Completion, Problem
from vt_ray.report.watch.run_view import LiveRun
from vt_ray.run.milestone_names import planned
from vt_ray.run.models_of_run import models_of_run
from vt_ray.run.paths import SelfDistilPaths
from vt_ray.self_distillation import rejection, self_distil
from vt_ray.self_distillation.selection import KEPT, MeasuredTrace, select

ALL = ["sft", "rl", "rejection", "self_distil"]


class Tokenizer(test_loop.Tokenizer):
    eos_token, eos_token_id = "<eos>", 0

    def __call__(self, text, **options):
        texts = text if isinstance(text, list) else [text]
        ids = [[ord(c) for c in one] for one in texts]
        return {"input_ids": ids if isinstance(text, list) else ids[0]}


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch):
    monkeypatch.setattr(test_loop, "Tokenizer", Tokenizer)
    monkeypatch.setattr(rejection, "CHUNK", 3)
    monkeypatch.setattr(self_distil, "CHUNK", 4)


def run(config, monkeypatch):
    return test_phases.run(config, monkeypatch)


def with_phases(tmp_path, name="r", phases=ALL, **changes):
    return settings(tmp_path, name, phases=phases, **{"rejection.samples": 4, "self_distil.batch_size": 2, **changes})


def rows(paths):
    return [json.loads(line) for line in paths.rejection.traces.read_text().splitlines()]


def test_the_phases_come_after_rl_and_end_in_a_milestone(tmp_path, monkeypatch):
    config = with_phases(tmp_path)
    _, paths, summary = run(config, monkeypatch)
    names = ["base", "sft_last", "math", "self_distil"]
    assert [m["name"] for m in summary["milestones"]] == names == planned(LiveRun(paths.root).config)
    assert summary["gain"]["to"] == "math"
    assert {"rejection", "self_distil NLL", "self_distil SFT"} <= summary["phases"].keys()
    page = paths.report.read_text()
    assert 'id="rejection"' in page and 'id="self-distil"' in page
    assert "the milestone before it, Pass@1 on the held-out problems changed by" in page
    assert LiveRun(paths.root).view().state == "finished"
    assert models_of_run(paths.root)[-1] == f"self_distil={max(paths.self_distil.sft.checkpoints.iterdir())}"
    plan = {p.name: p.tokens for p in phase_plan(config, test_phases.SETS)}
    assert plan["rejection math"] == 7 * 4 * 128 and "self_distil" in plan


def test_traces_are_right_completions_that_sft_reads(tmp_path, monkeypatch):
    _, paths, _ = run(with_phases(tmp_path, phases=["sft", "rejection"]), monkeypatch)
    found, table = rows(paths), json.loads(paths.rejection.table.read_text())
    counts = table["models"]["sft_last"]["counts"]["algebra"]
    assert sum(counts.values()) == 7 * 4 and counts[KEPT] == len(found) == table["traces"] > 0
    assert all(int(row["messages"][-1]["content"]) % 3 == 0 for row in found)
    source = DataSource(str(paths.rejection.traces), use=["sft"])
    survey = survey_traces([source], {})
    assert survey.counts[0].chosen == len(found) and survey.counts[0].layout == "messages"
    assert not paths.rejection.parts.exists()


def test_an_rl_stage_answers_the_problems_of_its_stage(tmp_path, monkeypatch):
    _, paths, _ = run(with_phases(tmp_path), monkeypatch)
    models = json.loads(paths.rejection.table.read_text())["models"]
    assert list(models) == ["math"]
    assert models["math"]["problems"] == len(of_stage(test_phases.STAGE, test_phases.SETS.train))


def test_named_models_answer_the_same_drawn_problems(tmp_path, monkeypatch):
    changes = {"rejection.models": ["base", "sft_last"], "rejection.problems": 5}
    _, paths, _ = run(with_phases(tmp_path, phases=["sft", "rejection"], **changes), monkeypatch)
    models = json.loads(paths.rejection.table.read_text())["models"]
    assert {name: entry["problems"] for name, entry in models.items()} == {"base": 5, "sft_last": 5}
    assert len({row["question_id"] for row in rows(paths)}) <= 5


def test_given_folders_answer_without_any_other_phase(tmp_path, monkeypatch):
    (folder,) = given(tmp_path, 5)
    config = with_phases(tmp_path, phases=["rejection"], **{"rejection.models": [f"mine={folder}"]})
    world, paths, summary = run(config, monkeypatch)
    assert [m["name"] for m in summary["milestones"]] == ["base"]
    assert {row["model"] for row in rows(paths)} == {"mine"} and not world.calls["sft_step"]


class CrashingWorld(test_phases.World):
    crash = 0

    def __init__(self):
        super().__init__(CrashingWorld.crash)


@pytest.mark.parametrize("phases", [["rejection"], ["rejection", "self_distil"]])
def test_a_kill_at_any_call_does_not_change_the_result(tmp_path, monkeypatch, phases):
    monkeypatch.setattr(test_phases, "World", CrashingWorld)
    folders = given(tmp_path, 5, 6)
    changes = {"rejection.models": folders, "self_distil.student": folders[0], "self_distil.checkpoint_every": 2}

    def outcome(name, crash):
        CrashingWorld.crash = crash
        config = with_phases(tmp_path / name, phases=phases, **changes)
        with suppress(ConnectionAbortedError):
            return run(config, monkeypatch)

    def result(paths):
        chosen = paths.self_distil.selection
        model = test_loop.read(max(paths.self_distil.sft.checkpoints.iterdir())) if chosen.exists() else None
        return rows(paths), json.loads(chosen.read_text()) if chosen.exists() else None, model

    world, paths, _ = outcome("whole", 0)
    expected = result(paths)
    for crash in range(2, len(world.events), 5):
        assert outcome(str(crash), crash) is None
        again, paths, _ = outcome(str(crash), 0)
        assert result(paths) == expected, f"after a kill at call {crash}"
        assert len(again.calls["generate"]) <= len(world.calls["generate"])


def test_equal_inputs_share_the_phases_and_others_do_not(tmp_path, monkeypatch):
    folders = given(tmp_path, 5, 6)
    phases, models = ["rejection", "self_distil"], {"rejection.models": folders, "self_distil.student": folders[0]}
    run(with_phases(tmp_path, "a", phases, **models), monkeypatch)
    world, _, _ = run(with_phases(tmp_path, "b", phases, **models), monkeypatch)
    assert not world.calls["completion_nll"] and not world.calls["sft_step"]
    other_choice = {**models, "self_distil.nll_low": 0.5}
    world, _, _ = run(with_phases(tmp_path, "c", phases, **other_choice), monkeypatch)
    assert world.calls["sft_step"] and len(world.calls["load_checkpoint"]) == 1  # the evaluation of self_distil
    other_models = {**models, "rejection.samples": 8}
    world, _, _ = run(with_phases(tmp_path, "d", phases, **other_models), monkeypatch)
    assert len(world.calls["load_checkpoint"]) == 3


def test_without_rejection_the_traces_are_those_of_trace_files(tmp_path, monkeypatch):
    file = tmp_path / "traces.jsonl"
    chats = [[{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "x" * i}] for i in range(1, 9)]
    file.write_text("".join(json.dumps({"messages": chat, "subdomain": "algebra"}) + "\n" for chat in chats))
    source = DataSource(str(file), use=["sft"], max_rows=6)
    config = with_phases(tmp_path, phases=["self_distil"], **{"self_distil.length_buckets": 1})
    config.self_distil.student = given(tmp_path, 5)[0]
    sets = replace(test_phases.SETS, traces=survey_traces([source], {}))
    sets = replace(sets, sources=self_distil.traces_as_problems(file).sources)
    sets = replace(sets, sources=[replace(sets.sources[0], source=source)])
    _, paths, _ = test_phases.run(config, monkeypatch, sets)
    chosen = json.loads(paths.self_distil.selection.read_text())
    assert chosen["traces"] == 6 == sum(chosen["counts"]["algebra"].values())


class Chat(CharacterTokenizer):
    """`end` closes each prompt. Without `takes_system`, a system message is an error, as for Gemma."""

    eos_token = chr(EOS)

    def __init__(self, end="", takes_system=True):
        self.end, self.takes_system = end, takes_system

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        if messages[0]["role"] == "system" and not self.takes_system:
            raise ValueError("System role not supported")
        return [*super().apply_chat_template(messages, add_generation_prompt, False), *map(ord, self.end)]


@pytest.mark.parametrize(
    ("chat", "sampled", "learnt"),
    [
        (Chat(), "so 7", "so 7"),
        (Chat(takes_system=False), "<think>\na\n</think>\n\n7", "<think>\na\n</think>\n\n7"),
        (Chat(end="<think>\n"), "a\n</think>\n\n7", "a\n</think>\n\n7"),
    ],
)
def test_sft_learns_a_trace_after_the_prompt_that_the_model_got(tmp_path, chat, sampled, learnt):
    encoder = pipeline.PromptEncoder(chat, DataConfig(system="Be brief.", math_suffix=" Box it."))
    e = type("E", (), {"config": Config(), "encoder": encoder})
    of_model = rejection._Sampled(e, "m", [Problem("algebra/1", "algebra", "math", "3+4?", "7")])
    (asked,) = of_model._problems.values()
    assert of_model._fate_of_text(asked, completion(sampled)) == KEPT
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps(of_model._row(asked, completion(sampled))) + "\n")
    (sequence,) = encoder.traces(chosen_traces(DataSource(str(file), use=["sft"])))
    assert sequence.prompt_ids == encoder.prompt_ids(asked)
    assert "".join(map(chr, sequence.completion_ids)) == learnt + chr(EOS)
    assert list(subdomains_of_traces(DataSource(str(file)))) == ["algebra"]


def completion(text="7", ids=(1, 2, 3)):
    return Completion(0, np.array(ids, np.int32), np.zeros(len(ids), np.float32), text, "stop", ((0, len(ids)),), 0.0)


@pytest.mark.parametrize(
    ("found", "open_prompt", "fate"),
    [
        (completion(), False, rejection.KEPT),
        (completion("<think>\na\n</think>\n\n7"), False, rejection.KEPT),
        (completion("a\n</think>\n\n7"), True, rejection.KEPT),
        (completion("7"), True, rejection.UNUSABLE),  # the reasoning never ends
        (completion("<think>a"), False, rejection.UNUSABLE),
        (completion("a</think>b</think>7"), False, rejection.UNUSABLE),
        (completion(""), False, rejection.UNUSABLE),
        (completion("7<eos>"), False, rejection.UNUSABLE),
        (completion("7", [1, 2, 3] * 30), False, rejection.REPETITIVE),
    ],
)
def test_a_right_completion_may_be_left_out(tmp_path, found, open_prompt, fate):
    e = type("E", (), {"config": Config(), "encoder": pipeline.PromptEncoder(Tokenizer(), Config().data)})
    problem = Problem("algebra/1", "algebra", "math", "1?", "1", reasoning_open=open_prompt)
    assert rejection._Sampled(e, "m", [problem])._fate_of_text(problem, found) == fate


def test_copies_are_written_once(tmp_path):
    paths = rejection.RejectionPaths(tmp_path)
    paths.parts.mkdir()
    problems = test_loop.PROBLEMS[:2]

    def row(question, text):
        return {"messages": [{"content": text}], "question_id": question, "subdomain": "algebra"}

    for name, traces in (("a", [row("1", "x  y"), row("2", "x y")]), ("b", [row("1", "x\ny"), row("1", "z")])):
        part = {"seconds": 1.0, "tokens": 3, "counts": {"algebra": {"kept": 2, "wrong": 1}}, "traces": traces}
        paths.part(name, 0).write_text(json.dumps(part))
    table = rejection._collect([rejection.AskedModel(name, tmp_path, problems) for name in "ab"], paths)
    assert [r["messages"][0]["content"] for r in rows(type("P", (), {"rejection": paths}))] == ["x  y", "x y", "z"]
    assert (table["traces"], table["questions"]) == (3, 2)
    assert table["models"]["b"]["counts"]["algebra"] == {"kept": 1, "wrong": 1, "copy": 1}


def test_no_right_completion_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(rejection, "_fate", lambda status, cut: rejection.WRONG)
    with pytest.raises(ConfigError, match=r"no completion is kept .*'wrong': 28.*raise rejection.samples"):
        run(with_phases(tmp_path, phases=["sft", "rejection"]), monkeypatch)


def test_the_share_of_repeated_n_grams():
    assert repeated_share([1, 2, 3, 4], 2) == 0
    assert repeated_share([1, 2, 1, 2, 1], 2) == 0.5  # 12 21 12 21
    assert repeated_share([5] * 11, 1) == pytest.approx(10 / 11)
    assert repeated_share([], 3) == repeated_share([1, 1, 1], 3) == 0


def traces(nlls, subdomain="algebra", tokens=10):
    return [MeasuredTrace(subdomain, tokens, nll) for nll in nlls]


def test_middle_to_high_nll_is_kept_within_each_bucket():
    choice = SelfDistilConfig(drop_shortest=0, length_buckets=2, nll_low=0.25, nll_high=0.75)
    short, long = traces([3, 1, 2, 4], tokens=5), traces([30, 10, 20, 40], tokens=50)
    fates, buckets = select([*long, *short], choice)
    assert fates == ["kept", "low NLL", "kept", "outlier"] * 2
    assert [(b["tokens"], b["kept_nll"]) for b in buckets] == [([5, 5], [2, 3]), ([50, 50], [20, 30])]


def test_subdomains_are_compared_with_themselves():
    choice = SelfDistilConfig(drop_shortest=0, length_buckets=1, nll_low=0.5, nll_high=1.0)
    fates, _ = select([*traces([1, 2]), *traces([8, 9], "code")], choice)
    assert fates == ["low NLL", "kept", "low NLL", "kept"]


def test_the_shortest_and_unusable_traces_are_left_out():
    choice = SelfDistilConfig(drop_shortest=0.25, length_buckets=1, nll_low=0, nll_high=1)
    found = [MeasuredTrace("algebra", n, 1.0) for n in (4, 3, 2, 1)]
    found += [MeasuredTrace("algebra", 9, float("nan")), MeasuredTrace("algebra", 9, float("nan"), fits=False)]
    assert select(found, choice)[0] == ["kept"] * 3 + ["very short", "NLL not finite", "over the context"]


def test_the_learner_does_not_compute_a_trace_over_the_context(tmp_path):
    asked = []

    class Learner:
        def completion_nll(self, sequences):
            asked.extend(map(len, sequences))
            return [float(len(s)) for s in sequences]

    cluster = type("C", (), {"learner": staticmethod(lambda *_: nullcontext(Learner()))})
    config = type("S", (), {"self_distil": SelfDistilConfig(), "context_tokens": 6})
    e = type("E", (), {"config": config, "cluster": cluster})
    examples = [TrainSequence((1, 2), (3,) * n, 0.0) for n in (3, 5, 4)]
    for _ in range(2):  # the second time from the file
        found = self_distil.measured_nll(e, tmp_path, examples, SelfDistilPaths(tmp_path))
        assert found == pytest.approx([5, float("nan"), 6], nan_ok=True) and asked == [5, 6]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_every_trace_has_one_fate_and_few_traces_are_not_all_lost(count):
    fates, buckets = select(traces(np.random.default_rng(count).random(count)), SelfDistilConfig())
    assert len(fates) == count and fates.count(KEPT) >= 1
    assert sum(b["traces"] for b in buckets) + fates.count("very short") == count
    assert sum(b["kept"] for b in buckets) == Counter(fates)[KEPT]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": ["rejection", "rl"]}, "must be in the order of the pipeline"),
        ({"phases": ["rejection"]}, "rejection would sample random weights"),
        ({"phases": ["sft", "self_distil"]}, "self_distil has no traces: add rejection before it"),
        ({"phases": ["rejection", "self_distil"]}, "self_distil would train random weights"),
        ({"rejection.samples": 0}, "rejection.samples=0 must be at least 1"),
        ({"rejection.temperature": 0.0}, "rejection.temperature=0.0 must be above 0"),
        ({"rejection.max_repeated": 1.5}, "rejection.max_repeated=1.5 must lie in [0, 1]"),
        ({"rejection.models": ["fused"]}, "'fused' is neither a milestone of the run (base, sft_last, math_short"),
        ({"rejection.models": ["base", "base"]}, "the name 'base' must be unique"),
        ({"self_distil.student": "self_distil"}, "is neither a milestone of the run"),
        ({"self_distil.nll_low": 0.9, "self_distil.nll_high": 0.9}, "nll_low=0.9 must be below nll_high=0.9"),
        ({"self_distil.drop_shortest": 1.0}, "drop_shortest=1.0 must lie in [0, 1)"),
        ({"self_distil.length_buckets": 0}, "self_distil.length_buckets=0 must be at least 1"),
        ({"self_distil.epochs": 0.0}, "self_distil.epochs=0.0 must be above 0"),
        ({"curriculum.stages.0.name": "self_distil"}, "curriculum stage name 'self_distil' must be unique"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ConfigError) as refused:
        validate(changed(composed("experiment=tiny"), **{"phases": ALL, **changes}))
    assert message in str(refused.value)


def test_given_models_are_the_base_of_a_run_without_another_phase(tmp_path):
    (folder,) = given(tmp_path, 5)
    (tmp_path / "given" / "model-5" / "config.json").write_text("{}")
    doors = ["experiment=tiny", "phases=[rejection,self_distil]", f"rejection.models=['A={folder}']"]
    assert composed(*doors).model.path == folder
    validate(composed(*doors))
    assert composed(*doors, "phases=[sft,rejection]").model.source == "scratch"
    longer = composed(*doors, "rejection.max_new_tokens=500")
    assert longer.context_tokens == longer.data.max_prompt_tokens + 500
