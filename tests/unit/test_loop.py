"""The MGPO loop and its curriculum over hand-written stand-ins: no Ray, no model."""

import hashlib
import json
import random
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sent_weights import Weights

from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import Config, DataConfig, StageConfig
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.engines.weights import SyncError
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Acknowledgement, VerifierCounts
from vt_ray.records import Completion, GradedGroup, Problem, Rollouts, Verdict
from vt_ray.run.paths import RunPaths
from vt_ray.signal_phase.controls import shuffled_rewards
from vt_ray.signal_phase.curriculum import run_curriculum
from vt_ray.signal_phase.engine_record import SUMS
from vt_ray.signal_phase.step_record import busy_shares

PROBLEMS = [Problem(f"{d}/{i}", d, "math", f"{i}?", str(i)) for d in ("algebra", "code") for i in range(7)]
SPEEDS = {"tokens_per_second", "generated_tokens_per_second", "updated_tokens_per_second"}
TIMES = {"seconds", "gate", "busy", "sync", "generation", "generators", *SPEEDS}
STAGES = [StageConfig("math", ["algebra"], 2, 2, 4, 8), StageConfig("code", ["code"], 1, 2, 4, 8)]

IDS, LOGPROBS = np.ones(3, np.int32), np.full(3, -1.0, np.float32)


def number(*parts):
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16)


def read(folder):
    return json.loads((folder / "model.json").read_text())


def recorded(method, name=""):
    """Records a call before and after its work, so that a crash can come at either time."""
    name = name or method.__name__

    def call(self, *args):
        self.record(name, *args)
        result = method(self, *args)
        self.record(f"{name} done")
        return result

    return call


class Tokenizer:
    seconds = 0.0

    def __call__(self, text, **options):
        return {"input_ids": [ord(c) for c in text]}

    def apply_chat_template(self, messages, add_generation_prompt, return_dict=False, tokenize=True):
        time.sleep(self.seconds)
        chat = "".join(m["content"] for m in messages)
        return [ord(c) for c in chat] if tokenize else chat

    def decode(self, ids):
        return "".join(map(chr, ids))


class RecordedTracker(AccuracyTracker):
    compute_advantages, save, load = (
        recorded(AccuracyTracker.compute_advantages),
        recorded(AccuracyTracker.save),
        recorded(AccuracyTracker.load, "load tracker"),
    )


class World:
    """A cluster whose model is one number: the learner has `value`, the generators hold `held`.

    Every call is recorded, its name in `events` and its arguments in `calls[name]`. The `crash_at`-th record raises.
    A sync adds `lost` to the weights that arrive.
    """

    def __init__(self, crash_at=0, seconds=(0.0, 0.0), lost=0):
        self.crash_at, self.seconds, self.lost = crash_at, seconds, lost
        self.events, self.calls = [], defaultdict(list)
        self.value, self.held = None, None
        self.published = []

    def record(self, name, *args):
        self.events.append(name)
        self.calls[name].append(args)
        if len(self.events) == self.crash_at:
            raise ConnectionAbortedError(name)

    @contextmanager
    def opened(self, *arguments):
        yield self

    generator = verifier = recorder = opened

    @contextmanager
    def learner(self, model_path, optimizer, total_steps, with_reference=False):
        self.value = read(model_path)
        yield self

    @contextmanager
    def tracker(self, config):
        tracker = RecordedTracker(config)
        tracker.record = self.record
        yield tracker

    def busy_seconds(self):
        """Each actor works one hundredth of a second for every recorded event."""
        return {"generator_0": len(self.events) / 100, "learner_0": len(self.events) / 100}

    def engine_counters(self):
        """The engine makes one step for every recorded event."""
        sums = dict.fromkeys(SUMS, len(self.events))
        return {"generator_0": {**sums, "kv_usage_max": 0.5, "memory_gb_max": None}}

    def publish(self, line):
        self.published.append(line)

    def generate(self, prompts, sampling):
        assert self.value in (None, self.held), "off-policy: generators hold other weights than the learner"
        for p in prompts:
            self.record("generate", p.problem.question_id)
            time.sleep(self.seconds[0])
            made = [Completion(0, IDS, LOGPROBS, str(number(self.held, s)), "stop", ((0, 3),), 0.0) for s in p.seeds]
            yield Rollouts(p.problem, p.token_ids, tuple(made))

    def grade(self, rollouts):
        """Groups arrive in a random order."""
        arrived = list(rollouts)
        random.Random(number(arrived)).shuffle(arrived)
        time.sleep(self.seconds[1])
        for r in arrived:
            self.record("grade", r.problem.question_id)
            verdicts = tuple(
                Verdict(("correct", "wrong", "unverified")[int(c.text) % 3], "", 0.5) for c in r.completions
            )
            lengths = (1, 2, 3, 6) * (len(verdicts) // 4)
            cut = (False,) * len(verdicts)
            yield GradedGroup(r.problem.question_id, r.problem.subdomain, verdicts, 2, lengths, cut, r)

    def rollouts(self, group):
        return group.rollouts

    def counts(self):
        """One retry for every graded group."""
        return VerifierCounts(len(self.calls["grade"]), 0, {"stand-in": 2})

    @recorded
    def update(self, groups, advantages, mgpo, temperature, max_new_tokens):
        self.value = number(self.value, [(g.rollouts, a.advantages) for g, a in zip(groups, advantages, strict=True)])
        others = ("entropy", "clipped_tokens", "rollout_kl", "logprob_gap_max", "grad_norm", "learning_rate")
        others += ("updated_completions", "consumed_digest")
        return {"loss": self.value % 100, "tokens": 4, **dict.fromkeys(others, 0.5)}

    @recorded
    def write(self, path, stage, step, groups, advantages, fates):
        path.parent.mkdir(parents=True, exist_ok=True)
        consumed = [(g.question_id, a.accuracy) for g, a in zip(groups, advantages, strict=True)]
        path.write_text(json.dumps([stage, step, consumed]))

    @recorded
    def export_weights(self, version, fingerprint, bucket_bytes):
        return Weights(version, (self.value,), {"w": self.value}, (-0.5,) * len(fingerprint), 8)

    @recorded
    def load(self, weights, fingerprint):
        self.held = weights.buckets[0] + self.lost
        return [Acknowledgement("generator_0", weights.version, {"w": self.held}, (-0.5,) * len(fingerprint))]

    @recorded
    def load_checkpoint(self, folder, version):
        self.held = read(folder)

    @recorded
    def save_hf(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").write_text(json.dumps(self.value))

    save_state = save_hf

    @recorded
    def load_state(self, folder, restart_schedule=False):
        self.value = read(folder)

    def evaluate(self, experiment, milestone, generator, verifier, folder):
        self.record("evaluate", milestone, generator.held)


@contextmanager
def no_display(stage, steps, done):
    yield lambda line, ended: None


def train(root, world, every=1, stages=STAGES, probe=(), **signal):
    config = Config()
    config.curriculum.stages = stages
    config.signal = replace(config.signal, **signal)
    config.signal.checkpoint_every, config.signal.keep_checkpoints = every, 1
    root.mkdir(exist_ok=True)
    (root / "model.json").write_text("1")
    encoder = PromptEncoder(Tokenizer(), DataConfig())
    problems = ProblemSets(PROBLEMS, list(probe), [])
    experiment = Experiment(config, world, SimpleNamespace(root=root, paths=RunPaths(root)), problems, root, encoder)
    run_curriculum(experiment, root, world.evaluate, no_display)
    return world


def metrics(root):
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def outcome(root):
    """The results of a run: rollouts by step, metrics without times, models, histories of the trackers."""
    steps = {str(p.relative_to(root)): json.loads(p.read_text()) for p in root.glob("rollouts/*/*")}
    lines = [{k: v for k, v in m.items() if k not in TIMES} for m in metrics(root)]
    models = [read(root / "rl" / stage.name / "model") for stage in STAGES]
    histories = [pq.read_table(p).to_pylist() for p in sorted(root.glob("rl/*/checkpoints/*/tracker.parquet"))]
    return steps, lines, models, histories


def test_a_step_runs_in_the_order_of_the_paper_and_is_committed_last(tmp_path):
    world = train(tmp_path, World(), stages=[replace(STAGES[0], steps=1)])
    begin = ["save_hf", "save", "export_weights", "load"]
    step = ["generate"] * 2 + ["grade"] * 2 + ["compute_advantages", "update", "write", "export_weights", "load"]
    end = ["save_hf", "save", "save_hf", "load_checkpoint", "evaluate"]
    assert [n for n in world.events if not n.endswith("done")] == begin + step + end


def test_the_weight_version_rises_by_one_per_step_through_all_stages(tmp_path):
    world = train(tmp_path, World())
    assert [weights.version for weights, _ in world.calls["load"]] == [0, 1, 2, 2, 3]
    assert [version for _, version, _ in world.calls["compute_advantages"]] == [0, 1, 2]
    assert [version for _, version in world.calls["load_checkpoint"]] == [2, 3]
    lines = [(m["stage"], m["step"], m["weight_version"], m["sync"]["version"]) for m in metrics(tmp_path)]
    assert lines == [("math", 1, 0, 1), ("math", 2, 1, 2), ("code", 1, 2, 3)]


def test_groups_are_consumed_in_the_order_of_the_prompts(tmp_path):
    world = train(tmp_path, World())
    asked, graded = ([q for (q,) in world.calls[name]] for name in ("generate", "grade"))
    assert asked != graded
    assert [g.question_id for groups, *_ in world.calls["update"] for g in groups] == asked


@pytest.mark.parametrize("every", [1, 2])
def test_a_crash_at_any_call_does_not_change_the_result(tmp_path, every):
    events = len(train(tmp_path / "whole", World(), every).events)
    expected = outcome(tmp_path / "whole")
    assert len(expected[0]) == len(expected[1]) == 3
    # Every second event. With every=2, a second crash follows early in the continued run.
    for crash_at in range(every, events + 1, 2):
        root = tmp_path / str(crash_at)
        for crash in (crash_at, 1 + crash_at % 9)[:every]:
            with suppress(ConnectionAbortedError):
                train(root, World(crash), every)
        train(root, World(), every)
        assert outcome(root) == expected, f"after a crash in {crash_at}"


def test_a_finished_curriculum_is_not_trained_again(tmp_path):
    train(tmp_path, World())
    again = train(tmp_path, World())
    assert [n for n in again.events if "done" not in n] == ["load_checkpoint", "evaluate"] * 2
    assert [held for _, held in again.calls["evaluate"]] == outcome(tmp_path)[2]


def test_unverified_completions_enter_neither_reward_nor_p_c(tmp_path):
    world = train(tmp_path, World())
    assert sum(line["unverified"] for line in metrics(tmp_path)) > 0
    for line, (groups, *_) in zip(metrics(tmp_path), world.calls["update"], strict=True):
        marks = [[v.status for v in g.verdicts if v.status != "unverified"] for g in groups]
        shares = [(of_group.count("correct"), len(of_group)) for of_group in marks]
        assert line["unverified"] == sum(4 - valid for _, valid in shares)
        assert line["reward_mean"] == pytest.approx(sum(c for c, _ in shares) / sum(n for _, n in shares))
        # A group without any verdict has no p_c.
        rounded = [round(4 * c / n) for c, n in shares if n]
        assert line["p_c_histogram"] == [rounded.count(i) for i in range(5)]


def test_the_step_line_reports_the_verification(tmp_path):
    world = train(tmp_path, World())
    for line, (groups, *_) in zip(metrics(tmp_path), world.calls["update"], strict=True):
        statuses = [v.status for g in groups for v in g.verdicts]
        verify = line["verify"]
        assert verify["verdicts"] == {s: statuses.count(s) / 8 for s in ("correct", "wrong", "unverified")}
        assert (verify["completions"], verify["retries"], verify["respawns"]) == (8, 2, 0)
        assert verify["seconds"] == {"math": {"count": 8, "p50": 0.5, "p95": 0.5, "p99": 0.5}}
        assert verify["backend"] == {"stand-in": 2}


def test_the_seconds_of_a_steps_parts_sum_to_its_total(tmp_path):
    train(tmp_path, World(seconds=(0.01, 0.02)), stages=[STAGES[0]])
    for seconds in (line["seconds"] for line in metrics(tmp_path)):
        assert seconds.keys() == {"generate", "verify", "update", "sync", "rest", "total"}
        assert sum(s for part, s in seconds.items() if part != "total") == pytest.approx(seconds["total"])
        assert min(seconds.values()) >= 0
        assert seconds["generate"] >= 0.02
        assert seconds["verify"] >= 0.01


def test_the_step_line_has_the_working_share_of_each_actor(tmp_path):
    train(tmp_path, World(seconds=(0.01, 0.02)), stages=[STAGES[0]])
    # The stand-in's actors work 1/100 s for each of 14 events: two of generate, two of grade, and two each (before and
    # after the call) of compute_advantages, update, write, export_weights and load.
    for line in metrics(tmp_path):
        assert line["busy"].keys() == {"generator_0", "learner_0"}
        for share in line["busy"].values():
            assert share * line["seconds"]["total"] == pytest.approx(0.14)


def test_the_working_share_of_a_replaced_or_new_actor_is_not_negative():
    assert busy_shares({"a": 5.0, "b": 9.0}, {"a": 6.0, "b": 1.0, "c": 0.5}, 2.0) == {"a": 0.5, "b": 0.0, "c": 0.25}


def test_the_step_line_has_percentiles_of_completion_lengths(tmp_path):
    train(tmp_path, World(), stages=[STAGES[0]])
    line = metrics(tmp_path)[0]
    assert [line[f"completion_tokens_{part}"] for part in ("p10", "mean", "p90")] == [1, 3, 6]


def test_encoding_the_prompts_does_not_shorten_the_verify_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(Tokenizer, "seconds", 0.02)
    train(tmp_path, World(seconds=(0.0, 0.03)), stages=[STAGES[0]])
    assert min(line["seconds"]["verify"] for line in metrics(tmp_path)) >= 0.025


def test_a_failed_sync_ends_the_run_before_anything_is_generated(tmp_path):
    with pytest.raises(SyncError, match=r"version 0.*generator_0.*w"):
        train(tmp_path, world := World(lost=1))
    assert "generate" not in world.events


def verdicts_of_the_first_step(world):
    groups, *_ = world.calls["update"][0]
    return {g.question_id: [v.status for v in g.verdicts] for g in groups}


def test_shuffled_rewards_permute_the_verdicts_within_each_group(tmp_path):
    # 7 questions in one step: the probability that no group changes its order is below one in a thousand.
    stages = [StageConfig("math", ["algebra"], 1, 7, 8, 8)]
    true = verdicts_of_the_first_step(train(tmp_path / "true", World(), stages=stages))
    control = {"control": "shuffled_rewards"}
    shuffled = verdicts_of_the_first_step(train(tmp_path / "shuffled", World(), stages=stages, **control))
    again = verdicts_of_the_first_step(train(tmp_path / "again", World(), stages=stages, **control))
    assert shuffled != true
    assert {q: sorted(v) for q, v in shuffled.items()} == {q: sorted(v) for q, v in true.items()}
    assert again == shuffled


def test_shuffled_rewards_leave_completions_that_count_nowhere_alone():
    """Four correct answers, four truncated and masked ones: p_c is 1 before and after, so the group has no signal."""
    verdicts = (*[Verdict("correct")] * 3, Verdict("unverified"), *[Verdict("wrong", "truncated")] * 4)
    cut = (False,) * 4 + (True,) * 4
    group = GradedGroup("q", "a", verdicts, 3, (5,) * 8, cut, None, mask_truncated=True)
    for key in range(20):
        [shuffled] = shuffled_rewards([group], (key,))
        assert shuffled.verdicts == verdicts
    [shuffled] = shuffled_rewards([replace(group, mask_truncated=False)], (0,))
    assert shuffled.verdicts[3] == verdicts[3]
    assert shuffled.verdicts != verdicts


def test_signal_seed_changes_questions_and_samples(tmp_path):
    zero, one = (train(tmp_path / str(seed), World(), seed=seed) for seed in (0, 1))
    asked = [[q for (q,) in world.calls["generate"]] for world in (zero, one)]
    assert asked[0] != asked[1]
    assert outcome(tmp_path / "0")[2] != outcome(tmp_path / "1")[2]


def test_metrics_of_a_users_loss_are_in_the_line_as_means_over_tokens(tmp_path):
    class OwnLoss(World):
        def update(self, *arguments):
            return {**super().update(*arguments), "surprise": 8.0, "gap_max": 3.0}

    train(tmp_path, OwnLoss())
    for line in metrics(tmp_path):
        assert (line["loss_surprise"], line["loss_gap_max"]) == (8.0 / line["updated_tokens"], 3.0)


def test_a_step_without_an_updated_token_has_no_entropy(tmp_path):
    class NoSignal(World):
        def update(self, *arguments):
            return {**super().update(*arguments), "tokens": 0, "entropy": 0.0}

    train(tmp_path, NoSignal())
    assert [line["entropy"] for line in metrics(tmp_path)] == [None] * len(metrics(tmp_path))
