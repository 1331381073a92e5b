"""A step commit is complete or absent. A damaged checkpoint is renamed, an unreadable checkpoint is not changed."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from vt_ray.progress import console
from vt_ray.run.checkpoint import (
    MANIFEST,
    CheckpointError,
    commit,
    commit_of_step,
    committed,
    exists,
    newest,
    read_json,
    write_folder,
    write_json,
)
from vt_ray.run.metrics_log import MetricsLog, read_lines


def state(text="weights"):
    def write(folder: Path) -> None:
        (folder / "learner").mkdir()
        (folder / "learner" / "model.bin").write_text(text)
        (folder / "tracker.json").write_text("{}")

    return write


def steps(folder, *numbers, keep=9):
    for n in numbers:
        commit(folder / f"step_{n:06d}", {"step": n}, state(f"weights of {n}"), keep)
    return folder


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_commit_is_found_with_its_state_and_manifest(tmp_path):
    folder, manifest = newest(steps(tmp_path, 1, 2))
    assert folder.name == "step_000002"
    assert manifest["step"] == 2
    assert (folder / "learner" / "model.bin").read_text() == "weights of 2"


def test_nothing_committed_is_none(tmp_path):
    assert newest(tmp_path) is None
    assert newest(tmp_path / "not there") is None
    assert committed(tmp_path) == []


def test_a_commit_that_fails_leaves_the_older_one_and_no_step_folder(tmp_path):
    steps(tmp_path, 1)

    def breaks(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        commit(tmp_path / "step_000002", {"step": 2}, breaks, keep=1)
    assert not (tmp_path / "step_000002").exists()
    assert newest(tmp_path)[0].name == "step_000001"
    assert names(tmp_path) == ["step_000001"]


@pytest.mark.parametrize("write", [lambda *how: commit(how[0], {}, how[1], keep=1), write_folder])
def test_an_error_of_a_writer_on_a_full_disk_is_that_the_disk_is_full(tmp_path, monkeypatch, write):
    def breaks(folder: Path) -> None:
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        write(tmp_path / "step_000001", breaks)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left") as full:
        write(tmp_path / "step_000001", breaks)
    assert full.value.errno == errno.ENOSPC and full.value.filename.endswith("step_000001.partial")


def test_an_error_before_the_first_commit_is_not_changed(tmp_path):
    def lost(folder: Path) -> None:
        raise ConnectionAbortedError("the learner is lost")

    with pytest.raises(ConnectionAbortedError, match="learner is lost"):
        write_folder(tmp_path / "checkpoints" / "step_000001", lost)


def test_a_commit_after_a_failed_one_holds_nothing_of_it(tmp_path):
    (tmp_path / "step_000001.partial").mkdir()
    (tmp_path / "step_000001.partial" / "old").write_text("old")
    steps(tmp_path, 1)
    assert names(tmp_path / "step_000001") == ["learner", MANIFEST, "tracker.json"]


def test_leftovers_of_a_crash_are_removed_even_if_all_their_files_are_there(tmp_path):
    steps(tmp_path, 1, 2)
    (tmp_path / "step_000002").rename(tmp_path / "step_000002.partial")
    (tmp_path / "step_000003.partial").mkdir()
    assert newest(tmp_path)[0].name == "step_000001"
    assert names(tmp_path) == ["step_000001"]


def truncate(step):
    (step / "learner" / "model.bin").write_text("wei")


def lose(step):
    (step / "tracker.json").unlink()


def lose_manifest(step):
    (step / MANIFEST).unlink()


def cut_manifest(step):
    text = (step / MANIFEST).read_text()
    (step / MANIFEST).write_text(text[: len(text) // 2])


def zero_manifest(step):
    (step / MANIFEST).write_bytes(bytes(200))


def binary_manifest(step):
    (step / MANIFEST).write_bytes(b"\xff\xfe\x80\x00")


def empty_manifest(step):
    (step / MANIFEST).write_text("")


def other_json_in_manifest(step):
    (step / MANIFEST).write_text("null")


DAMAGES = [truncate, lose, lose_manifest, cut_manifest, zero_manifest, binary_manifest, empty_manifest]
DAMAGES += [other_json_in_manifest]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_is_renamed_aside_and_named_on_the_screen(tmp_path, damage):
    damage(steps(tmp_path, 1, 2) / "step_000002")
    left = contents(tmp_path / "step_000002")
    assert [p.name for p in committed(tmp_path)] == ["step_000001"]
    with console.capture() as said:
        assert newest(tmp_path)[1]["step"] == 1
    assert "step_000002 is damaged" in said.get() and "step_000002.damaged" in said.get()
    assert names(tmp_path) == ["step_000001", "step_000002.damaged"]
    assert contents(tmp_path / "step_000002.damaged") == left


def test_the_same_step_damaged_twice_is_kept_twice(tmp_path):
    for _ in range(2):
        truncate(steps(tmp_path, 1, 2) / "step_000002")
        newest(tmp_path)
    assert names(tmp_path) == ["step_000001", "step_000002.2.damaged", "step_000002.damaged"]


def test_where_every_step_is_damaged_none_is_found_and_none_is_deleted(tmp_path):
    steps(tmp_path, 1, 2)
    for step in ("step_000001", "step_000002"):
        truncate(tmp_path / step)
    assert newest(tmp_path) is None
    assert names(tmp_path) == ["step_000001.damaged", "step_000002.damaged"]


@pytest.mark.parametrize("text", ["{}", '{"files": {}}', '{"step": 2}', '{"step": 2, "files": {}, "files_digest": ""}'])
def test_a_manifest_of_another_version_of_the_code_is_refused_by_name(tmp_path, text):
    (steps(tmp_path, 1, 2) / "step_000002" / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match="step_000002/manifest.json has no .*another version"):
        newest(tmp_path)
    assert names(tmp_path) == ["step_000001", "step_000002"]


def test_a_manifest_with_one_other_digit_is_damaged(tmp_path):
    manifest = steps(tmp_path, 1, 2) / "step_000002" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"step": 2', '"step": 3'))
    assert newest(tmp_path)[1]["step"] == 1


ERRORS = [errno.EIO, errno.EACCES, errno.ESTALE]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fails_once(monkeypatch, code, owner, name, on):
    """Makes the next call of `owner.name` with a path that ends in `on` raise."""
    real, left = getattr(owner, name), [1]

    def flaky(path, *arguments, **options):
        if str(path).endswith(on) and left[0]:
            left[0] = 0
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(owner, name, flaky)


HICCUPS = [
    (Path, "read_text", "step_000002/manifest.json"),
    (Path, "open", "step_000002/learner/model.bin"),
    (os, "listdir", "checkpoints"),
    (os, "scandir", "step_000002/learner"),
]


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize(("owner", "name", "on"), HICCUPS, ids=[f"{name} {on}" for _, name, on in HICCUPS])
def test_an_error_of_reading_is_raised_and_nothing_is_deleted(tmp_path, monkeypatch, code, owner, name, on):
    folder = steps(tmp_path / "checkpoints", 1, 2)
    before = contents(folder)
    fails_once(monkeypatch, code, owner, name, on)
    with pytest.raises(OSError, match="nothing was deleted.*repeat the same command") as raised:
        newest(folder)
    assert raised.value.errno == code and raised.value.filename.endswith(on)
    assert contents(folder) == before
    assert newest(folder)[0].name == "step_000002"


@pytest.mark.parametrize("code", ERRORS)
def test_a_size_that_cannot_be_read_is_not_a_missing_file(tmp_path, monkeypatch, code):
    folder = steps(tmp_path, 1, 2)
    fails_once(monkeypatch, code, Path, "stat", "step_000001/tracker.json")
    with pytest.raises(OSError, match="nothing was deleted"):
        committed(folder)


def test_a_commit_that_cannot_read_the_older_ones_keeps_them(tmp_path, monkeypatch):
    steps(tmp_path, 1, 2)
    fails_once(monkeypatch, errno.EIO, Path, "read_text", "step_000001/manifest.json")
    with console.capture() as said:
        steps(tmp_path, 3, keep=1)
    assert "step_000001/manifest.json" in said.get()
    assert names(tmp_path) == ["step_000001", "step_000002", "step_000003"]
    assert names(steps(tmp_path, 4, keep=1)) == ["step_000004"]


def test_a_crash_while_old_commits_are_deleted_leaves_no_half_commit(tmp_path, monkeypatch):
    def half(folder, **options):
        if folder.name.startswith("step_000001") and folder.exists():
            (folder / "tracker.json").unlink()
            raise KeyboardInterrupt

    steps(tmp_path, 1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", half)
        steps(tmp_path, 2, keep=1)
    assert newest(tmp_path)[0].name == "step_000002"
    assert names(tmp_path) == ["step_000002"]


def test_the_commit_of_a_named_step_is_that_one_or_none(tmp_path):
    steps(tmp_path, 1, 2)
    assert commit_of_step(tmp_path, 1).name == "step_000001"
    truncate(tmp_path / "step_000002")
    for step in (2, 3):
        with pytest.raises(CheckpointError, match=f"step_00000{step} is needed, but .*put a copy of it back"):
            commit_of_step(tmp_path, step)
    assert names(tmp_path) == ["step_000001", "step_000002"]


@pytest.mark.parametrize("code", ERRORS)
def test_an_unreadable_path_is_not_missing(tmp_path, monkeypatch, code):
    assert not exists(tmp_path / "DONE.json")
    write_json(tmp_path / "DONE.json", {})
    fails_once(monkeypatch, code, Path, "stat", "DONE.json")
    with pytest.raises(OSError, match="nothing was deleted"):
        exists(tmp_path / "DONE.json")
    assert exists(tmp_path / "DONE.json")


def test_a_torn_json_file_is_named(tmp_path):
    (tmp_path / "DONE.json").write_text('{"id": ')
    with pytest.raises(CheckpointError, match="DONE.json is damaged"):
        read_json(tmp_path / "DONE.json")


def test_a_damaged_step_is_made_again_and_does_not_count_as_kept(tmp_path):
    truncate(steps(tmp_path, 1, 2) / "step_000002")
    steps(tmp_path, 2, keep=2)
    assert [p.name for p in committed(tmp_path)] == ["step_000001", "step_000002"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path, keep):
    steps(tmp_path, 0, 1, 9, 10, keep=keep)
    assert names(tmp_path) == [f"step_{n:06d}" for n in (0, 1, 9, 10)][-keep:]


def test_write_json_replaces_the_whole_file_or_nothing(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_metrics_are_cut_back_to_where_a_step_was_committed(tmp_path):
    log = MetricsLog(tmp_path / "deep" / "metrics.jsonl")
    assert log.offset == 0
    log.write({"step": 1, "note": "λ = ½"})
    there = log.offset
    log.write({"step": 2})
    log.cut(there)
    log.write({"step": 2, "again": True})
    assert log.lines() == [{"step": 1, "note": "λ = ½"}, {"step": 2, "again": True}]


def test_a_line_torn_by_a_crash_is_cut_away(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1})
    there = log.offset
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    again = MetricsLog(log.path)
    again.cut(there)
    again.write({"step": 2})
    assert [line["step"] for line in read_lines(log.path)] == [1, 2]


def test_metrics_that_lost_lines_stay_readable_after_the_cut(tmp_path):
    # After a power loss a machine may have the manifest but not the last page of the metrics.
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1})
    there = log.offset + 40
    log.cut(there)
    log.write({"step": 2})
    assert [line["step"] for line in log.lines()] == [1, 2]


def test_a_log_that_is_opened_again_drops_half_a_line_before_it_goes_on(tmp_path):
    log = MetricsLog(tmp_path / "recoveries.jsonl")
    log.write({"lost": "learner_0"})
    with log.path.open("a") as file:
        file.write('{"lost": "lear')
    MetricsLog(log.path).write({"lost": "learner_1"})
    assert [line["lost"] for line in read_lines(log.path)] == ["learner_0", "learner_1"]


def test_lines_of_a_missing_file_are_none(tmp_path):
    assert read_lines(tmp_path / "metrics.jsonl") == []


def test_one_flipped_bit_is_noticed_and_the_commit_before_is_taken(tmp_path):
    steps(tmp_path, 1, 2)
    model = tmp_path / "step_000002" / "learner" / "model.bin"
    content = bytearray(model.read_bytes())
    content[3] ^= 1
    model.write_bytes(content)
    assert newest(tmp_path)[0].name == "step_000001"
    assert names(tmp_path) == ["step_000001", "step_000002.damaged"]


def test_a_file_that_was_added_is_noticed(tmp_path):
    steps(tmp_path, 1, 2)
    (tmp_path / "step_000002" / "stranger").write_text("?")
    assert newest(tmp_path)[0].name == "step_000001"
