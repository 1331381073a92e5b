"""Ray Data and one core decontaminate with the same result."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def decontaminated(train, evaluation, output, *options):
    """Runs the command in a process of its own, so that it starts a Ray of its own, and returns its output files."""
    command = [sys.executable, "-m", "vt_ray.tools", "decontaminate", "--output", str(output), *options]
    command += ["--near-duplicates", "off", "--train", *map(str, train), "--eval", str(evaluation)]
    done = subprocess.run(command, env={**os.environ, "RAY_ADDRESS": "local"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((output / "report.json").read_text())
    del report["seconds"]
    return [(output / f"{name}.jsonl").read_text() for name in ("kept", "dropped", "reported")], report


def test_ray_data_gives_the_files_of_one_core(tmp_path):
    pytest.importorskip("pandas")  # Ray Data imports it
    train = [tmp_path / name for name in ("first.jsonl", "second.jsonl")]
    for number, path in enumerate(train):
        rows = [
            f"Row {row} of file {number} counts {row * 7} red and {row * 3} blue kites in the sky"
            for row in range(1500)
        ]
        path.write_text("".join(json.dumps({"problem": row}) + "\n" for row in rows))
    evaluation = tmp_path / "eval.jsonl"
    evaluation.write_text(json.dumps({"question": "ROW 1234 of file 1, counts 8638 red and 3702 blue kites."}) + "\n")
    on_core = decontaminated(train, evaluation, tmp_path / "core")
    on_ray = decontaminated(train, evaluation, tmp_path / "ray", "--ray")
    assert on_core == on_ray
    assert on_core[1]["dropped"] == 1 and json.loads(on_core[0][1])["row"] == 1235
