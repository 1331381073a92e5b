"""The documents agree with the tree: paths, links and test names exist, pictures are current, README is short."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from vt_ray.main import CONF

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "docker/README.md"])
PAGE_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TREE_PATH = re.compile(r"(?:vt_ray|tests|conf|docs|benchmarks|launch|docker|requirements)/[\w./*-]*")
FILE_NAME = re.compile(r"[\w-]+\.(?:py|yaml|md|toml|sh|sbatch)")
# A command in a block or in a code span, without its comment. A line that ends in a backslash continues.
COMMAND = re.compile(r"(?:^|[ `])vt-ray ((?:\\\n|[^\n`])*?)(?:\s+#[^\n]*)?(?:`|$)", re.MULTILINE)
TEST_FILE = re.compile(r"`((?:unit|cluster|e2e|gpu)/test_\w+\.py)\b")
TEST_NAME = re.compile(r"`(?:((?:unit|cluster|e2e|gpu)/test_\w+\.py))?::(test_\w+)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_relative_links_resolve(name):
    page, missing = ROOT / name, []
    for target in LINK.findall(FENCE.sub("", text_of(name))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert not missing


# CHANGELOG.md names modules of earlier versions.
@pytest.mark.parametrize("name", [name for name in PAGE_NAMES if name != "CHANGELOG.md"])
def test_named_paths_exist(name):
    spans = [span for span in CODE_SPAN.findall(FENCE.sub("", text_of(name))) if "::" not in span]
    paths = {path.rstrip("./") for span in spans for path in TREE_PATH.findall(span) if span.startswith(path[:4])}
    paths |= {f"tests/{file}" for file in TEST_FILE.findall(text_of(name))}
    assert not [path for path in sorted(paths) if not list(ROOT.glob(path))]


def test_the_list_of_pages_is_whole():
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages <= {*LINK.findall(text_of("docs/README.md"))}


@pytest.mark.parametrize("name", [name for name in PAGE_NAMES if name != "CHANGELOG.md"])
def test_settings_of_commands_exist_and_have_values_of_their_type(name):
    """Each `vt-ray` command composes; of several values of a sweep the first one is taken."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command in COMMAND.findall(text_of(name)):
            words = [word for word in shlex.split(command.replace("\\\n", " ")) if "=" in word and "..." not in word]
            if "--config-dir" not in command:
                compose("config", overrides=[re.sub(r"(?<==)([^\[{,]+),.*", r"\1", word) for word in words])


def test_files_in_architecture_exist():
    """A file name without a folder belongs to the folder of the name before it in its row."""
    missing = []
    for row in text_of("ARCHITECTURE.md").splitlines():
        folder = ROOT
        for span in CODE_SPAN.findall(row):
            path = ROOT / (f"tests/{span}" if re.match(r"(unit|cluster|e2e|gpu)/", span) else span)
            if "/" in span and " " not in span:
                folder = path if span.endswith("/") else path.parent
            elif FILE_NAME.fullmatch(span):
                path = folder / span if row.startswith("|") else next(ROOT.glob(f"vt_ray/**/{span}"), folder / span)
            else:
                continue
            missing += [] if path.exists() else [span]
    assert not missing


def test_tests_named_in_faults_exist():
    missing, file = [], ""
    for named, function in TEST_NAME.findall(text_of("docs/faults.md")):
        file = named or file
        path = ROOT / "tests" / file
        if not path.exists() or not re.search(rf"^\s*(?:async )?def {function}\(", path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{function}")
    assert not missing


@pytest.mark.parametrize("name", ["flow", "demo", "rl_or_sft"])
def test_pictures_are_those_that_their_scripts_draw(name, tmp_path):
    drawn = tmp_path / f"{name}.svg"
    subprocess.run([sys.executable, ROOT / f"docs/draw_{name}.py", drawn], check=True)
    assert drawn.read_text() == text_of(f"docs/{name}.svg"), f"run: python docs/draw_{name}.py"


def test_readme_stays_short():
    lines = text_of("README.md").splitlines()
    cells = [cell.strip() for line in lines if line.startswith("|") for cell in line.split("|")]
    assert len(lines) <= 130
    assert len(text_of("README.md").split()) <= 1300
    assert max(map(len, cells)) <= 100


def test_results_hold_the_table_of_the_readme():
    table = re.compile(r"^milestone .*?(?=^```)", re.MULTILINE | re.DOTALL)
    assert table.search(text_of("README.md"))[0] == table.search(text_of("docs/results.md"))[0]
