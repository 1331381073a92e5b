"""A Ray of a test's own beside whatever else runs on the machine: free ports, its own folder, its own token."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class OwnRay:
    dashboard: str
    token: str


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without its own Ray's, with the tests' Python first on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **changes}


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie in its folder, and a socket's path has at most 107 bytes: pytest's folders are too long."""
    folder = Path(tempfile.mkdtemp(prefix="vt", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_ray() -> Iterator[OwnRay]:
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    token = secrets.token_hex(32)
    env = environment(
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=token,
        RAY_worker_niceness="0",
        RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0",
        RAY_USAGE_STATS_ENABLED="0",
    )
    with short_folder() as folder:
        log = folder / "start.log"
        command = [BIN / "ray", "start", "--head", "--block", f"--temp-dir={folder}", "--num-cpus=2"]
        command += [f"--{name}={port}" for name, port in ports.items()] + ["--object-store-memory=500000000"]
        with log.open("w") as output, own_group(command, stdout=output, stderr=output, env=env) as process:
            wait_until(lambda: "Ray runtime started" in log.read_text(), process, log)
            yield OwnRay(f"http://127.0.0.1:{ports['dashboard-port']}", token)


@contextlib.contextmanager
def own_group(command: list, **kwargs) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, stopped with all its children: `ray stop` would stop everybody's Ray."""
    with subprocess.Popen(command, start_new_session=True, **kwargs) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                process.terminate()
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition, process: subprocess.Popen, log: Path, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Below the ports that the kernel gives to outgoing connections: another Ray's would take one before it is bound
    here, and Ray's agent goes on without its server then."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
        return found
