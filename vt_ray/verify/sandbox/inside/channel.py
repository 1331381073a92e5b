"""The narrow channel between a test's code and the candidate: data by value, everything else by a number.

    test code (its own process) --{"op": "call", "object": 3, "args": [...]}--> candidate (another process)
                                <--{"value": ..., "args": ...} | {"raised": ...}--

Values are rebuilt from exact types on the receiving side. An object that is not plain data stays where it is; the
other side holds its number and can call it, take an attribute or list it, and nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from vt_ray.verify.sandbox.inside.plain import is_dictionary

MAX_FRAME_BYTES = 16 << 20
_MAX_DEPTH = 200
_PLAIN_INT = 1 << 62

_dump = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode
_load = json.JSONDecoder().decode
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "Decimal": lambda text: importlib.import_module("decimal").Decimal(text),
    "Fraction": lambda text: importlib.import_module("fractions").Fraction(text),
}
_AS_TEXT = (("decimal", "Decimal"), ("fractions", "Fraction"))  # imported where a program has some, no earlier


class ChannelClosed(Exception):
    """The other side has ended, or does not speak the protocol."""


def send(descriptor: int, message: dict[str, Any]) -> None:
    body = _dump(message).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes, the limit is {MAX_FRAME_BYTES}")
    frame = struct.pack("!I", len(body)) + body
    try:
        while frame:
            frame = frame[os.write(descriptor, frame) :]
    except OSError as error:
        raise ChannelClosed("the other side has ended") from error


def receive(descriptor: int) -> dict[str, Any]:
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
            chunk = os.read(descriptor, min(size - len(data), 1 << 16))
        except OSError as error:
            raise ChannelClosed("the other side has ended") from error
        if not chunk:
            raise ChannelClosed("the other side has ended")
        data += chunk
    return bytes(data)


def encode(value: Any, refer: Callable[[Any], int], depth: int = 0) -> Any:
    """The value as JSON can hold it; `refer` gives the number of an object that is not plain data."""
    kind = type(value)
    if depth > _MAX_DEPTH:
        raise ValueError(f"data nested more than {_MAX_DEPTH} levels deep")
    if value is None or kind is bool or kind is float or kind is str:
        return value
    if kind is int:
        return value if -_PLAIN_INT < value < _PLAIN_INT else {"int": f"{value:x}"}
    if kind is list:
        return [encode(item, refer, depth + 1) for item in value]
    for name, exact in (("tuple", tuple), ("set", set), ("frozenset", frozenset), ("deque", deque)):
        if kind is exact:
            return {name: [encode(item, refer, depth + 1) for item in value]}
    if is_dictionary(kind):
        pairs = dict.items(value)
        return {"dict": [[encode(k, refer, depth + 1), encode(v, refer, depth + 1)] for k, v in pairs]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range:
        return {"range": [encode(part, refer, depth + 1) for part in (value.start, value.stop, value.step)]}
    if (kind.__module__, kind.__name__) in _AS_TEXT:
        return {kind.__name__: str(value)}
    return {"object": refer(value)}


def decode(message: Any, find: Callable[[int], Any], depth: int = 0) -> Any:
    """What `encode` was given; `find` gives the object of a number. Raises ValueError on what it never writes."""
    if depth > 2 * _MAX_DEPTH:
        raise ValueError("data nested too deep")
    if type(message) is list:
        return [decode(item, find, depth + 1) for item in message]
    if type(message) is not dict:
        return message
    if len(message) != 1:
        raise ValueError("not a value")
    ((name, content),) = message.items()
    if name == "object":
        return find(content)
    if name in ("int", "bytes", "Decimal", "Fraction"):
        return _MAKERS[name](content)
    try:
        return _MAKERS[name](decode(content, find, depth + 1))
    except (KeyError, TypeError) as error:
        raise ValueError("not a value") from error
