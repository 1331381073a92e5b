"""The pure rooms and the phases load none of the machinery: they run where Ray, vLLM and DeepSpeed are not."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vt_ray

PACKAGE = Path(vt_ray.__file__).parent
ROOMS = (
    *("algorithms", "verify", "data", "spectrum_phase", "signal_phase", "self_distillation"),
    *("evaluation", "problem_writer", "report", "run", "tracking", "planning"),
)
SINGLE = ["records", "import_path", "config", "interfaces", "experiment", "pipeline"]

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
    loaded = sorted(set(sys.argv[1].split(",")) & sys.modules.keys())
    if loaded:
        sys.exit(f"{name} loads {', '.join(loaded)}")
"""


def modules():
    names = [f"vt_ray.{name}" for name in SINGLE]
    for room in ROOMS:
        folders = [str(PACKAGE / room)]
        names += [f"vt_ray.{room}", *(m.name for m in pkgutil.walk_packages(folders, f"vt_ray.{room}."))]
    return names


def import_in_a_fresh_process(names, forbidden):
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(forbidden), *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


def test_the_walk_finds_the_rooms():
    found = modules()
    assert {"vt_ray.algorithms.mgpo", "vt_ray.data.makers.algebra", "vt_ray.signal_phase.loop"} <= set(found)


def test_pure_rooms_and_phases_load_neither_ray_nor_vllm_nor_deepspeed():
    import_in_a_fresh_process(modules(), ("ray", "vllm", "deepspeed"))


@pytest.mark.parametrize(
    "names", [("records", "config"), ("config", "planning.validate", "planning.resource_plan", "run.run_folder")]
)
def test_checking_a_configuration_loads_nothing_heavy(names):
    heavy = ("torch", "transformers", "ray", "vllm", "deepspeed", "pyarrow", "sympy", "plotly")
    import_in_a_fresh_process([f"vt_ray.{name}" for name in names], heavy)


def test_a_verifiers_worker_starts_without_torch():
    import_in_a_fresh_process(["vt_ray.actors.verifiers"], ("torch", "transformers", "vllm", "deepspeed", "sympy"))


def test_the_trackers_actor_starts_without_torch():
    import_in_a_fresh_process(["vt_ray.actors.tracker"], ("torch", "transformers", "vllm", "deepspeed"))


@pytest.mark.parametrize("room", ["signal_phase", "spectrum_phase", "self_distillation", "evaluation"])
def test_phases_do_not_import_the_report(room):
    found = [str(file) for file in sorted((PACKAGE / room).glob("*.py")) if "vt_ray.report" in file.read_text()]
    assert not found, "hand the display in as a callback, as pipeline.py does with stage_bar"
