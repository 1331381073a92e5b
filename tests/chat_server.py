"""A small OpenAI-compatible server on the loopback device, for tests: stdlib only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer(ThreadingHTTPServer):
    """`answer(request)` gets the JSON of a chat request and returns the reply's text, or (HTTP status, message).

    It may also return a dict with `content` and perhaps `finish_reason` and `usage`.

    `requests` are all chat requests until now, `keys` the values of their Authorization.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[dict[str, Any]], Any], models: tuple[str, ...] = ("tiny-judge",)):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.answer, self.models = answer, models
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def handle_error(self, *args: object) -> None:
        """A client that was killed within a request is part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.server.models]
        self._send(200 if self.path == "/v1/models" else 404, {"object": "list", "data": models})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers["Authorization"])
        answer = self.server.answer(request)
        if isinstance(answer, tuple):
            self._send(answer[0], {"error": {"message": answer[1]}})
            return
        reply = answer if isinstance(answer, dict) else {"content": answer}
        message = {"role": "assistant", "content": reply["content"]}
        choices = [{"index": 0, "message": message, "finish_reason": reply.get("finish_reason", "stop")}]
        usage = {"usage": reply["usage"]} if "usage" in reply else {}
        completion = {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"]}
        self._send(200, {**completion, **usage, "choices": choices})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def chat_server(answer: Callable[[dict[str, Any]], Any], **changes: Any) -> Iterator[ChatServer]:
    server = ChatServer(answer, **changes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
