"""The second SFT on hard examples, the held-out loss, and the checkpoints that stay, over stand-ins for the actors."""

import json
from contextlib import suppress

import pytest
import test_loop
import test_phases
from test_config import changed
from test_sft_examples import LettersTokenizer

from vt_ray import pipeline
from vt_ray.config import ConfigError, DataConfig, SecondStageConfig, SftConfig
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.experiment import Experiment
from vt_ray.records import Problem, Solution
from vt_ray.run.checkpoint import step_folders, write_json
from vt_ray.run.run_folder import RunFolder
from vt_ray.spectrum_phase import fusing
from vt_ray.spectrum_phase.examples import Examples, encoded_examples, question_key, set_aside
from vt_ray.spectrum_phase.hard_examples import error_rates, hard_examples, problems_to_measure, refuse_short_examples


def problem(i):
    """Every question has a short solution, and every second one a long one too: 5 and 30 letters."""
    solutions = (Solution("direct", f"short{i}"[-5:]), Solution("steps", chr(65 + i) * 30))
    return Problem(f"q{i}", "algebra", "math", f"question {i}", "1", solutions=solutions[: 1 + i % 2])


TRAIN = [problem(i) for i in range(24)]
ASKED = test_loop.PROBLEMS[:4]
SETS = ProblemSets(TRAIN, ASKED, ASKED[1:4])


class Letters(LettersTokenizer):
    def __call__(self, texts, add_special_tokens):
        if isinstance(texts, str):
            return {"input_ids": [ord(letter) for letter in texts]}
        return super().__call__(texts, add_special_tokens)


class World(test_phases.World):
    """Notes the completions that SFT learns."""

    def sft_step(self, sequences):
        self.record("learned", ["".join(map(chr, s.completion_ids[:-1])) for s in sequences])
        return super().sft_step(sequences)


def settings(tmp_path, name="r", **changes):
    config = test_phases.settings(tmp_path, name)
    config.spectrum.sft.batch_size, config.spectrum.sft.heldout_share = 4, 0.25
    config.spectrum.second_stage = SecondStageConfig(
        steps=2, checkpoint_every=1, min_tokens=20, rollouts=4, min_error_rate=0.5
    )
    return changed(config, **changes)


def run(config, monkeypatch, world=None):
    world = world or World()

    def prepare(config, cluster, run, problems):
        base = run.phase("base", {}, lambda folder: write_json(folder / "model.json", 1))
        return Experiment(config, world, run, problems, base, PromptEncoder(Letters(), config.data))

    def fuse(specialists, weights, folder, rule, base, seed):
        write_json(folder / "model.json", sum(map(test_loop.read, specialists.values())))

    monkeypatch.setattr(pipeline, "prepare", prepare)
    monkeypatch.setattr(fusing, "fuse", fuse)
    with RunFolder(config).open() as folder:
        return world, folder.paths, pipeline.run_pipeline(config, world, folder, SETS)


def learned(world):
    return [text for (batch,) in world.calls["learned"] for text in batch]


def test_both_stages_are_trained_probed_and_fused_and_rl_starts_from_the_second(tmp_path, monkeypatch):
    world, paths, summary = run(settings(tmp_path), monkeypatch)
    first, second = ["sft_last", "sft_best", "fused"], ["sft2_last", "sft2_best", "fused2"]
    assert [m["name"] for m in summary["milestones"]] == ["base", *first, *second, "math"]
    assert world.calls["load"][0][0].buckets[0] == test_loop.read(paths.root / "fused2")
    phases = ["base", "sft", "probe", "fuse", "error rates", "sft2", "probe2", "fuse2", "rl math", "evaluate"]
    assert list(summary["phases"]) == phases
    assert [path.name for path in step_folders(paths.root / "sft2/checkpoints")] == ["step_000001", "step_000002"]

    # The second SFT learns the long solutions of hard questions that are not held out.
    rates = {int(key): rate for key, rate in json.loads((paths.error_rates / "error_rates.json").read_text()).items()}
    hard = {p.solutions[-1].text for p in TRAIN if rates.get(question_key(p.question), 0) >= 0.5}
    assert hard and {*learned(world)[4 * 4 :]} <= hard
    assert 0 < len(rates) <= 12 and len(hard) < len(rates)
    heldout = {*set_aside(Examples(paths.sft.examples), 0.25, 0)[1].questions.tolist()}
    texts = [s.text for p in TRAIN if question_key(p.question) in heldout for s in p.solutions]
    assert len(heldout) == 6 and not {*texts} & {*learned(world)} and not heldout & rates.keys()

    again, _, repeated = run(settings(tmp_path), monkeypatch)
    assert again.events == [] and repeated["milestones"] == summary["milestones"]


def without_seconds(metrics):
    return [{**json.loads(line), "seconds": 0} for line in metrics.read_text().splitlines()]


@pytest.mark.parametrize("event", ["learned", "completion_nll", "save_hf", "generate"])
def test_a_killed_run_ends_as_if_it_had_not_been_killed(tmp_path, monkeypatch, event):
    phases = ["sft", "probe", "fuse"]
    whole, paths, summary = run(settings(tmp_path / "whole", phases=phases), monkeypatch)
    # The last such event before the second probing is in the second SFT, or in the measurement of the questions.
    places = [i for i, name in enumerate(whole.events, 1) if name == event]
    crash = places[len(ASKED) * 3 + 2] if event == "generate" else places[-1]
    with suppress(ConnectionAbortedError):
        run(settings(tmp_path, phases=phases), monkeypatch, World(crash))
    _, resumed, after = run(settings(tmp_path, phases=phases), monkeypatch)
    for name in ("sft/metrics.jsonl", "sft2/metrics.jsonl"):
        lines = [[json.loads(line) for line in (p.root / name).read_text().splitlines()] for p in (paths, resumed)]
        assert [[{**line, "seconds": 0} for line in part] for part in lines][0] == [
            {**n, "seconds": 0} for n in lines[1]
        ]
    for name in ("sft/checkpoints/heldout.json", "sft2/checkpoints/heldout.json", "fused2/model.json"):
        assert (resumed.root / name).read_text() == (paths.root / name).read_text()


def test_heldout_losses_are_beside_the_checkpoints_and_in_the_metrics(tmp_path, monkeypatch):
    _, paths, _ = run(settings(tmp_path, phases=["sft", "probe"]), monkeypatch)
    losses = json.loads(paths.sft.heldout.read_text())["heldout_loss"]
    assert list(losses) == ["step_000002", "step_000004"]
    lines = [json.loads(line) for line in paths.sft.metrics.read_text().splitlines()]
    assert [line.get("heldout_loss") for line in lines] == [None, losses["step_000002"], None, losses["step_000004"]]
    # Each loss is a mean over tokens: the stand-in's losses are below 1.
    assert all(0 < loss < 1 for loss in losses.values())
    assert "Held-out loss" in paths.report.read_text()


def encoded(tmp_path, problems=TRAIN):
    sft = SftConfig(styles=[], max_tokens=100)
    return encoded_examples(PromptEncoder(Letters(), DataConfig()), ProblemSets(problems, [], []), sft, tmp_path / "e")


def test_whole_questions_are_set_aside(tmp_path):
    examples = encoded(tmp_path)
    taken, heldout = set_aside(examples, 0.25, 0)
    assert len({*heldout.questions}) == 6 and not {*heldout.questions} & {*taken.questions}
    assert len(taken) + len(heldout) == len(examples) == 36
    assert [s.prompt_ids for s in heldout] == [s.prompt_ids for s in examples if question_of(s) in {*heldout.questions}]
    other = set_aside(examples, 0.25, 1)[1]
    assert {*other.questions} != {*heldout.questions}
    # A question that is added moves at most one question.
    more = set_aside(encoded(tmp_path / "more", [*TRAIN, problem(24)]), 0.25, 0)[1]
    assert len({*more.questions} & {*heldout.questions}) >= 5
    assert set_aside(examples, 0.0, 0) == (examples, ())
    for share in (1e-6, 0.999):
        assert all(len(part) for part in set_aside(examples, share, 0))


def question_of(sequence):
    return question_key("".join(map(chr, sequence.prompt_ids))[1:-1])


def test_one_question_cannot_be_split(tmp_path):
    with pytest.raises(ConfigError, match=r"heldout_share=0.5 of 1 question .* give more"):
        set_aside(encoded(tmp_path, [problem(1)]), 0.5, 0)


def test_hard_examples_are_long_and_their_questions_are_often_failed(tmp_path):
    examples, second = encoded(tmp_path), SecondStageConfig(steps=1, min_tokens=20, min_error_rate=0.75)
    asked = problems_to_measure(examples, second, TRAIN)
    assert [p.question_id for p in asked] == [f"q{i}" for i in range(1, 24, 2)]
    rates = {question_key(f"question {i}"): rate for i, rate in ((0, 1.0), (1, 0.75), (3, 0.7), (5, 1.0))}
    chosen = hard_examples(examples, second, rates)
    assert ["".join(map(chr, s.completion_ids[:-1])) for s in chosen] == ["B" * 30, "F" * 30]
    with pytest.raises(ConfigError, match=r"0 of 1 measured questions .* the highest is 0.5.*Lower it"):
        hard_examples(examples, second, {question_key("question 1"): 0.5})
    with pytest.raises(ConfigError, match=r"min_tokens=40, but the longest .* has 31 tokens"):
        refuse_short_examples(examples, SecondStageConfig(steps=1, min_tokens=40))
    with pytest.raises(ConfigError, match="none of the 12 questions .* give their problems"):
        problems_to_measure(examples, second, ASKED)


def test_error_rates_count_completions_with_a_verdict():
    from vt_ray.records import GradedGroup, Verdict

    def group(i, statuses):
        verdicts = tuple(map(Verdict, statuses))
        return GradedGroup(f"q{i}", "algebra", verdicts, 0, (0,) * len(verdicts), (False,) * len(verdicts), None)

    statuses = (["correct", "wrong", "unverified", "wrong"], ["unverified"] * 4, ["correct"] * 4)
    rates = error_rates(TRAIN[:3], [group(i, s) for i, s in enumerate(statuses)])
    assert rates == {question_key("question 0"): 2 / 3, question_key("question 2"): 0.0}


MANY_CHECKPOINTS = {"spectrum.sft.steps": 8, "spectrum.sft.checkpoint_every": 1, "spectrum.second_stage.steps": 0}


def steps_of(folder):
    return [path.name for path in step_folders(folder / "checkpoints")]


def test_specialists_stay_and_other_runs_keep_theirs(tmp_path, monkeypatch):
    changes = {"phases": ["sft", "probe", "fuse"], **MANY_CHECKPOINTS}
    _, before, _ = run(settings(tmp_path, "before", **changes), monkeypatch)
    keep = {**changes, "spectrum.sft.keep": "specialists"}
    _, paths, _ = run(settings(tmp_path, "r", **keep), monkeypatch)
    table = json.loads(paths.probe.table.read_text())
    kept = {"step_000008", *table["specialists"].values(), table["best_pass_at_1"]}
    assert len(kept) < 8 and {*steps_of(paths.root / "sft")} == kept
    assert len(steps_of(before.root / "sft")) == 8  # a run that keeps all has links of its own
    (shared,) = [f for f in paths.shared_phases.glob("sft-*") if f.is_dir()]
    assert {*steps_of(shared)} == kept and not (shared / "state").exists()
    # The same command again, and another run with equal settings, find what they need.
    for name in ("r", "equal"):
        world, _, _ = run(settings(tmp_path, name, **keep), monkeypatch)
        assert not world.calls["learned"] and not world.calls["generate"]
    with pytest.raises(ConfigError, match="of its 8 checkpoints: a run with spectrum.sft.keep=specialists deleted"):
        run(settings(tmp_path, "other", **{**changes, "spectrum.probe.samples": 8}), monkeypatch)


def test_a_probing_of_the_same_trajectory_with_other_settings_keeps_its_specialists(tmp_path, monkeypatch):
    changes = {"phases": ["sft", "probe"], **MANY_CHECKPOINTS}
    tables = {}
    for name, samples in (("a", 4), ("b", 8)):
        _, paths, _ = run(settings(tmp_path, name, **changes, **{"spectrum.probe.samples": samples}), monkeypatch)
        tables[name] = json.loads(paths.probe.table.read_text())
    keep = {**changes, "spectrum.sft.keep": "specialists", "spectrum.probe.samples": 4}
    _, paths, _ = run(settings(tmp_path, "c", **keep), monkeypatch)
    (shared,) = [f for f in paths.shared_phases.glob("sft-*") if f.is_dir()]
    needed = {name for t in tables.values() for name in (*t["specialists"].values(), t["best_pass_at_1"])}
    assert {*steps_of(shared)} == needed | {"step_000008"}
