"""`vt-tools write-problems` against a real vLLM server with the tiny model: the plumbing, not the quality."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest

from vt_ray.engines.base_model import prepare_base_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tiny_config, problems, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    corpus = [text for p in problems.train for text in (p.question, *(s.text for s in p.solutions))]
    # The messages have many tokens in a tokenizer that was trained on short problems.
    prepare_base_model(replace(tiny_config.model, max_position_embeddings=4_096), corpus, 0, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--model", str(folder), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    limits = ["--max-model-len", "4096", "--max-num-seqs", "8", "--enforce-eager"]
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
    options = ["--count", "2", "--samples", "2", "--max-tokens", "32", "--token-cap", "100000"]
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
    # One request for the topics, and 10 questions for each wanted problem, all without the tags of a problem.
    assert len(stored) == 21 and all(20 < line["prompt_tokens"] < 2_000 for line in stored)
    assert all(0 < line["reply_tokens"] <= 32 for line in stored) and any(line["text"].strip() for line in stored)
    dropped = [json.loads(line) for line in (tmp_path / "p.jsonl.dropped.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in dropped] == ["no problem between the tags"] * 20
    assert first.returncode == 2 and "take a stronger model" in " ".join(first.stderr.split()) and not output.exists()
    again = subprocess.run([*command, "--endpoint", endpoint, *options], capture_output=True, text=True, timeout=400)
    assert again.returncode == first.returncode and len(replies.read_text().splitlines()) == len(stored)
