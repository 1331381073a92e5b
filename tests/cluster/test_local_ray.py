"""launch/local.sh: a Ray with a token for as long as a command runs, and nothing of it afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from own_ray import ROOT, environment

pytestmark = pytest.mark.slow

JOIN_TWICE = """
import os, ray
for _ in range(2):
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    (node,) = ray.nodes()
    print(len(os.environ["RAY_AUTH_TOKEN"]), node["RayletSocketName"], flush=True)
    ray.shutdown()
raise SystemExit(3)
"""


def test_members_join_one_ray_and_its_end_is_the_commands():
    command = [ROOT / "launch/local.sh", "python", "-c", JOIN_TWICE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 3, done.stdout + done.stderr
    first, second = (line.split() for line in done.stdout.splitlines())
    assert first == second and first[0] == "64"
    folder = Path(first[1]).parents[2]
    assert folder.parent == Path("/tmp") and not folder.exists()
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in _read(p)]
    assert not left, [_read(p) for p in left]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if int(path.parts[2]) != os.getpid() else b""
    except OSError:
        return b""
