"""The identity of a run, and the phases that runs share."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from test_checkpoint import ERRORS, contents, fails_once
from test_config import changed

from vt_ray.config import DEFAULT_PHASES, Config, ConfigError, DataSource, MgpoConfig, SignalConfig
from vt_ray.pipeline import (
    base_inputs,
    error_rates_inputs,
    fused_inputs,
    probe_inputs,
    scores_inputs,
    sft_inputs,
)
from vt_ray.progress import console
from vt_ray.records import Problem, Solution
from vt_ray.run.checkpoint import CheckpointError
from vt_ray.run.identity import config_hash, identity
from vt_ray.run.inputs import problems_digest
from vt_ray.run.run_folder import RunFolder


def config(tmp_path, name="a", lam=1.0, seed=0):
    c = Config(run_name=name, runs_dir=str(tmp_path), seed=seed)
    c.signal.mgpo.lam = lam
    return c


class Work:
    """Counts its calls and records the files that it finds and leaves in the folder."""

    def __init__(self, text="result", fails=0):
        self.text, self.fails, self.folders, self.found = text, fails, [], []

    def __call__(self, folder: Path) -> None:
        self.folders.append(folder)
        self.found.append(sorted(p.name for p in folder.iterdir()))
        (folder / "part").write_text("part")
        if len(self.folders) <= self.fails:
            raise RuntimeError("crashed")
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "result.txt").write_text(self.text)


def result(folder):
    return (folder / "deep" / "result.txt").read_text()


def test_a_run_writes_its_identity(tmp_path):
    c = config(tmp_path, lam=0.5, seed=7)
    with RunFolder(c).open() as run:
        assert run.root == tmp_path / "a"
    identity = json.loads((tmp_path / "a" / "run.json").read_text())
    assert identity["config_hash"] == config_hash(c)
    assert (identity["run_name"], identity["seed"], identity["lambda"]) == ("a", 7, 0.5)
    assert {"vt_ray", "python", "torch"} <= identity["versions"].keys()
    assert "lam: 0.5" in (tmp_path / "a" / "config.yaml").read_text()


def test_the_same_config_continues(tmp_path):
    with RunFolder(config(tmp_path)).open():
        pass
    before = run_json(tmp_path)
    with RunFolder(config(tmp_path)).open():
        pass
    assert {**run_json(tmp_path), "starts": 0} == {**before, "starts": 0}


def run_json(tmp_path):
    return json.loads((tmp_path / "a" / "run.json").read_text())


def test_another_config_is_refused_with_the_settings_that_differ(tmp_path):
    first, second = config(tmp_path, lam=1.0), config(tmp_path, lam=2.0, seed=3)
    with RunFolder(first).open():
        pass
    before = run_json(tmp_path)
    with pytest.raises(ConfigError) as refused, RunFolder(second).open():
        pass
    assert "seed was 0, is 3; signal.mgpo.lam was 1.0, is 2.0" in str(refused.value)
    assert "run_name" in str(refused.value)
    assert run_json(tmp_path) == before
    with RunFolder(first).open():
        pass


def test_a_run_from_before_decontamination_continues_without_it(tmp_path):
    made, read = config(tmp_path), config(tmp_path, "b")
    (tmp_path / "mine.jsonl").write_text("")
    read.data.train_files = [DataSource(str(tmp_path / "mine.jsonl"))]
    for c in (made, read):
        with RunFolder(c).open() as run:
            known = json.loads(run.paths.run_json.read_text())
        assert known["settings"].pop("data.decontaminate") == "drop"
        run.paths.run_json.write_text(json.dumps(known))
    with RunFolder(made).open():
        pass
    with pytest.raises(ConfigError, match="data.decontaminate was off, is drop"), RunFolder(read).open():
        pass
    read.data.decontaminate = "off"
    with RunFolder(read).open():
        pass


def test_memory_time_and_checkpoints_may_change_and_each_start_is_noted(tmp_path):
    first, second = config(tmp_path), config(tmp_path)
    second.learner.row_tokens, second.signal.keep_checkpoints = 512, 1
    with RunFolder(first).open():
        pass
    with console.capture() as said, RunFolder(second).open():
        pass
    assert "learner.row_tokens was 2048 at the last start, is 512" in said.get()
    with console.capture() as said, RunFolder(second).open():
        pass
    assert said.get() == ""
    starts = run_json(tmp_path)["starts"]
    knobs = {"learner.row_tokens": 512, "signal.keep_checkpoints": 1}
    assert [{k: v for k, v in start["settings"].items() if k in knobs} for start in starts] == [{}, knobs, knobs]
    assert all({"time", "command", "code", "versions"} <= start.keys() for start in starts)


@dataclass
class GrownMgpo(MgpoConfig):
    """The config of a later version of the code, with one more setting."""

    dual_clip: float = 0.0


@dataclass
class GrownSignal(SignalConfig):
    mgpo: GrownMgpo = field(default_factory=GrownMgpo)


@dataclass
class Grown(Config):
    signal: GrownSignal = field(default_factory=GrownSignal)


def grown(tmp_path, name="a", dual_clip=0.0):
    c = Grown(run_name=name, runs_dir=str(tmp_path))
    c.signal.mgpo.dual_clip = dual_clip
    return c


def test_a_new_setting_does_not_change_older_runs(tmp_path):
    with RunFolder(config(tmp_path)).open():
        pass
    with RunFolder(grown(tmp_path)).open():
        pass
    assert config_hash(grown(tmp_path)) == config_hash(config(tmp_path)) != config_hash(grown(tmp_path, dual_clip=3.0))
    other = RunFolder(grown(tmp_path, dual_clip=3.0))
    with pytest.raises(ConfigError, match=r"signal.mgpo.dual_clip was 0.0, is 3.0"), other.open():
        pass


def test_a_setting_that_is_new_in_the_code_leaves_finished_phases_shared(tmp_path):
    works = Work("old"), Work("new"), Work("other")
    runs = config(tmp_path, "a"), grown(tmp_path, "b"), grown(tmp_path, "c", dual_clip=3.0)
    for c, work in zip(runs, works, strict=True):
        with RunFolder(c).open() as run:
            run.phase("probe", identity(c, "seed", "signal.mgpo"), work)
    assert [len(work.folders) for work in works] == [1, 0, 1]


def test_a_default_that_was_changed_in_the_code_is_another_setting(tmp_path, monkeypatch):
    c = config(tmp_path)
    with RunFolder(c).open():
        pass
    path = tmp_path / "a" / "run.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "settings": {**known["settings"], "spectrum.sft.steps": 7}}))
    with pytest.raises(ConfigError, match="spectrum.sft.steps was 7, is 600"), RunFolder(c).open():
        pass


def test_a_run_of_an_older_version_is_refused_in_one_message(tmp_path):
    with RunFolder(config(tmp_path)).open():
        pass
    path = tmp_path / "a" / "run.json"
    old = {key: value for key, value in run_json(tmp_path).items() if key not in ("settings", "starts")}
    path.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match="older version of vt_ray.*run_name"), RunFolder(config(tmp_path)).open():
        pass


def test_results_without_a_run_json_are_refused(tmp_path):
    with RunFolder(config(tmp_path)).open():
        pass
    (tmp_path / "a" / "rl").mkdir()
    (tmp_path / "a" / "run.json").unlink()
    with pytest.raises(ConfigError, match="holds rl of a run.*run.json is missing"), RunFolder(config(tmp_path)).open():
        pass


def test_a_run_in_use_is_refused_and_free_afterwards(tmp_path):
    with RunFolder(config(tmp_path)).open():
        with pytest.raises(ConfigError, match="in use"), RunFolder(config(tmp_path)).open():
            pass
        with RunFolder(config(tmp_path, name="b")).open():
            pass
    with RunFolder(config(tmp_path)).open():
        pass


def test_a_run_that_ends_with_an_error_is_not_in_use(tmp_path):
    with pytest.raises(RuntimeError), RunFolder(config(tmp_path)).open():
        raise RuntimeError
    with RunFolder(config(tmp_path)).open():
        pass


def test_a_phase_is_worked_once_in_a_run(tmp_path):
    work = Work()
    with RunFolder(config(tmp_path)).open() as run:
        first = run.phase("sft", {"x": 1}, work)
        assert run.phase("sft", {"x": 1}, work) == first == tmp_path / "a" / "sft"
    with RunFolder(config(tmp_path)).open() as run:
        run.phase("sft", {"x": 1}, work)
    assert len(work.folders) == 1
    assert result(first) == "result"


def test_the_files_of_a_phase_are_on_disk_before_it_is_done(tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with RunFolder(config(tmp_path)).open() as run:
        run.phase("sft", {}, Work())
    assert flushed.index("result.txt") < flushed.index("DONE.json.partial")


def test_a_run_with_equal_inputs_takes_the_finished_phase(tmp_path):
    work = Work()
    for name, lam in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        with RunFolder(config(tmp_path, name, lam)).open() as run:
            assert result(run.phase("sft", {"lr": 0.1, "steps": [1, 2]}, work)) == "result"
    assert len(work.folders) == 1


@pytest.mark.parametrize("other", [("sft", {"lr": 0.2}), ("sft", {"lr": 0.1, "steps": 3}), ("probe", {"lr": 0.1})])
def test_other_inputs_or_another_phase_are_worked_again(tmp_path, other):
    work, anew = Work("first"), Work("second")
    with RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"lr": 0.1}, work)
    with RunFolder(config(tmp_path, "b")).open() as run:
        assert result(run.phase(*other, anew)) == "second"
    assert result(tmp_path / "a" / "sft") == "first"
    assert work.folders[0] != anew.folders[0]


def test_similar_phases_differ_in_the_ignored_settings_only(tmp_path, monkeypatch):
    mine = {"lr": 0.1, "spectrum.probe.k": 8, "spectrum.probe.samples": 8}
    with RunFolder(config(tmp_path)).open() as run:

        def folder(name, inputs, crash=False):
            work = Work(fails=1) if crash else Work()
            with suppress(RuntimeError):
                run.phase(name, inputs, work)
            shutil.rmtree(tmp_path / "a" / name, ignore_errors=True)
            return work.folders[0]

        other_k = folder("probe", {**mine, "spectrum.probe.k": 4})
        unfinished = folder("probe", {**mine, "spectrum.probe.k": 2}, crash=True)
        folder("probe", {**mine, "spectrum.probe.k": 1, "spectrum.probe.samples": 16})
        folder("probe", {**mine, "spectrum.probe.k": 1, "lr": 0.2})
        folder("probe2", {**mine, "spectrum.probe.k": 1})
        this = folder("probe", mine)
        assert {*run.similar(this, ["spectrum.probe.k"])} == {other_k, unfinished}
        assert not run.similar(this, [])
        for key, value in (("code", {"x": "1"}), ("after", "another SFT")):
            record = json.loads((other_k / "inputs.json").read_text())
            (other_k / "inputs.json").write_text(json.dumps({**record, key: value}))
            assert run.similar(this, ["spectrum.probe.k"]) == [unfinished]
            (other_k / "inputs.json").write_text(json.dumps(record))


def test_interrupted_work_goes_on_in_the_same_folder(tmp_path):
    work = Work(fails=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="crashed"), RunFolder(config(tmp_path)).open() as run:
            run.phase("sft", {"x": 1}, work)
        assert not (tmp_path / "a" / "sft").exists()
    with RunFolder(config(tmp_path)).open() as run:
        folder = run.phase("sft", {"x": 1}, work)
    assert len(set(work.folders)) == 1
    assert work.found == [["inputs.json"], ["inputs.json", "part"], ["inputs.json", "part"]]
    assert result(folder) == "result"
    assert (folder / "part").read_text() == "part"


def test_another_run_finishes_an_interrupted_phase(tmp_path):
    work = Work(fails=1)
    with pytest.raises(RuntimeError), RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"x": 1}, work)
    with RunFolder(config(tmp_path, "b")).open() as run:
        assert result(run.phase("sft", {"x": 1}, work)) == "result"
    assert work.found[1] == ["inputs.json", "part"]


def test_the_runs_copy_is_whole_even_after_a_crash_while_it_was_linked(tmp_path):
    work = Work()
    with RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"x": 1}, work)
    half = tmp_path / "b" / "sft"
    for folder in (half, half.with_suffix(".partial")):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "torn.txt").write_text("torn")
    with RunFolder(config(tmp_path, "b")).open() as run:
        folder = run.phase("sft", {"x": 1}, work)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"part", "deep/result.txt"} < files
    assert "deep/torn.txt" not in files
    assert not half.with_suffix(".partial").exists()
    assert len(work.folders) == 1


def test_the_shared_copy_can_be_deleted(tmp_path):
    with RunFolder(config(tmp_path)).open() as run:
        folder = run.phase("sft", {"x": 1}, Work())
        shutil.rmtree(tmp_path / "phases")
        assert result(folder) == "result"
        assert result(run.phase("sft", {"x": 1}, Work("again"))) == "result"


def test_a_problem_file_edited_since_the_run_began_is_refused(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("one")
    c = config(tmp_path)
    c.data.train_files = [DataSource(path=str(file))]
    with RunFolder(c).open():
        before = base_inputs(c)
    file.write_text("two")
    assert base_inputs(c) != before
    with pytest.raises(ConfigError, match="mine.jsonl has changed"), RunFolder(c).open():
        pass
    file.write_text("one")
    with RunFolder(c).open():
        assert base_inputs(c) == before


def test_a_local_model_changed_since_is_another_input(tmp_path):
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(b"1234")
    c = config(tmp_path)
    c.model.source, c.model.path = "hf", str(tmp_path / "model")
    before = base_inputs(c)
    weights.write_bytes(b"12345")
    assert base_inputs(c) != before


def test_a_phase_whose_settings_had_another_default_is_made_again(tmp_path):
    with RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"spectrum.sft.steps": 7, "seed": 0}, Work())
    anew = Work("anew")
    with RunFolder(config(tmp_path, "b")).open() as run:
        run.phase("sft", {"spectrum.sft.steps": 600, "seed": 0}, anew)
        run.phase("probe", {"seed": 0}, Work())
    assert len(anew.folders) == 1


INPUTS_OF = (base_inputs, sft_inputs, probe_inputs, fused_inputs, scores_inputs)


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        # The first phase that the setting changes, as an index of INPUTS_OF; 5: none.
        ("model.hidden_size", 256, 0),
        ("data.train_per_subdomain", 7, 0),
        ("seed", 5, 0),
        ("spectrum.sft.optimizer.lr", 1e-3, 1),
        ("spectrum.sft.checkpoint_every", 60, 1),
        ("data.math_suffix", "Box it.", 0),
        ("spectrum.probe.k", 4, 2),
        ("verify.test_timeout_s", 9.0, 2),
        ("data.probe_per_subdomain", 7, 2),
        ("spectrum.fusion.weights", [0.5, 0.5], 3),
        ("evaluation.samples", 2, 4),
        ("data.test_per_subdomain", 7, 4),
        ("signal.mgpo.lam", 0.5, 5),
        ("learner.row_tokens", 512, 5),
        ("learner.zero_stage", 2, 5),
        ("cluster.num_learners", 2, 5),
        ("cluster.max_num_seqs", 8, 5),
        ("model.gradient_checkpointing", True, 5),
        ("verify.sandbox.recycle_after", 9, 5),
        ("data.solved_share", 0.5, 0),
        ("model.rope_theta", 1e6, 0),
        ("spectrum.sft.heldout_share", 0.1, 1),
        ("spectrum.sft.optimizer.warmup_share", 0.1, 1),
        ("learner.lora.rank", 8, 1),
        ("spectrum.probe.criterion", "pass_at_1", 2),
        ("spectrum.probe.racing", 0.05, 2),
        ("spectrum.probe.groups", {"algebra": "all"}, 2),
        ("spectrum.fusion.on_loss", "stop", 3),
        ("spectrum.second_stage.steps", 5, 4),
        ("spectrum.sft.keep", "specialists", 5),
        ("signal.control_sft_like", "runs/other", 5),
        ("phases", [*DEFAULT_PHASES, "rejection", "self_distil"], 5),
        ("rejection.samples", 2, 5),
        ("self_distil.epochs", 3.0, 5),
    ],
)
def test_a_phase_rests_on_the_settings_that_change_its_result(tmp_path, key, value, first):
    c = config(tmp_path)
    same = [inputs(c) == inputs(changed(c, **{key: value})) for inputs in INPUTS_OF]
    assert same == [True] * first + [False] * (5 - first)


def test_a_run_that_stops_and_one_that_goes_on_share_the_fused_model(tmp_path):
    stop, go_on = (changed(config(tmp_path), **{"spectrum.fusion.on_loss": v}) for v in ("stop", "continue"))
    assert scores_inputs(stop) == scores_inputs(go_on)


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("spectrum.probe.criterion", "pass_at_1", True),
        ("data.probe_per_subdomain", 7, True),
        ("spectrum.second_stage.min_error_rate", 0.5, True),
        ("spectrum.probe.temperature", 0.5, False),
        ("spectrum.second_stage.rollouts", 3, False),
        ("verify.test_timeout_s", 9.0, False),
    ],
)
def test_error_rates_depend_on_their_sampling_only(tmp_path, key, value, same):
    c = config(tmp_path)
    assert (error_rates_inputs(c) == error_rates_inputs(changed(c, **{key: value}))) == same


@pytest.mark.parametrize(
    "given",
    [
        {"phases": ["rejection"], "rejection.models": ["A={folder}"]},
        {"phases": ["rl", "self_distil"], "self_distil.student": "{folder}"},
    ],
)
def test_a_model_edited_since_the_run_asked_or_taught_it_is_refused(tmp_path, given):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_text("one")
    changes = json.loads(json.dumps(given).replace("{folder}", str(folder)))
    c = changed(config(tmp_path), **changes)
    with RunFolder(c).open() as run:
        run.phase("rejection", {"x": 1}, Work())
    (folder / "model.safetensors").write_text("another")
    with pytest.raises(ConfigError, match=r"model\.safetensors has changed"), RunFolder(c).open():
        pass


@pytest.mark.parametrize("split", ["train", "probe", "test"])
def test_a_phase_rests_on_the_contents_of_its_own_files(tmp_path, split):
    c = config(tmp_path)
    file = tmp_path / f"{split}.jsonl"
    file.write_text("one")
    setattr(c.data, f"{split}_files", [DataSource(path=str(file))])
    before = [inputs(c) for inputs in INPUTS_OF]
    file.write_text("two")
    first = {"train": 0, "probe": 2, "test": 4}[split]
    assert [inputs(c) == b for inputs, b in zip(INPUTS_OF, before, strict=True)] == [True] * first + [False] * (
        5 - first
    )


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("on", ["a/sft/DONE.json", "a/run.json"])
def test_a_folder_that_cannot_be_read_is_neither_repeated_nor_deleted(tmp_path, monkeypatch, code, on):
    with RunFolder(config(tmp_path)).open() as run:
        run.phase("sft", {"x": 1}, Work())
    before, anew = contents(tmp_path), Work("anew")
    fails_once(monkeypatch, code, Path, "stat", on)
    with pytest.raises(OSError, match="nothing was deleted"), RunFolder(config(tmp_path)).open() as run:
        run.phase("sft", {"x": 1}, anew)
    assert not anew.folders
    assert {name: text for name, text in contents(tmp_path).items() if name != "a/run.json"} == {
        name: text for name, text in before.items() if name != "a/run.json"
    }


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize(("name", "on"), [("stat", "DONE.json"), ("stat", "inputs.json"), ("read_text", "inputs.json")])
def test_an_unreadable_shared_phase_is_not_made_again(tmp_path, monkeypatch, code, name, on):
    with RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"x": 1}, Work())
    (shared,) = tmp_path.glob("phases/sft-*/")
    anew = Work("anew")
    fails_once(monkeypatch, code, Path, name, f"{shared.name}/{on}")
    with pytest.raises(OSError, match="nothing was deleted"), RunFolder(config(tmp_path, "b")).open() as run:
        run.phase("sft", {"x": 1}, anew)
    assert not anew.folders


def test_a_torn_done_file_is_named(tmp_path):
    with RunFolder(config(tmp_path)).open() as run:
        base = run.phase("base", {"x": 1}, Work())
        (base / "DONE.json").write_text("{")
        with pytest.raises(CheckpointError, match="base/DONE.json is damaged"):
            run.phase("sft", {"x": 1}, Work(), after=base)


def test_a_phase_folder_without_its_done_file_is_kept_aside(tmp_path):
    with RunFolder(config(tmp_path)).open() as run:
        folder = run.phase("sft", {"x": 1}, Work())
        (folder / "DONE.json").unlink()
        run.phase("sft", {"x": 1}, Work())
    assert result(tmp_path / "a" / "sft.damaged") == result(tmp_path / "a" / "sft") == "result"


def test_the_digest_of_problems_depends_on_their_content(tmp_path):
    problems = [Problem("a/1", "algebra", "math", "1 + 1?", "2", solutions=(Solution("direct", "2"),))]
    same = [replace(problems[0], level=1)]
    assert problems_digest(problems) == problems_digest(same) != problems_digest([])
    others = [{"answer": "3"}, {"solutions": (Solution("direct", "two"),)}, {"level": 2}, {"tests": {"inputs": [""]}}]
    assert len({problems_digest([replace(problems[0], **other)]) for other in [{}, *others]}) == 5


@pytest.mark.parametrize("use", ["spectrum.fusion.method", "signal.mgpo.loss", "signal.mgpo.weight", "verify.kinds"])
def test_a_users_function_edited_since_the_run_began_is_refused(tmp_path, monkeypatch, use):
    module = f"edited_{use.replace('.', '_')}"
    (tmp_path / f"{module}.py").write_text("def function(*arguments): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = f"{module}:function"
    c = changed(config(tmp_path), **{use: {"mine": path} if use == "verify.kinds" else path})
    with RunFolder(c).open():
        before = fused_inputs(c)
    (tmp_path / f"{module}.py").write_text("def function(*arguments): return 2\n")
    # The loss and the weight are not used in the spectrum phase.
    assert (fused_inputs(c) == before) == use.startswith("signal.mgpo")
    with pytest.raises(ConfigError, match=f"{path} has changed"), RunFolder(c).open():
        pass
