"""`vt-tools write-problems` against a real OpenAI-compatible server of vLLM, on a tiny model with random weights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import pytest

# A server starts in processes of its own and imports vLLM twice.
pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@contextmanager
def served(model, log):
    """The URL of a server on a free port. It is stopped at the end, with all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(model), "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
    command += ["--max-num-seqs", "8"]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "2"}
    own |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **own}, start_new_session=True
        )
    try:
        wait_until_healthy(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def wait_until_healthy(server, url, log):
    deadline = time.monotonic() + 400
    while True:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            with urlopen(url, timeout=5) as reply:
                assert reply.status == 200
                return
        except URLError:
            time.sleep(0.5)


def write_problems(url, output):
    command = [sys.executable, "-m", "vt_ray.tools", "write-problems", "--subdomain", "algebra", "--endpoint", url]
    command += ["--model", "tiny", "--count", "2", "--samples", "2", "--max-tokens", "16", "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ, "COLUMNS": "300"})


def test_replies_of_a_real_server_are_counted_and_stored(base_model, tmp_path):
    output, replies = tmp_path / "algebra.jsonl", tmp_path / "algebra.jsonl.replies.jsonl"
    with served(base_model, tmp_path / "server.log") as url:
        first = write_problems(url, output)
    # Random weights write no problem: 10 questions for each wanted one are asked for, and the topics.
    assert "no problem of 20 written questions is left" in first.stderr, first.stderr + first.stdout
    stored = replies.read_text()
    lines = [json.loads(line) for line in stored.splitlines()]
    assert len(lines) == 21
    assert all(0 < line["reply_tokens"] <= 16 < line["prompt_tokens"] for line in lines), lines[0]
    # The same command needs no server.
    assert write_problems(url, output).stderr == first.stderr and replies.read_text() == stored
