"""launch/slurm.sbatch step by step, with stand-ins for SLURM, Ray and vt-ray that record their calls.

`tests/cluster/test_slurm.py` runs the same script with the real Ray.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "launch/slurm.sbatch"
# Steps of srun run in the background. The stand-ins that wait for Ray return when `ray start` has been called.
STARTED = "grep -q ^ray.start calls"
STAND_INS = {
    "scontrol": 'printf "node1\\nnode2\\nnode3\\n"',
    "srun": 'echo "srun $*" >> calls; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": 'echo "ray $1 $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> calls; [[ $1 == start ]] && exec $START || exec $HEALTH',
    "python": """case "$1 $2" in
        "-c import secrets"*) echo t0ken ;;
        "-c import ray"*) echo 10.0.0.1 ;;
        "- "*)
            until (( $(grep -c "^ray start" calls) >= ($2 > 1 ? 2 : 1) )); do sleep 0.05; done
            echo "wait for $2 at $RAY_ADDRESS" >> calls ;;
        *) echo "$*" >> calls; exit 7 ;;
    esac""",
}


def started(folder: Path, nodes: int, ray_start: str, health: str, **stand_ins: str) -> subprocess.Popen:
    (folder / "bin").mkdir()
    for name, body in {**STAND_INS, **stand_ins}.items():
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    env = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "START": ray_start,
        "HEALTH": health,
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "10042",
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_CPUS_PER_TASK": "4",
    }
    command = ["bash", SCRIPT, "experiment=tiny", "a=[1, 2]"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sbatch(
    folder: Path, nodes: int, ray_start: str = "sleep 300", health: str = STARTED
) -> subprocess.CompletedProcess:
    with started(folder, nodes, ray_start, health) as process:
        output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_head_workers_and_run_start_in_order_and_the_job_has_the_runs_status(tmp_path):
    """The background steps end with the script: a remaining step would keep its pipe open, and this test would wait."""
    done = sbatch(tmp_path, nodes=3)
    made = calls(tmp_path)
    assert done.returncode == 7, done.stderr
    sruns = [line for line in made if line.startswith("srun")]
    assert len(sruns) == 2
    assert "--nodelist=node1 ray start" in sruns[0] and "--head --node-ip-address=10.0.0.1 --port=20084" in sruns[0]
    assert "--nodes=2 --ntasks=2 --exclude=node1 ray start" in sruns[1] and "--address=10.0.0.1:20084" in sruns[1]
    steps = [made.index(f"wait for {n} at 10.0.0.1:20084") for n in (1, 3)]
    assert made.index(sruns[0]) < steps[0] < made.index(sruns[1])
    assert made[-1] == f"-m vt_ray.main cluster.ray_address=auto runs_dir={tmp_path}/runs experiment=tiny a=[1, 2]"


def test_the_script_waits_for_the_run_after_sigterm(tmp_path):
    """Ray must run until the run has printed its newest commit."""
    run = """case "$*" in *vt_ray.main*)
        trap 'echo heard >> calls; sleep 1; echo "ended beside $(pgrep -cf "sleep 29[9]") Ray" >> calls; exit 1' TERM
        echo up >> calls; while :; do sleep 0.1; done ;; esac
    """
    with started(tmp_path, 1, "sleep 299", STARTED, python=run + STAND_INS["python"]) as process:
        deadline = time.monotonic() + 60
        try:
            while "up" not in (calls(tmp_path) if (tmp_path / "calls").exists() else []):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            process.terminate()
            assert process.wait(30) == 1
        finally:
            process.kill()
    assert calls(tmp_path)[-2:] == ["heard", "ended beside 1 Ray"]


def test_all_nodes_share_one_token(tmp_path):
    sbatch(tmp_path, nodes=3)
    assert {line.split()[2:] == ["token", "t0ken"] for line in calls(tmp_path) if line.startswith("ray")} == {True}


def test_one_node_needs_no_workers(tmp_path):
    assert sbatch(tmp_path, nodes=1).returncode == 7
    assert sum(line.startswith("srun") for line in calls(tmp_path)) == 1


def test_a_head_that_does_not_start_ends_the_job_with_an_error(tmp_path):
    done = sbatch(tmp_path, nodes=3, ray_start="false", health="false")
    assert done.returncode == 1 and "error: no Ray head on node1" in done.stderr
    assert "vt_ray.main" not in (tmp_path / "calls").read_text()
