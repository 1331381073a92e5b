"""Runs with some of the phases: the start of RL, milestones, summary, report, and the settings that are refused."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest
import test_loop
import torch
from omegaconf import OmegaConf
from test_config import changed, composed
from test_fusion import checkpoint, constant

from vt_ray import main, pipeline
from vt_ray.algorithms.learning_rate import lr_at
from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import Config, ConfigError, CurriculumConfig, OptimizerConfig, StageConfig, digest
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.experiment import Experiment
from vt_ray.interfaces import Hardware
from vt_ray.planning.resource_plan import phase_plan
from vt_ray.planning.validate import validate
from vt_ray.report.comparison.runs import read_runs
from vt_ray.report.run_record import read_run
from vt_ray.report.watch.run_view import LiveRun
from vt_ray.run.checkpoint import write_json
from vt_ray.run.inputs import problems_digest
from vt_ray.run.milestone_names import planned
from vt_ray.run.run_folder import RunFolder
from vt_ray.spectrum_phase import fusing
from vt_ray.spectrum_phase.given_checkpoints import refuse_unusable_checkpoints
from vt_ray.tracking.committed import committed_records

STAGE = StageConfig("math", ["algebra"], 2, 2, 4, 8)
MATH = test_loop.PROBLEMS[:7]
SETS = ProblemSets(MATH, MATH[:3], MATH[3:6])
EXAMPLES = [TrainSequence((1,), np.array([2, 3]), 0.0)] * 4


class World(test_loop.World):
    """`test_loop.World` with SFT. The learner has no weights between two phases."""

    @contextmanager
    def learner(self, *arguments):
        with super().learner(*arguments):
            yield self
        self.value = None

    def sft_step(self, sequences):
        self.record("sft_step")
        self.value = test_loop.number(self.value, len(sequences))
        return {"loss": 0.5, "tokens": 4, "grad_norm": 0.5}

    def completion_nll(self, sequences):
        self.record("completion_nll")
        return [test_loop.number(self.value, [*s.completion_ids]) % 1000 / 1000 for s in sequences]

    def recover(self, error):
        raise error

    def hardware(self):
        return Hardware(2, 0)


def settings(tmp_path, name="r", **changes):
    config = Config(name, str(tmp_path / "runs"), curriculum=CurriculumConfig([STAGE]))
    config.spectrum.sft.steps, config.spectrum.sft.checkpoint_every = 4, 2
    config.spectrum.probe.samples = config.evaluation.samples = config.evaluation.code_samples = 4
    config.spectrum.probe.k = config.evaluation.k = 2
    return changed(config, **changes)


def run(config, monkeypatch, problems=SETS):
    """The whole pipeline on a new `World`. Returns the world, the run's paths and the summary."""
    world = World()

    def prepare(config, cluster, run, problems):
        base = run.phase("base", {}, lambda folder: write_json(folder / "model.json", 1))
        return Experiment(config, world, run, problems, base, PromptEncoder(test_loop.Tokenizer(), config.data))

    def fuse(specialists, weights, folder, rule, base, seed):
        write_json(folder / "model.json", sum(map(test_loop.read, specialists.values())))

    monkeypatch.setattr(pipeline, "prepare", prepare)
    monkeypatch.setattr(fusing, "fuse", fuse)
    monkeypatch.setattr(pipeline, "encoded_examples", lambda *arguments: EXAMPLES)
    with RunFolder(config).open() as folder:
        return world, folder.paths, pipeline.run_pipeline(config, world, folder, problems)


PATHS = [
    # phases, milestones, the milestone whose weights RL starts from
    (["sft", "probe", "fuse", "rl"], ["base", "sft_last", "sft_best", "fused", "math"], "fused"),
    (["sft", "probe", "rl"], ["base", "sft_last", "sft_best", "math"], "sft_best"),
    (["sft", "rl"], ["base", "sft_last", "math"], "sft_last"),
    (["rl"], ["base", "math"], "base"),
    (["sft", "probe", "fuse"], ["base", "sft_last", "sft_best", "fused"], None),
    (["sft", "probe"], ["base", "sft_last", "sft_best"], None),
    (["sft"], ["base", "sft_last"], None),
    ([], ["base"], None),
]


@pytest.mark.parametrize(("phases", "milestones", "start"), PATHS, ids=["-".join(p) or "none" for p, _, _ in PATHS])
def test_a_run_has_the_milestones_of_its_phases(tmp_path, monkeypatch, phases, milestones, start):
    config = settings(tmp_path, phases=phases)
    world, paths, summary = run(config, monkeypatch)
    assert [m["name"] for m in summary["milestones"]] == milestones
    assert planned(LiveRun(paths.root).config) == milestones
    assert [plan.steps for plan in phase_plan(config, SETS) if plan.name == "evaluate"] == [len(milestones)]
    view = LiveRun(paths.root).view()
    assert (view.state, view.phase, len(view.milestones)) == ("finished", "report", len(milestones))
    assert (summary["gain"] is None) == (start is None)
    spectrum = [phase for phase in ("sft", "probe", "fuse") if phase in phases]
    assert list(summary["phases"]) == ["base", *spectrum, *(["rl math"] if start else []), "evaluate"]
    page = paths.report.read_text()
    shown = {"sft": 'id="sft"', "probe": 'id="probe"', "rl": 'id="rl"'}
    assert {phase for phase, mark in shown.items() if mark in page} == {*phases} - {"fuse"}
    if start:
        assert summary["gain"]["from"] in (start, "sft_best")
        assert world.calls["load"][0][0].buckets[0] == weights_of(start, paths)
    series = [(record.series, record.step) for record in committed_records(paths, LiveRun(paths.root).config) if record]
    assert [step for name, step in series if name == "eval"] == list(range(len(milestones)))
    assert [name for name, _ in series].count("sft") == (4 if "sft" in phases else 0)
    assert [r.end for r in read_runs([paths.root])[0]] == [milestones[-1]]


def weights_of(milestone, paths):
    """The weights of a milestone before RL."""
    if milestone == "base":
        return test_loop.read(paths.base)
    if milestone == "fused":
        return test_loop.read(paths.fused)
    best = json.loads(paths.probe.table.read_text())["best_pass_at_1"] if milestone == "sft_best" else "step_000004"
    return test_loop.read(paths.sft.checkpoints / best)


def test_runs_share_the_phases_that_they_have_in_common(tmp_path, monkeypatch):
    run(settings(tmp_path, "a", phases=["sft"]), monkeypatch)
    world, _, _ = run(settings(tmp_path, "b", phases=["sft", "probe", "fuse"]), monkeypatch)
    assert not world.calls["sft_step"]
    world, _, _ = run(settings(tmp_path, "c"), monkeypatch)
    # The scores before RL are shared too: only the model of the stage is loaded for its evaluation.
    assert not world.calls["sft_step"] and len(world.calls["load_checkpoint"]) == 1


def test_runs_with_another_criterion_share_the_samples_of_the_probe(tmp_path, monkeypatch):
    phases, pool = ["sft", "probe"], len(SETS.probe)
    first, paths, _ = run(settings(tmp_path, "a", phases=phases), monkeypatch)
    other = {"spectrum.probe.criterion": "pass_at_1", "spectrum.probe.ks": [1]}
    world, other_paths, _ = run(settings(tmp_path, "b", phases=phases, **other), monkeypatch)
    assert len(world.calls["generate"]) == len(first.calls["generate"]) - 2 * pool
    assert [f.read_bytes() for f in other_paths.probe.all_scores()] == [
        f.read_bytes() for f in paths.probe.all_scores()
    ]
    assert json.loads(other_paths.probe.table.read_text())["criterion"] == "pass_at_1"
    world, _, _ = run(settings(tmp_path, "c", phases=phases, **{"spectrum.probe.samples": 8}), monkeypatch)
    assert len(world.calls["generate"]) == len(first.calls["generate"])


def test_a_model_that_is_made_again_is_evaluated_again(tmp_path, monkeypatch):
    control = {"signal.control": "sft", "signal.control_sft_steps": 3}
    config = settings(tmp_path, phases=["rl"], **control)
    _, paths, _ = run(config, monkeypatch)
    shared = [path for path in paths.shared_phases.glob("sft_continued-*") if path.is_dir()]
    for folder in (paths.root / "sft_continued", *shared):
        shutil.rmtree(folder)
    old = json.loads(paths.scores("sft_continued").read_text())["scores"]
    paths.scores("sft_continued").write_text("{}")  # of another model
    head = {"fingerprint": digest([asdict(config.evaluation), problems_digest(SETS.test)])}
    lines = [head, *({**score, "seconds": 1.0} for score in old)]
    paths.partial_scores("sft_continued").write_text("".join(json.dumps(line) + "\n" for line in lines))
    world, paths, _ = run(config, monkeypatch)
    assert len(world.calls["sft_step"]) == 3 and len(world.calls["generate"]) == len(SETS.test)
    assert json.loads(paths.scores("sft_continued").read_text())["scores"]


def test_sft_continues_from_the_base_model(tmp_path, monkeypatch):
    control = {"signal.control": "sft", "signal.control_sft_steps": 3}
    world, _, summary = run(settings(tmp_path, phases=["rl"], **control), monkeypatch)
    assert [m["name"] for m in summary["milestones"]] == ["base", "sft_continued"]
    assert len(world.calls["sft_step"]) == 3


@pytest.mark.parametrize(("schedule", "rate"), [("cosine", 2e-5), ("linear", 2e-5), ("constant", 1e-4)])
def test_sft_continues_at_the_last_learning_rate_of_sft(tmp_path, monkeypatch, schedule, rate):
    continued, run_sft = [], pipeline.run_sft

    def spy(cluster, base, examples, sft, *rest):
        continued.append(sft)
        run_sft(cluster, base, examples, sft, *rest)

    monkeypatch.setattr(pipeline, "run_sft", spy)
    optimizer = OptimizerConfig(lr=1e-4, min_lr_ratio=0.2, warmup_steps=0, schedule=schedule)
    control = {"signal.control": "sft", "signal.control_sft_steps": 3, "spectrum.sft.optimizer": optimizer}
    run(settings(tmp_path, phases=["rl"], **control), monkeypatch)
    assert [lr_at(step, 3, continued[0].optimizer) for step in range(3)] == [pytest.approx(rate)] * 3


def given(tmp_path, *values):
    folders = [tmp_path / "given" / f"model-{value}" for value in values]
    for folder, value in zip(folders, values, strict=True):
        folder.mkdir(parents=True)
        write_json(folder / "model.json", value)
    return [str(folder) for folder in folders]


@pytest.mark.parametrize("phases", [["probe"], ["probe", "fuse"], ["probe", "fuse", "rl"], ["probe", "rl"]])
def test_given_checkpoints_are_probed_and_fused(tmp_path, monkeypatch, phases):
    config = settings(tmp_path, phases=phases, **{"spectrum.checkpoints": given(tmp_path, 5, 6)})
    world, paths, summary = run(config, monkeypatch)
    ends = {"fuse": ["fused"], "rl": ["math"]}
    assert [m["name"] for m in summary["milestones"]] == [
        "base",
        "sft_best",
        *sum((ends.get(p, []) for p in phases), []),
    ]
    assert [path.stem for path in paths.probe.all_scores()] == ["model-5", "model-6"]
    table = json.loads(paths.probe.table.read_text())
    best = int(table["best_pass_at_1"].removeprefix("model-"))
    assert best in (5, 6) and list(read_run(paths.root).probed)[:2] == ["model-5", "model-6"]
    if phases == ["probe", "rl"]:
        assert world.calls["load"][0][0].buckets[0] == best
    if "fuse" in phases:
        assert test_loop.read(paths.fused) == int(table["specialists"]["algebra"].removeprefix("model-"))


def test_other_checkpoints_are_probed_again(tmp_path, monkeypatch):
    for name, values in (("a", (5, 6)), ("b", (5, 7))):
        config = settings(tmp_path, name, phases=["probe"], **{"spectrum.checkpoints": given(tmp_path / name, *values)})
        _, paths, _ = run(config, monkeypatch)
        assert [path.stem for path in paths.probe.all_scores()] == [f"model-{value}" for value in values]


HF = {"model.source": "hf", "model.path": "org/model"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": ["sft", "merge"]}, "phases='merge' must be one of sft, probe, fuse, rl, rejection, self_distil"),
        ({"phases": ["rl", "sft"]}, "must be in the order of the pipeline"),
        ({"phases": ["sft", "sft"]}, "each once"),
        ({"phases": ["rl"]}, "RL would start from random weights: set model=hf model.path=..."),
        ({"phases": ["probe"]}, "probe needs checkpoints: give spectrum.checkpoints=[...] or add sft"),
        ({"phases": ["probe", "rl"], **HF}, "probe needs checkpoints"),
        ({"phases": ["sft", "fuse"]}, "fuse needs the specialists that probe chooses"),
        ({"spectrum.checkpoints": ["A"]}, "SFT makes the checkpoints; leave out one of both"),
        ({"phases": ["rl"], "spectrum.checkpoints": ["A"], **HF}, "only probe uses them"),
        (
            {"phases": ["probe", "rl"], "spectrum.checkpoints": ["A"], "model.chat_template": "think", **HF},
            "with the template of the best checkpoint: add fuse",
        ),
        ({"signal.evaluate_every": -1}, "signal.evaluate_every=-1 must be at least 0"),
        ({"signal.evaluate_every": 5, "signal.schedule": "pipelined"}, "take signal.schedule=on_policy"),
        ({"signal.save_hf_every": -1}, "signal.save_hf_every=-1 must be at least 0"),
        ({"signal.keep_hf": 0}, "signal.keep_hf=0 must be at least 1"),
    ],
)
def test_phases_that_cannot_run_are_refused(changes, message):
    with pytest.raises(ConfigError) as refused:
        validate(changed(composed("experiment=tiny"), **changes))
    assert message in str(refused.value)


@pytest.mark.parametrize("phases", [p for p, _, _ in PATHS if p != ["rl"]])
def test_the_phases_of_the_table_are_valid(phases):
    validate(composed("experiment=tiny", f"phases=[{','.join(phases)}]"))


def test_a_run_without_a_phase_needs_no_settings_or_problems_for_it():
    files = ["data.train_per_subdomain=0", "data.probe_per_subdomain=0", "model=hf", "model.path=org/model"]
    validate(composed("experiment=tiny", "phases=[]", "curriculum.stages=[]", *files))
    with pytest.raises(ConfigError, match="give problems for the train set"):
        validate(composed("experiment=tiny", "phases=[rl]", *files))
    short = composed("experiment=tiny", "phases=[]")
    assert short.context_tokens == short.data.max_prompt_tokens + short.evaluation.max_new_tokens
    long = ["spectrum.probe.max_new_tokens=900", "spectrum.second_stage.steps=2"]
    second = composed("experiment=tiny", "phases=[sft]", *long)
    assert second.context_tokens == second.data.max_prompt_tokens + 900, "the error rates are sampled with this limit"


def test_the_first_checkpoint_is_the_base_model_of_a_run_without_one():
    doors = ["experiment=tiny", "phases=[probe]", "spectrum.checkpoints=[some/A,some/B]"]
    assert composed(*doors).model.path == "some/A"
    assert composed(*doors, "model=hf", "model.path=org/model").model.path == "org/model"
    validate(composed(*doors))


def refusal(paths, base=None, dtype="float32"):
    with pytest.raises(ConfigError) as refused:
        refuse_unusable_checkpoints([str(path) for path in paths], base, dtype)
    return str(refused.value)


def made(folder, dtype=torch.float32, token="a", **shape):
    """A folder that passes as a small Qwen2: its config, tokenizer and two tensors."""
    config = {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, **shape}
    tokenizer = json.dumps({"model": {"vocab": {token: 0}}})
    return checkpoint(folder, constant(1.0, dtype), tokenizer=tokenizer, config=json.dumps(config))


def test_checkpoints_of_one_kind_are_taken(tmp_path):
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    # 151936 is the default of Qwen2, which other versions of transformers write or leave out.
    base = made(tmp_path / "base", vocab_size=151936)
    for known in (None, tmp_path / "nowhere", base):
        refuse_unusable_checkpoints([str(one), str(two)], known, "float32")


def test_checkpoints_of_several_kinds_are_refused(tmp_path):
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    wide, other = made(tmp_path / "wide", hidden_size=128), made(tmp_path / "other", token="b")
    assert "hidden_size is 128, not 64: give checkpoints of one model" in refusal([one, wide])
    assert "another vocabulary" in refusal([one, other])
    assert "another vocabulary" in refusal([one, two], base=other)
    assert "holds bfloat16, model.dtype=float32" in refusal([made(tmp_path / "half", torch.bfloat16)])
    assert "cannot be read" in refusal([one, made(tmp_path / "unknown", model_type="no_such_model")])
    contradiction = made(tmp_path / "contradiction", layer_types=["full_attention"] * 3)
    assert "config.json cannot be read (Class validation error" in refusal([one, contradiction])
    stretched = made(tmp_path / "stretched", rope_theta=1e6)
    assert "rope_parameters is {'rope_theta': 1000000.0" in refusal([one, stretched])
    # The default theta of Qwen2, written and left out.
    refuse_unusable_checkpoints([str(one), str(made(tmp_path / "same", rope_theta=10000))], None, "float32")


def test_checkpoint_folders_that_cannot_be_used_are_refused(tmp_path):
    one, old = made(tmp_path / "one"), made(tmp_path / "old")
    torch.save(constant(1.0), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    assert "save it with save_pretrained" in refusal([old])
    assert "does not exist" in refusal([tmp_path / "missing"])
    (tmp_path / "more").mkdir()
    assert "the folder name 'one' must be unique" in refusal([one, made(tmp_path / "more/one")])
    assert "none of" in refusal([made(tmp_path / "probe")])


def test_a_job_returns_the_last_pass_at_1(monkeypatch):
    ends = [{"name": name, "pass_at_1": {"mean": mean}} for name, mean in (("base", 0.1), ("math", 0.4))]
    monkeypatch.setattr(main, "_name_sweep_member", lambda config: None)
    monkeypatch.setattr(main, "launch", lambda config: {"milestones": ends})
    job = main.hydra_main.__wrapped__
    assert job(OmegaConf.structured(Config())) == 0.4
    monkeypatch.setattr(main, "launch", lambda config: None)
    assert job(OmegaConf.structured(Config())) is None
