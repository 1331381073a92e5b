"""`vt-tools write-problems` against a real vLLM server with SmolLM2-135M: the plumbing, not the quality."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from hydra import compose, initialize_config_dir

from vt_ray.config import to_config
from vt_ray.engines.base_model import prepare_base_model
from vt_ray.main import CONF

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "smollm2"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        prepare_base_model(to_config(compose("config", ["model=smollm2_135m"])).model, [], 0, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--model", str(folder), "--served-model-name", "smol", "--host", "127.0.0.1", "--port", str(port)]
    limits = ["--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager"]
    log = folder.parent / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments, *limits],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(url, server, log):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 400
    while True:
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(1)


def test_replies_and_their_tokens_are_stored_and_a_second_command_asks_nothing(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    output, replies = tmp_path / "p.jsonl", tmp_path / "p.jsonl.replies.jsonl"
    options = ["--count", "2", "--samples", "2", "--max-tokens", "96", "--token-cap", "6000", "--min-agreement", "0.5"]
    command = [
        sys.executable,
        "-m",
        "vt_ray.tools",
        "write-problems",
        "--subdomain",
        "algebra",
        "--output",
        str(output),
    ]
    first = subprocess.run([*command, "--endpoint", endpoint, *options], capture_output=True, text=True, timeout=400)
    print(first.stdout, first.stderr)
    stored = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(stored) > 4 and all(20 < line["prompt_tokens"] < 300 for line in stored)
    assert all(0 < line["reply_tokens"] <= 96 for line in stored) and any(line["text"].strip() for line in stored)
    assert sum(line["prompt_tokens"] + line["reply_tokens"] for line in stored) <= 6_000
    # A model of this size may write no problem at all: 2 is that error. All questions are counted anyway.
    problems = output.read_text().splitlines() if output.exists() else []
    assert first.returncode == (2 if not problems else 0 if len(problems) == 2 else 1), first.stderr
    again = subprocess.run([*command, "--endpoint", endpoint, *options], capture_output=True, text=True, timeout=400)
    assert again.returncode == first.returncode and len(replies.read_text().splitlines()) == len(stored)
