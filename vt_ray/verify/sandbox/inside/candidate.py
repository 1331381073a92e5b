"""The candidate's side of a `check` test: runs the program, then does what the test's code asks of its objects.

    {"op": "name" | "attribute" | "call" | "list", ...} --> {"value", "args"?} | {"raised", "message"}

It never sees the test. What it answers is up to the program that shares this process: the test judges it.
"""

from __future__ import annotations

import io
import itertools
import sys
from typing import Any

from vt_ray.verify.sandbox.inside.channel import ChannelClosed, decode, encode, receive, send
from vt_ray.verify.sandbox.inside.program import CHANNEL_FD, execute, prelude_names, run_as_main

_MAX_LISTED = 100_000
_MAX_MESSAGE_CHARS = 300


def run_candidate(source: str) -> int:
    """Run the program and serve the channel until it closes. The exit code."""
    sys.stdin = io.StringIO()

    def serve(names: dict[str, Any]) -> None:
        names.update(prelude_names)
        execute(source, names)
        sys.stdout.flush()  # the test's end is this process's end
        _serve(names)

    return run_as_main(serve)


def _serve(names: dict[str, Any]) -> None:
    objects: list[Any] = []

    def refer(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    while True:
        try:
            request = receive(CHANNEL_FD)
        except ChannelClosed:
            return
        try:
            answer = _do(request, names, objects, refer)
        except Exception as error:
            answer = {"raised": _kinds(type(error)), "message": _text(error)}
        send(CHANNEL_FD, answer)


def _do(request: dict[str, Any], names: dict[str, Any], objects: list[Any], refer: Any) -> dict[str, Any]:
    op = request["op"]
    if op == "name":
        if request["name"] not in names:
            return {"missing": True}
        value = names[request["name"]]
        if isinstance(value, type) and issubclass(value, Exception):
            return {"exception": _kinds(value)}
        return {"value": encode(value, refer)}
    target = objects[request["object"]]
    if op == "attribute":
        return {"value": encode(getattr(target, request["name"]), refer)}
    if op == "list":
        return {"value": encode(list(itertools.islice(iter(target), _MAX_LISTED)), refer)}
    if request["method"]:
        target = _method(target, request["method"])
    args, kwargs = (decode(request[key], objects.__getitem__) for key in ("args", "kwargs"))
    result = target(*args, **kwargs)
    if result is not None:
        return {"value": encode(result, refer)}
    return {"value": None, "changed": encode([args, kwargs], refer)}


def _method(target: Any, name: str) -> Any:
    if not hasattr(target, name):
        raise TypeError(f"a {type(target).__name__} has no {name}")
    return getattr(target, name)


def _kinds(kind: type) -> list[str]:
    """The names of an exception's classes up to the first builtin one: all that the test's side knows of it."""
    kinds = [one.__name__ for one in kind.__mro__]
    builtin = next(place for place, one in enumerate(kind.__mro__) if one.__module__ == "builtins")
    return kinds[: builtin + 1]


def _text(error: Exception) -> str:
    try:
        text = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else str(error)
        return text[:_MAX_MESSAGE_CHARS]
    except Exception:
        return ""
