"""Starts a separate Ray for a test, with its own ports, folder and token: other Rays on the machine do not matter."""

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
    """The environment of this process without Ray's variables, and with the tests' Python first on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", **changes}


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder directly under /tmp. Ray puts sockets there, whose paths have at most 107 bytes: pytest's are longer."""
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
        with log.open("w") as output, process_group(command, stdout=output, stderr=output, env=env) as process:
            wait_until(lambda: "Ray runtime started" in log.read_text(), process, log)
            yield OwnRay(f"http://127.0.0.1:{ports['dashboard-port']}", token)


@contextlib.contextmanager
def process_group(command: list, **kwargs) -> Iterator[subprocess.Popen]:
    """Starts a process in a new session, and stops it with all its children. `ray stop` would stop other Rays too."""
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
    """Free ports below the kernel's range for outgoing connections: a connection could take a port of that range before
    Ray binds it, and Ray's agent then continues without its server."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.randrange(20_000, 32_000)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
        return found
