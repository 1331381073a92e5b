"""docs/extending.md works when it is followed literally: its files are written, its commands are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
# A file's block stands below a line with its name; commands stand in blocks of bash.
FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", re.M | re.S)
COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)


@pytest.fixture
def folder(tmp_path):
    """The reader's folder, with the example that the page tells to copy."""
    for example in (ROOT / "docs/examples").glob("*.py"):
        shutil.copy2(example, tmp_path)
    return tmp_path


def environment(folder):
    """`python` and the commands of this environment; the page's PYTHONPATH is followed by that of the tests."""
    binaries = folder / "bin"
    binaries.mkdir()
    for name, module in (("vt-ray", "vt_ray.main"), ("vt-tools", "vt_ray.tools")):
        (binaries / name).write_text(
            f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{ROOT}" exec {sys.executable} -m {module} "$@"\n'
        )
        (binaries / name).chmod(0o755)
    (binaries / "python").write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{ROOT}" exec {sys.executable} "$@"\n')
    (binaries / "python").chmod(0o755)
    return {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": ""}


def test_the_page_has_five_sections_with_commands():
    assert len(SECTIONS) == 5
    assert all(COMMANDS.search(text) for text in SECTIONS.values())
    fences = len(re.findall(r"^```\w", PAGE, re.M))
    assert fences == sum(len(FILE.findall(text)) + len(COMMANDS.findall(text)) for text in SECTIONS.values())


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_followed_literally(folder, title):
    for name, text in FILE.findall(SECTIONS[title]):
        (folder / name).write_text(text)
    for commands in COMMANDS.findall(SECTIONS[title]):
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(shell, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "dry_run=true" not in commands or "nothing was started" in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(1600)
def test_a_whole_run_with_the_rule_the_loss_and_the_engine_of_the_page(folder):
    for name, text in FILE.findall(PAGE):
        (folder / name).write_text(text)
    settings = ["spectrum.fusion.method=my_rules:median", "signal.mgpo.loss=my_losses:policy_gradient"]
    settings.append("cluster.generation_engine=transformers_engine:TransformersEngine")
    # With a KL term the learner computes groups without a signal too: this model solves nothing.
    settings.append("signal.mgpo.kl_coef=0.01")
    command = ["vt-ray", "experiment=tiny", f"runs_dir={folder}", *settings]
    found = {**environment(folder), "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((folder / "tiny/summary.json").read_text())["milestones"]) == 7
    lines = [json.loads(line) for line in (folder / "tiny/metrics.jsonl").read_text().splitlines()]
    assert all(line["loss_surprise"] > 0 and line["clip_share"] == 0 for line in lines)
