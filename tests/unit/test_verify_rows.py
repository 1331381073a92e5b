"""Reading a file to grade: every line gives one row, and a fault concerns only its own row."""

import gzip
import json
import sys

import pytest

from vt_ray.verify.files import rows
from vt_ray.verify.files.rows import RowsFileError, lines_of, read_row

TESTS = {"type": "stdio", "cases": [{"input": "", "output": "3\n"}]}
MATH = {"id": "m", "kind": "math", "gold": "3", "response": r"\boxed{3}"}
CHOICE = {"id": "c", "kind": "choice", "choice": "B", "response": "(B)"}
CODE = {"id": "p", "kind": "code", "tests": TESTS, "response": "```python\nprint(3)\n```"}


def read(row, number=7):
    return read_row(row if isinstance(row, bytes) else json.dumps(row).encode(), number)


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize("row", [MATH, CHOICE, CODE], ids=["math", "choice", "code"])
def test_a_row_of_each_kind(row):
    for fields in (row, without(row, "kind"), row | {"note": "n", "expect": ["wrong"]}):
        found = read(fields)
        assert (found.row_id, found.kind, found.response, found.fault) == (row["id"], row["kind"], row["response"], "")
        assert found.problem.kind == row["kind"]
        assert (found.problem.answer or found.problem.tests) == (row.get("gold") or row.get("choice") or TESTS)


@pytest.mark.parametrize(
    ("own", "shown"), [("x", "x"), (0, 0), (-5, -5), ("", 7), (None, 7), (True, 7), (1.5, 7), ([1], 7), ({}, 7)]
)
def test_the_id_is_the_row_s_own_or_its_line(own, shown):
    assert read(MATH | {"id": own}).row_id == shown
    assert read(without(MATH, "id")).row_id == 7


DEEP = b'{"id": "d", "kind": "math", "gold": "3", "response": "", "note": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("line", "row_id", "fault"),
    [
        (b"", 7, "the line is empty"),
        (b" \r\n", 7, "the line is empty"),
        (b"{", 7, "broken JSON at column 2"),
        (b"[1]", 7, "expected an object, got list"),
        (b"3", 7, "expected an object, got int"),
        (b'{"id": "\xff"}', 7, "not UTF-8 at byte 8"),
        (b'{"id": ' + b"9" * 5000 + b"}", 7, "field 'id' has too many digits"),
        (DEEP, 7, "nested too deep"),
        (without(MATH, "response"), "m", "field 'response' is missing"),
        (without(MATH, "gold"), "m", "field 'gold' is missing"),
        (without(CODE, "tests"), "p", "field 'tests' is missing"),
        (without(without(MATH, "gold"), "kind"), "m", "field 'kind' is missing"),
        (without(MATH | CODE, "kind"), "p", "field 'kind' is missing"),
        (MATH | {"kind": "essay"}, "m", "kind 'essay' is not one of"),
        (MATH | {"kind": ["math"]}, "m", "kind ['math'] is not one of"),
        (MATH | {"kind": "\x1b[2J"}, "m", r"kind '\x1b[2J' is not one of"),
        (MATH | {"gold": 3}, "m", "field 'gold' is of type int: expected text"),
        (MATH | {"response": None}, "m", "field 'response' is of type NoneType"),
        (CODE | {"tests": [1]}, "p", "field 'tests' is of type list: expected an object"),
        (MATH | {"id": [1]}, 7, "field 'id' is of type list"),
        (MATH | {"response": "a\ud800"}, "m", "a lone surrogate"),
        (MATH | {"id": "\udfff"}, 7, "a lone surrogate"),
    ],
)
def test_a_line_that_is_no_row(line, row_id, fault):
    found = read(line)
    assert found.problem is None
    assert found.row_id == row_id
    assert found.fault.startswith("unreadable row: ")
    assert fault in found.fault
    assert found.fault.isprintable()


def test_characters_beyond_the_basic_plane_are_no_lone_surrogates():
    assert read(MATH | {"response": "\N{GRINNING FACE}"}).response == "\N{GRINNING FACE}"  # escaped as a pair


@pytest.mark.parametrize("depth", [100, sys.getrecursionlimit() // 2, sys.getrecursionlimit() - 100])
def test_nested_tests_never_raise(depth):
    nested = json.dumps(CODE)[:-1] + ', "more": ' + "[" * depth + "]" * depth + r', "x": "\ud800"}'
    assert read(nested.encode()).fault


def test_lines_of_a_file_plain_and_packed(tmp_path):
    text = b"one\n\n\xff three\nlast"
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert list(lines_of(tmp_path / name)) == [b"one\n", b"\n", b"\xff three\n", b"last"]


def test_a_huge_line_is_one_fault_and_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(rows, "_SKIP_BYTES", 7)
    sizes = [99, 100, 101, 102, 107, 108, 5_000]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b"x" * size + b"\nnext\n" for size in sizes) + b"y" * 5_000)
    lines = list(lines_of(path))
    assert lines[1:-1:2] == [b"next\n"] * len(sizes)
    assert max(map(len, lines)) == 101
    assert "longer than" in read(lines[-1]).fault
    assert "longer than" not in read(lines[0]).fault


def test_files_that_cannot_be_read(tmp_path):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b"one\n" * 1000)[:-12])
    for path, fault in [
        (tmp_path / "none.jsonl", "is missing or not"),
        (tmp_path, "not a file"),
        (cut, "cannot be read after line"),
    ]:
        with pytest.raises(RowsFileError, match=fault):
            list(lines_of(path))
    (tmp_path / "plain.gz").write_bytes(b"not packed")
    with pytest.raises(RowsFileError, match="plain.gz cannot be read"):
        list(lines_of(tmp_path / "plain.gz"))
