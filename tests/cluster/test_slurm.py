"""launch/slurm.sbatch with stand-ins for srun and scontrol that keep everything on this machine: two real Ray nodes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from own_ray import BIN, ROOT, environment, process_group, short_folder

STAND_INS = {
    "scontrol": '[[ "$1 $2" == "show hostnames" ]] && printf "node1\\nnode2\\n"',
    "srun": 'while [[ $1 == --* ]]; do shift; done; echo "$*" >> "$SRUN_LOG"; exec "$@"',
}


def sbatch(folder: Path, *overrides: str) -> tuple[int, str, str]:
    """Runs the script. Returns its exit status, its output, and the commands that it gave to srun."""
    (folder / "bin").mkdir()
    for name, body in STAND_INS.items():
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    env = environment(
        PATH=f"{folder}/bin:{BIN}:{os.environ['PATH']}",
        RAY_TMPDIR=str(folder),
        SRUN_LOG=str(folder / "srun.log"),
        SLURM_SUBMIT_DIR=str(ROOT),
        SLURM_JOB_ID=str(os.getpid()),
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_JOB_NUM_NODES="2",
        SLURM_CPUS_PER_TASK="1",
        VT_RAY_RUNS=str(folder / "runs"),
    )
    command = ["bash", ROOT / "launch/slurm.sbatch", *overrides]
    with process_group(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        printed, _ = process.communicate(timeout=500)
    return process.returncode, printed, (folder / "srun.log").read_text()


@pytest.mark.slow
def test_ray_starts_on_both_nodes_and_the_runs_status_is_the_jobs():
    with short_folder() as folder:
        status, printed, started = sbatch(folder, "signal.mgpo.lam=-1")
    assert status == 1 and "error: signal.mgpo.lam=-1.0 must be finite" in printed
    # Printed once two nodes are alive.
    assert "Ray on 2 nodes, head node1" in printed and "Traceback" not in printed
    head, worker = started.splitlines()
    assert "--head" in head and "--address=" in worker and "--head" not in worker


@pytest.mark.nightly
def test_whole_run_on_two_nodes():
    with short_folder() as folder:
        status, printed, _ = sbatch(folder, "experiment=tiny")
        assert status == 0, printed
        assert (folder / "runs/tiny/report.html").exists() and "report: " in printed
