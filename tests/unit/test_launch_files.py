"""The files in launch/ and docker/ agree with the project: versions, commands, resources of the nodes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from vt_ray import __version__
from vt_ray.config import to_config
from vt_ray.main import CONF
from vt_ray.planning.validate import validate

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
DOCKER_README = (ROOT / "docker/README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = f"vt-ray:{__version__}"


def pins(lines: list[str]) -> dict[str, str]:
    """Name to version of every `name[extra]==version`, names in lower case with dashes."""
    found = [re.match(r"([\w.-]+)(?:\[[\w,]+\])?==(\S+)", line) for line in lines]
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def lock(name: str) -> dict[str, str]:
    return pins((ROOT / f"requirements/{name}.lock").read_text().splitlines())


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load((ROOT / "launch/rayjob.yaml").read_text())["spec"]


def test_image_installs_the_versions_of_the_gpu_extra():
    wanted = pins(PYPROJECT["optional-dependencies"]["gpu"] + PYPROJECT["dependencies"])
    installed = lock("gpu") | pins(re.findall(r"flash-attn==\S+", DOCKERFILE))
    assert {"torch", "vllm", "deepspeed", "flash-attn", "ray", "transformers"} <= set(wanted)
    assert {name: installed.get(name) for name in wanted} == wanted


def test_both_locks_hold_the_same_versions():
    cpu, gpu = lock("cpu"), lock("gpu")
    assert [name for name in cpu if name in gpu and cpu[name] != gpu[name]] == ["apache-tvm-ffi"]


def test_base_image_has_the_cuda_of_torch_and_a_supported_python():
    cuda = re.search(r"^FROM nvidia/cuda:(\d+\.\d+)\.\d+-devel-ubuntu24\.04$", DOCKERFILE, re.M)[1]
    assert lock("gpu")["nvidia-cuda-runtime"].startswith(f"{cuda}.")
    python = re.search(r"python(3\.\d+) -m venv", DOCKERFILE)[1]
    assert f"python{python}-dev" in DOCKERFILE and PYPROJECT["requires-python"] == ">=3.11"
    assert tuple(int(part) for part in python.split(".")) >= (3, 11)


def test_image_runs_as_a_user_and_its_copied_files_exist():
    assert re.search(r"^USER vt$", DOCKERFILE, re.M) and not re.search(r"^USER root", DOCKERFILE, re.M)
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    ignored_but = {
        line[1:] for line in (ROOT / "docker/Dockerfile.dockerignore").read_text().splitlines() if "!" in line
    }
    for source in sum(copied, []):
        assert (ROOT / source).exists() and source.split("/")[0] in ignored_but


def test_one_image_name_everywhere(job):
    for file in (DOCKERFILE, DOCKER_README):
        assert set(re.findall(r"\bvt-ray:[\w.]+", file)) == {IMAGE}
    assert {container["image"] for container in containers(job)} == {IMAGE}


def containers(job: dict) -> list[dict]:
    cluster = job["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for pod in pods for container in pod["template"]["spec"]["containers"]]


def test_rayjob_asks_for_a_token_of_the_ray_that_is_installed(job):
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert job["rayClusterSpec"]["rayVersion"] == pins(PYPROJECT["dependencies"])["ray"]


def test_rayjobs_entrypoint_is_valid_and_its_workers_have_the_gpus(job):
    assert f"`{job['entrypoint']}`" in DOCKER_README
    program, *overrides = job["entrypoint"].split()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = to_config(compose("config", overrides))
    validate(config)
    c = config.cluster
    gpus = c.num_generators * c.gpus_per_generator + c.num_learners * c.gpus_per_learner
    workers = job["rayClusterSpec"]["workerGroupSpecs"]
    there = sum(
        group["replicas"] * group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        for group in workers
    )
    assert program == "vt-ray" and c.ray_address == "auto" and gpus == there == 8


def test_rayjobs_runs_and_shared_memory_are_mounted_on_every_node(job):
    runs_dir = dict(part.split("=") for part in job["entrypoint"].split()[1:])["runs_dir"]
    for container in containers(job):
        assert {runs_dir, "/dev/shm"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"name": "RAY_worker_niceness", "value": "0"} in container["env"]


def test_no_file_switches_authentication_off():
    for path in [*(ROOT / "launch").iterdir(), *(ROOT / "docker").iterdir()]:
        assert not re.search(r"RAY_AUTH_MODE\W+disabled|mode: disabled", path.read_text()), path


def test_seccomp_profile_lets_namespaces_be_made():
    profile = json.loads((ROOT / "docker/seccomp.json").read_text())
    denied = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert not denied & {"clone", "clone3", "unshare", "setns", "mount", "umount2", "pivot_root", "seccomp", "chroot"}
    assert {"kexec_load", "init_module", "bpf", "open_by_handle_at"} <= denied


def test_slurm_script_is_sound_bash():
    script = ROOT / "launch/slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)
    lines = script.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(i < first_command for i, line in enumerate(lines) if line.startswith("#SBATCH"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"VT_RAY_RUNS": "/runs"}, "RAY_ADDRESS is not set"),
        ({"RAY_ADDRESS": "http://127.0.0.1:1"}, "VT_RAY_RUNS is not set"),
        ({"RAY_ADDRESS": "http://127.0.0.1:1", "VT_RAY_RUNS": "runs"}, "VT_RAY_RUNS=runs is relative"),
    ],
)
def test_submit_says_what_is_missing(given, said):
    command = [sys.executable, ROOT / "launch/submit.py", "experiment=tiny"]
    env = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
