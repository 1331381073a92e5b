"""Sources of rows: files of each format and compression, folders, globs and names of the Hugging Face Hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vt_ray.config import Config, DataSource, StageConfig
from vt_ray.data.json_text import stream_list
from vt_ray.data.problem_rows import ProblemFileError, read_rows
from vt_ray.data.problem_sets import of_stage
from vt_ray.data.readers import read_problems
from vt_ray.data.sources import hub
from vt_ray.data.sources.names import parts
from vt_ray.planning.validate.method import data as check_data
from vt_ray.records import Problem
from vt_ray.run.inputs import problem_files

ROWS = [{"question": f"Is {i} < 7?\nSay «yes» or no.", "answer": f"It is, so\n#### {i}"} for i in range(5)]
COMMIT = "0123456789" * 4


def packed(name: str, rows: list[dict], encoding: str = "utf-8") -> bytes:
    """The bytes of a file of this name."""
    plain = name.removesuffix(".gz").removesuffix(".zst")
    if plain.endswith(".parquet"):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), stream)
        data = stream.getvalue()
    elif plain.endswith(".csv"):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode(encoding)
    else:
        data = (json.dumps(rows) if plain.endswith(".json") else "\n".join(map(json.dumps, rows))).encode()
    if name.endswith(".gz"):
        return gzip.compress(data)
    return pa.compress(data, codec="zstd", asbytes=True) if name.endswith(".zst") else data


def write(path: Path, rows: list[dict] = ROWS, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(path.name, rows, encoding))
    return path


def fields(source: str | Path, encoding: str = "") -> list[dict]:
    return [row.fields for row in read_rows(source, encoding)]


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize("extension", [".parquet", ".json", ".jsonl", ".csv"])
def test_each_format_gives_the_same_rows_in_each_compression(tmp_path: Path, extension: str, compression: str) -> None:
    path = write(tmp_path / f"mine{extension}{compression}")
    assert fields(path) == ROWS
    assert [p.row for p in read_problems(path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "name", ["a.jsonl.zst", "a.json.zst", "a.csv.zst", "a.csv.gz", "a.parquet.zst", "a.parquet.gz"]
)
def test_a_truncated_compressed_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ProblemFileError, match=f"{name}, after row .*the rest cannot be read.*copy it again"):
        fields(path)


def test_two_zstd_frames_are_read_as_one_file(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl.zst"
    halves = [b"".join(json.dumps(row).encode() + b"\n" for row in part) for part in (ROWS[:2], ROWS[2:])]
    path.write_bytes(b"".join(pa.compress(half, codec="zstd", asbytes=True) for half in halves))
    assert fields(path) == ROWS


def test_a_cell_of_a_csv_file_may_be_long(tmp_path: Path) -> None:
    rows = [{"question": "x" * 500_000, "answer": "1"}]
    assert fields(write(tmp_path / "long.csv", rows)) == rows


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b\n1,2\n1,2,3\n", "row 2: 3 cells, the header has 2"),
        ('a,b\n1,"2\n', "row 1: broken csv"),
        ("a,a\n1,2\n", "two columns have one name"),
    ],
)
def test_a_broken_csv_file(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ProblemFileError, match=f"mine.csv.*{fault}"):
        fields(tmp_path / "mine.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252"])
def test_the_encoding_of_a_csv_file_is_detected(tmp_path: Path, encoding: str) -> None:
    rows = [{"question": "Wie groß ist die Fläche – in m²?", "answer": "5 “cm”, naïve café"}]
    assert fields(write(tmp_path / "mine.csv", rows, encoding)) == rows


def test_a_guessed_encoding_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fields(write(tmp_path / "mine.csv", [{"question": "Größe?", "answer": "5"}], "cp1252"))
    said = " ".join(capsys.readouterr().out.split())
    assert "mine.csv: not UTF-8, read as cp1252" in said


def test_a_named_encoding_is_used(tmp_path: Path) -> None:
    rows = [{"question": "题目：求解方程", "answer": "5"}]
    path = write(tmp_path / "mine.csv", rows, "gb18030")
    assert fields(path, encoding="gb18030") == rows
    for other in ("ascii", "no-such-code"):
        with pytest.raises(ProblemFileError, match=f"cannot be read in the encoding {other}"):
            fields(path, encoding=other)


# --- JSON, streamed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("text", ["[]", " [ ] ", '[{"a": [1, 2.5e3, "]},\\""]},\n 12, null, "x"]', "[[], {}]", "[12]"])
def test_a_list_is_streamed_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setattr("vt_ray.data.json_text._CHUNK", size)
    assert list(stream_list(io.StringIO(text))) == json.loads(text)


@pytest.mark.parametrize("size", [1, 5, 64])
@pytest.mark.parametrize(
    ("text", "line"), [("[1,\n2", 2), ('[1,\n\n{"a" 1}]', 3), ("[1\n2]", 2), ("[1,\n2]\n3", 3), ("", 1), ("[1,]", 1)]
)
def test_broken_json_is_named_by_its_line(monkeypatch: pytest.MonkeyPatch, text: str, line: int, size: int) -> None:
    monkeypatch.setattr("vt_ray.data.json_text._CHUNK", size)
    with pytest.raises(json.JSONDecodeError) as caught:
        list(stream_list(io.StringIO(text)))
    assert caught.value.lineno == line


def test_a_json_file_may_have_one_object_a_line_or_its_list_in_a_field(tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_bytes(packed("a.jsonl", ROWS))
    (tmp_path / "field.json").write_text(json.dumps({"canary": "x", "examples": ROWS}))
    assert fields(tmp_path / "lines.json") == fields(tmp_path / "field.json") == ROWS


# --- folders and globs ------------------------------------------------------------------------------------


def test_a_folder_gives_its_data_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for index, name in enumerate(["b.jsonl", "a.csv", "deeper/c.parquet", ".cache/d.jsonl"]):
        write(tmp_path / name, [ROWS[index]])
    (tmp_path / "README.md").write_text("About.")
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [(row.path.name, row.number) for row in read_rows(tmp_path)] == [
        ("a.csv", 1),
        ("b.jsonl", 1),
        ("c.parquet", 1),
    ]


def test_an_empty_name_and_a_folder_that_cannot_be_walked_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "  "):
        with pytest.raises(ProblemFileError, match="is empty: give a file"):
            parts(name)
    monkeypatch.setattr(Path, "rglob", lambda *_: (_ for _ in ()).throw(FileNotFoundError(2, "gone")))
    with pytest.raises(ProblemFileError, match="cannot be read .*gone"):
        parts(tmp_path)


def test_a_glob_gives_the_files_that_match(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"data/train-{index}.jsonl", [ROWS[index]])
    write(tmp_path / "data/test.jsonl")
    assert fields(str(tmp_path / "data/train-*.jsonl")) == fields(str(tmp_path / "**/train-*")) == ROWS[:3]


def test_a_file_may_have_the_characters_of_a_glob_in_its_name(tmp_path: Path) -> None:
    assert fields(write(tmp_path / "mine[1].jsonl")) == ROWS


def test_a_missing_shard_of_a_folder_is_an_error(tmp_path: Path) -> None:
    for index in (0, 2):
        write(tmp_path / f"train-{index:05}-of-00003.parquet")
    with pytest.raises(ProblemFileError, match="shard .*train-00001-of-00003.parquet is missing"):
        fields(tmp_path)
    assert len(fields(str(tmp_path / "train-*"))) == 10


def test_a_source_without_a_data_file(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(ProblemFileError, match="no data file in it: expected .parquet"):
            fields(str(source))


def test_equal_ids_in_two_files_of_a_source_are_an_error(tmp_path: Path) -> None:
    for folder, row in zip("ab", ROWS, strict=False):
        write(tmp_path / folder / "x.jsonl", [{"id": 1, **row}])
    with pytest.raises(
        ProblemFileError, match=r"b/x.jsonl, row 1: question_id 'x/1' is already that of row 1 of .*a/x.jsonl"
    ):
        read_problems(tmp_path)


def test_a_stage_may_name_a_source_or_a_file_of_it(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    problems = [Problem(str(f), "math", "math", "?", source=str(f)) for f in files]
    assert of_stage(StageConfig(sources=[str(tmp_path)]), problems) == problems
    assert of_stage(StageConfig(sources=[str(tmp_path / "*.jsonl")]), problems) == problems
    assert of_stage(StageConfig(sources=[str(files[1])]), problems) == problems[1:]


def test_the_settings_and_the_record_of_a_run_know_folders(tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / f"train/{index}.jsonl", [ROWS[index]])
    config = Config()
    config.data.train_files = [DataSource(str(tmp_path / "train"))]
    assert list(check_data(config)) == []
    assert len(problem_files(config.data.train_files)) == 2
    config.data.train_files = [DataSource(str(tmp_path / "train/*.csv"))]
    assert [message.partition(": ")[2] for message in check_data(config)] == [
        f"{tmp_path}/train/*.csv: no data file in it: expected .parquet, .json, .jsonl, .csv, "
        "each also with .gz or .zst"
    ]


# --- names of the hub ---------------------------------------------------------------------------------------


class Loader:
    """The functions of `datasets` that are used, with a table in place of the hub."""

    def __init__(self, splits: tuple[str, ...] = ("train",)):
        self.splits, self.calls = splits, []

    def get_dataset_split_names(self, repository, subset, revision):
        return list(self.splits)

    def load_dataset(self, repository, subset, split, revision):
        self.calls.append((repository, subset, split, revision))
        if split not in self.splits:
            raise ValueError(f"Unknown split {split}.")
        table = pa.table({**{k: [r[k] for r in ROWS] for k in ROWS[0]}, "rate": pa.array([0.1] * 5, pa.float32())})
        rows = SimpleNamespace(iter=lambda size: (table.slice(i, size) for i in range(0, table.num_rows, size)))
        return SimpleNamespace(with_format=lambda form: rows)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    made = Loader()
    monkeypatch.setitem(sys.modules, "datasets", made)
    return made


def test_a_hub_name_is_read_at_its_commit(loader: Loader) -> None:
    name = f"hf://owner/name?subset=main&split=train&revision={COMMIT}"
    rows = list(read_rows(name))
    assert loader.calls == [("owner/name", "main", "train", COMMIT)]
    assert [row.fields for row in rows] == [{**row, "rate": 0.1} for row in ROWS]
    problems = read_problems(name)
    assert (problems[2].source, problems[2].row) == (name, 3)
    assert problem_files([DataSource(name)]) == {name: COMMIT}


def test_the_newest_commit_is_read_and_recorded_without_a_revision(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def dataset_info(self, repository, revision):
        asked.append((repository, revision))
        return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    hub.commit.cache_clear()
    assert len(list(read_rows("hf://owner/name"))) == 5
    assert problem_files([DataSource("hf://owner/name")]) == {"hf://owner/name": COMMIT}
    assert loader.calls == [("owner/name", None, "train", COMMIT)]
    assert asked == [("owner/name", None)]
    hub.commit.cache_clear()


def test_a_data_set_with_several_splits_needs_one(loader: Loader) -> None:
    loader.splits = ("train", "test")
    with pytest.raises(ProblemFileError, match=r"has the splits train, test: add \?split=NAME"):
        list(read_rows(f"hf://owner/name?revision={COMMIT}"))


def test_an_error_of_the_hub_names_the_source(loader: Loader) -> None:
    with pytest.raises(ProblemFileError, match=r"hf://owner/name.*cannot be loaded \(ValueError: Unknown split dev"):
        list(read_rows(f"hf://owner/name?split=dev&revision={COMMIT}"))


@pytest.mark.parametrize("name", ["hf:owner/name", "hf://a/b/c", "hf://owner/name?splits=train", "hf://"])
def test_a_malformed_hub_name(name: str) -> None:
    with pytest.raises(ProblemFileError, match=r"expected hf://owner/name"):
        list(read_rows(name))


def test_a_local_folder_of_the_same_name_is_refused(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemFileError, match="the folder owner/name here hides the data set of the hub"):
        list(read_rows(f"hf://owner/name?revision={COMMIT}"))


def test_without_the_package_datasets_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ProblemFileError, match=r"pip install 'vt-ray\[hub\]'"):
        list(read_rows(f"hf://owner/name?revision={COMMIT}"))


def test_the_package_itself_reads_a_folder_in_place_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` takes a local folder of the same name before it asks the hub."""
    pytest.importorskip("datasets")
    write(tmp_path / "owner/name/data/train-00000-of-00001.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_refuse_folder", lambda source: None)
    assert fields(f"hf://owner/name?revision={COMMIT}") == ROWS
