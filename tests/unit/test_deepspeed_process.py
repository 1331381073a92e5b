"""The import of DeepSpeed, which is a large part of the start of a learner."""

import subprocess
import sys

LOADS = """
import sys
from vt_ray.engines.deepspeed_process import load_deepspeed
load_deepspeed()
assert "mlflow" not in sys.modules
"""


def test_deepspeed_is_loaded_without_mlflow_which_can_still_be_imported():
    done = subprocess.run([sys.executable, "-c", LOADS + "import mlflow"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
