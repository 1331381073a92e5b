"""The channel between a test's code and the candidate program: data goes by value, other objects by a number.

    test code (its own process) --{"op": "call", "object": 3, "args": [...]}--> candidate (another process)
                                <--{"value": ..., "changed"?: ...} | {"raised": ...} | {"callback": ...}--

The receiving side rebuilds a value from exact types. An object that is not plain data stays in its own process; the
other side holds its number and sends requests for the object.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

MAX_FRAME_BYTES = 64 << 20
_MAX_DEPTH = 200
_PLAIN_INT = 1 << 62  # larger integers are sent as hexadecimal text: decimal text takes quadratic time
_RAW = {type(None), bool, float, str}
_RAW_OR_INT = _RAW | {int}

_dump = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode
_load = json.JSONDecoder().decode
_SEQUENCES: dict[Any, str] = {tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_DICTIONARIES: dict[Any, str] = {dict: "dict", Counter: "Counter", OrderedDict: "OrderedDict"}
# Modules that are imported only if a program has such objects. `datetime` types are sent as their arguments.
_AS_TEXT = (("decimal", "Decimal"), ("fractions", "Fraction"))
_TIMES: dict[str, tuple[str, ...]] = {
    "date": ("year", "month", "day"),
    "time": ("hour", "minute", "second", "microsecond"),
    "datetime": ("year", "month", "day", "hour", "minute", "second", "microsecond"),
    "timedelta": ("days", "seconds", "microseconds"),
}
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "OrderedDict": OrderedDict,
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "slice": lambda parts: slice(*parts),
    "Decimal": lambda text: importlib.import_module("decimal").Decimal(text),
    "Fraction": lambda text: importlib.import_module("fractions").Fraction(text),
    **{name: partial(lambda name, parts: _time(name, parts), name) for name in _TIMES},
}


class ChannelClosed(Exception):
    """The other side has ended, or violates the protocol."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write one frame. Raises ChannelClosed if the other side has ended, ValueError if the frame is too large."""
    body = _dump(message).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes, the limit is {MAX_FRAME_BYTES}")
    frame = memoryview(struct.pack("!I", len(body)) + body)
    try:
        while frame:
            frame = frame[os.write(descriptor, frame) :]
    except OSError as error:
        raise ChannelClosed("the other side has ended") from error


def receive(descriptor: int) -> dict[str, Any]:
    """Read one frame. Raises ChannelClosed if no frame comes, or if the frame is not a message."""
    (size,) = struct.unpack("!I", _read(descriptor, 4))
    if size > MAX_FRAME_BYTES:
        raise ChannelClosed("the other side does not speak the protocol")
    try:
        message = _load(_read(descriptor, size).decode())
    except (ValueError, RecursionError, MemoryError) as error:
        raise ChannelClosed("the other side does not speak the protocol") from error
    if type(message) is not dict:
        raise ChannelClosed("the other side does not speak the protocol")
    return message


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = os.read(descriptor, min(size - len(data), 1 << 20))
        except OSError as error:
            raise ChannelClosed("the other side has ended") from error
        if not chunk:
            raise ChannelClosed("the other side has ended")
        data += chunk
    return bytes(data)


def encode(value: Any, refer: Callable[[Any], dict[str, Any]], depth: int = 0) -> Any:
    """Returns the value in a form for JSON. `refer` returns the message for an object that is not plain data."""
    kind = type(value)
    if kind in _RAW:
        return value
    if kind is int:
        return value if -_PLAIN_INT < value < _PLAIN_INT else {"int": f"{value:x}"}
    if depth > _MAX_DEPTH:
        raise ValueError(f"data nested more than {_MAX_DEPTH} levels deep")
    if kind is list:
        return _encode_items(value, refer, depth + 1)
    if kind in _SEQUENCES:
        return {_SEQUENCES[kind]: _encode_items(list(value), refer, depth + 1)}
    if kind in _DICTIONARIES or (kind.__module__, kind.__name__) == ("collections", "defaultdict"):
        keys, values = (_encode_items(list(part(value)), refer, depth + 1) for part in (dict.keys, dict.values))
        return {_DICTIONARIES.get(kind, "dict"): [keys, values]}
    return _encode_other(value, refer, depth)


def _encode_items(items: list[Any], refer: Callable[[Any], dict[str, Any]], depth: int) -> list[Any]:
    kinds = set(map(type, items))
    if kinds == {int} and min(items) > -_PLAIN_INT and max(items) < _PLAIN_INT:
        return items
    if kinds <= _RAW:
        return items
    return [encode(item, refer, depth) for item in items]


def _encode_other(value: Any, refer: Callable[[Any], dict[str, Any]], depth: int) -> Any:
    kind = type(value)
    if kind is bytes or kind is bytearray:
        return {kind.__name__: value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range or kind is slice:
        parts = [value.start, value.stop, value.step]
        return {kind.__name__: _encode_items(parts, refer, depth + 1)}
    if (kind.__module__, kind.__name__) in _AS_TEXT:
        return {kind.__name__: str(value)}
    if kind.__module__ == "datetime" and kind.__name__ in _TIMES and getattr(value, "tzinfo", None) is None:
        return {kind.__name__: [getattr(value, part) for part in _TIMES[kind.__name__]]}
    return refer(value)


def _time(name: str, parts: Any) -> Any:
    return getattr(importlib.import_module("datetime"), name)(*parts)


def decode(message: Any, find: Callable[[str, Any], Any], depth: int = 0) -> Any:
    """Inverse of `encode`. `find` returns the object for a message of `refer`. Raises ValueError for other messages."""
    if depth > 2 * _MAX_DEPTH:
        raise ValueError("data nested too deep")
    if type(message) is list:
        if set(map(type, message)) <= _RAW_OR_INT:
            return list(message)
        return [decode(item, find, depth + 1) for item in message]
    if type(message) is not dict:
        return message
    if len(message) != 1:
        raise ValueError("not a value")
    ((name, content),) = message.items()
    try:
        if name in _DICTIONARIES.values():
            keys, values = (decode(part, find, depth + 1) for part in content)
            return _MAKERS[name](zip(keys, values))  # noqa: B905 (the sandbox's interpreter may be Python 3.9)
        if name in ("int", "bytes", "bytearray", "Decimal", "Fraction"):
            return _MAKERS[name](content)
        if name in _MAKERS:
            return _MAKERS[name](decode(content, find, depth + 1))
    except (KeyError, TypeError) as error:
        raise ValueError("not a value") from error
    return find(name, content)
