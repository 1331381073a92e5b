"""A real disk of a few megabytes that fills up during a run: the run reports it, and continues once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from coin_problems import coin_overrides

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

STAGES = "{name: coins, steps: 6, prompts_per_step: 4, group_size: 4, max_new_tokens: 12}"
# A separate mount, which disappears with the shell. $1: its folder, $2: megabytes, $3: the python, the rest: the run.
SCRIPT = """
folder=$1; mount -t tmpfs -o size=$2m none $folder || exit 77
python=$3; shift 3
"$python" -m vt_ray.main "$@"; echo "first: $?"
mount -o remount,size=200m $folder
"$python" -m vt_ray.main "$@"; echo "second: $?"
"$python" -m vt_ray.tools audit $folder/full; echo "audit: $?"
"""


def new_mounts() -> list[str]:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare(1) here")
    command = [unshare, "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("mounts of one's own are not permitted here")
    return command


@pytest.mark.parametrize("megabytes", [4, 7, 10])
def test_a_run_on_a_full_disk_reports_it_and_continues_once_there_is_room(tmp_path, megabytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    run = ["experiment=tiny", f"runs_dir={disk}", "run_name=full", *coin_overrides(tmp_path / "problems", STAGES)]
    done = subprocess.run(
        [*new_mounts(), "bash", "-c", SCRIPT, "bash", str(disk), str(megabytes), sys.executable, *run],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode == 77:
        pytest.skip("no tmpfs can be mounted here")
    output = done.stdout + done.stderr
    assert "first: 1" in output and "the disk is full" in output, output
    assert "second: 0" in output and "audit: 0" in output, output
