"""The names and paths of docs/glossary.md exist in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "vt_ray"
PAGE = (ROOT / "docs/glossary.md").read_text()
ROWS = re.findall(r"^\| (?!word)(?!---)(.+?) \| (.+) \| (.+?) \|$", PAGE, re.M)


@pytest.fixture(scope="module")
def names():
    trees = [ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")]
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_word_has_one_row():
    words = [word for row, _, _ in ROWS for word in row.split(", ")]
    assert len(words) > 50 and len(words) == len(set(words))


@pytest.mark.parametrize(("word", "code"), [(word, code) for word, _, code in ROWS])
def test_names_and_paths_of_a_word_exist(names, word, code):
    for term in re.findall(r"`(.+?)`", code):
        if "=" in term:
            group, preset = term.split("=")
            assert (ROOT / "conf" / group / f"{preset}.yaml").is_file()
        elif "/" in term or "." in term:
            assert (PACKAGE / term).exists(), f"{word}: no {term} below vt_ray/"
        else:
            assert term in names, f"{word}: no class or function {term}"
