"""The runner of benchmarks/gpu_proof.py, and the names that the GPU tests and checks import."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_config import composed

from vt_ray.planning.validate import validate

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"

RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import gpu_proof
out, minutes, checks = sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4])
limits = {name: gpu_proof.Check(limit, least) for name, (limit, least, _) in checks.items()}
commands = {name: [sys.executable, "-c", code] for name, (_, _, code) in checks.items()}
gpu_proof.GRACE_S = 0.5
gpu_proof.run_checks(limits, commands, gpu_proof.Path(out), minutes)
"""
# Writes a report. The arguments of a check are the file for it and the time of its limit.
REPORT = "import json, sys, time; open(sys.argv[1], 'w').write(json.dumps({}))"


def lines_of(folder, minutes=14.0, **checks):
    """The lines of these checks, each with its limit, the least time and its code."""
    command = [sys.executable, "-c", RUN, str(BENCHMARKS), str(folder), str(minutes), json.dumps(checks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line) for line in done.stdout.splitlines()]
    return lines


def test_a_failure_does_not_end_the_checks(tmp_path):
    lines = lines_of(
        tmp_path,
        fails=(20, 1, "print('the reason'); raise SystemExit(3)"),
        wrong=(20, 1, REPORT.format({"figures": {"a": 1}, "wrong": ["b"]})),
        absent=(20, 1, REPORT.format({"figures": {}, "why": "no model"})),
        short=(20, 2000, "raise SystemExit(1)"),
        works=(20, 1, REPORT.format({"figures": {"a": 2}})),
    )
    assert [(line["check"], line["status"]) for line in lines] == [
        *(("fails", "failed"), ("wrong", "failed"), ("absent", "skipped"), ("short", "skipped"), ("works", "passed")),
    ]
    assert (lines[0]["exit_code"], lines[0]["log"]) == (3, "the reason")
    assert lines[1]["figures"] == {"a": 1} and lines[4]["figures"] == {"a": 2}
    assert "at least 2000 needed" in lines[3]["why"]


def test_a_check_at_its_limit_leaves_its_figures_and_no_process(tmp_path):
    """Also a process of another session, and an orphan, end."""
    pids = [tmp_path / name for name in ("session", "orphan")]
    sleeper = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    start = (
        "import subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-c', {sleeper!r}, sys.argv[1]], start_new_session=True)"
    )
    code = [
        REPORT.format({"figures": {"before": 1}}),
        "import signal, subprocess",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        f"subprocess.Popen([sys.executable, '-c', {sleeper!r}, {str(pids[0])!r}], start_new_session=True)",
        f"subprocess.run([sys.executable, '-c', {start!r}, {str(pids[1])!r}])",
        "time.sleep(600)",
    ]
    began = time.monotonic()
    hung, after = lines_of(
        tmp_path / "out", hangs=(6, 1, "\n".join(code)), works=(20, 1, REPORT.format({"figures": {}}))
    )
    assert time.monotonic() - began < 50
    assert (hung["status"], hung["figures"], hung["exit_code"]) == ("timeout", {"before": 1}, None)
    assert after["status"] == "passed"
    for file in pids:
        assert not os.path.exists(f"/proc/{file.read_text()}"), file.name


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_proof"), importlib.import_module("gpu_checks")


def test_every_check_of_the_command_exists(modules):
    proof, checks = modules
    assert [*proof.CHECKS] == [*checks.CHECKS]
    assert all(check.least < check.limit <= 60 * proof.MINUTES for check in proof.CHECKS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown checks nothing: take machine, tiny"),
        (["--minutes", "nan"], "--minutes nan: more than 0"),
        (["--minutes", "inf"], "at most 1440"),
        (["--out", str(ROOT)], "not empty, give a new folder"),
        (["--out", __file__], "not empty, give a new folder"),
    ],
)
def test_wrong_arguments_are_refused(modules, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["gpu_proof.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        modules[0].parsed()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("rehearse", [True, False])
def test_settings_of_the_runs_are_valid(modules, tmp_path, rehearse):
    settings = importlib.import_module("gpu_settings")
    given = settings.Given(tmp_path, "", "", eager=False, rehearse=rehearse, limit=0.0)
    model, rows = settings.random_model("test", tmp_path / "model"), settings.made_gsm8k(tmp_path / "rows")
    for overrides in (
        settings.tiny_overrides(given),
        settings.step_overrides(given, model),
        settings.gsm8k_overrides(given, ["model=smollm2_135m"], rows),
    ):
        config = composed(*overrides)
        validate(config)
        assert config.model.dtype == "bfloat16"
        assert config.weight_transport == ("object_store" if rehearse else "ipc")


@pytest.mark.parametrize(
    "file", [*sorted(ROOT.glob("tests/gpu/*.py")), *sorted(BENCHMARKS.glob("gpu_*.py"))], ids=lambda f: f.name
)
def test_names_that_gpu_code_imports_exist(file):
    """Also those of the scripts in its strings: no machine without a GPU runs them."""
    tree = ast.parse(file.read_text())
    scripts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for source in [file.read_text(), *(text for text in scripts if "\nfrom vt_ray" in text)]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vt_ray"):
                module = importlib.import_module(node.module)
                assert not [alias.name for alias in node.names if not hasattr(module, alias.name)], node.module
