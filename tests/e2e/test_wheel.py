"""The built wheel, installed in an empty environment, composes its configs: it contains conf/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# The packages that composing a config needs. Other packages are imported where they are used.
COMPOSING = ("hydra-core", "omegaconf", "antlr4-python3-runtime", "PyYAML")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env/bin/python"
    lock = (ROOT / "requirements/cpu.lock").read_text()
    pinned = [next(re.finditer(rf"(?mi)^{name}==.*$", lock)).group() for name in COMPOSING]
    install = [python, "-m", "pip", "install", "-qq", "--no-deps", "setuptools", "packaging", *pinned]
    if subprocess.run(install).returncode:
        pytest.skip("no package index can be reached to fill an empty environment")
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", *folder.glob("*.whl")], check=True)
    return folder


@pytest.mark.parametrize("experiment", ["demo", "tiny", "vibethinker_1_5b", "vibethinker_3b"])
def test_console_script_composes_every_preset(environment, experiment):
    command = [environment / "env/bin/vt-ray", f"experiment={experiment}", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=environment)
    assert done.returncode == 0, done.stderr
    assert "mgpo:" in done.stdout and "run_name" in done.stdout
    assert not (environment / "outputs").exists()


def test_unknown_key_is_refused(environment):
    command = [environment / "env/bin/vt-ray", "signal.mgpo.lambda=1", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=environment)
    assert done.returncode != 0
    assert "signal.mgpo.lambda" in done.stderr
