"""Who a run is, and the phases that runs share."""

import json
from pathlib import Path

import pytest

from vt_ray.config import Config, ConfigError, FileSource, config_hash
from vt_ray.pipeline import base_inputs
from vt_ray.run_folder import RunFolder


def config(tmp_path, name="a", lam=1.0, seed=0):
    c = Config(run_name=name, runs_dir=str(tmp_path), seed=seed)
    c.signal.mgpo.lam = lam
    return c


class Work:
    """Counts its calls, and what it finds and leaves in the folder."""

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


def test_a_run_writes_who_it_is(tmp_path):
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
    before = (tmp_path / "a" / "run.json").read_text()
    with RunFolder(config(tmp_path)).open():
        pass
    assert (tmp_path / "a" / "run.json").read_text() == before


def test_another_config_is_refused_with_both_hashes(tmp_path):
    first, second = config(tmp_path, lam=1.0), config(tmp_path, lam=2.0)
    with RunFolder(first).open():
        pass
    with pytest.raises(ConfigError) as refused, RunFolder(second).open():
        pass
    assert config_hash(first) in str(refused.value)
    assert config_hash(second) in str(refused.value)
    assert "run_name" in str(refused.value)
    with RunFolder(first).open():
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


def test_a_run_with_equal_inputs_takes_the_finished_phase(tmp_path):
    work = Work()
    for name, lam in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        with RunFolder(config(tmp_path, name, lam)).open() as run:
            assert result(run.phase("sft", {"lr": 0.1, "steps": [1, 2]}, work)) == "result"
    assert len(work.folders) == 1


@pytest.mark.parametrize("other", [("sft", {"lr": 0.2}), ("sft", {"lr": 0.1, "steps": 3}), ("probe", {"lr": 0.1})])
def test_other_inputs_or_another_phase_are_worked_anew(tmp_path, other):
    work, anew = Work("first"), Work("second")
    with RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"lr": 0.1}, work)
    with RunFolder(config(tmp_path, "b")).open() as run:
        assert result(run.phase(*other, anew)) == "second"
    assert result(tmp_path / "a" / "sft") == "first"
    assert work.folders[0] != anew.folders[0]


def test_interrupted_work_goes_on_in_the_same_folder(tmp_path):
    work = Work(fails=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="crashed"), RunFolder(config(tmp_path)).open() as run:
            run.phase("sft", {"x": 1}, work)
        assert not (tmp_path / "a" / "sft").exists()
    with RunFolder(config(tmp_path)).open() as run:
        folder = run.phase("sft", {"x": 1}, work)
    assert len(set(work.folders)) == 1
    assert work.found == [[], ["part"], ["part"]]
    assert result(folder) == "result"
    assert (folder / "part").read_text() == "part"


def test_another_run_finishes_what_the_first_left(tmp_path):
    work = Work(fails=1)
    with pytest.raises(RuntimeError), RunFolder(config(tmp_path, "a")).open() as run:
        run.phase("sft", {"x": 1}, work)
    with RunFolder(config(tmp_path, "b")).open() as run:
        assert result(run.phase("sft", {"x": 1}, work)) == "result"
    assert work.found[1] == ["part"]


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
    import shutil

    with RunFolder(config(tmp_path)).open() as run:
        folder = run.phase("sft", {"x": 1}, Work())
        shutil.rmtree(tmp_path / "phases")
        assert result(folder) == "result"
        assert result(run.phase("sft", {"x": 1}, Work("again"))) == "result"


def test_a_problem_file_edited_since_the_run_began_is_refused(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("one")
    c = config(tmp_path)
    c.data.train_files = [FileSource(path=str(file))]
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
