"""JSON of problem files: integers of bounded length, and errors with a remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

# Python's own limit. Python's error names neither a row nor a remedy. int() takes time quadratic in the digits.
MAX_DIGITS = 4_300
TOO_DEEP = "holds lists or objects nested too deeply: flatten or delete them"
# The field of the rows in a file with one object: BIG-Bench, exported tables.
LIST_NAMES = ("data", "examples", "rows")
_CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\n\r]*")


class UnusableJson(ValueError):
    """Well-formed JSON that cannot be used. The message gives the reason and the remedy."""


class NotAList(UnusableJson):
    """JSON of one value that is no list of rows."""


def loads(text: str) -> Any:
    """Returns `text` as Python values.

    Raises json.JSONDecodeError for broken JSON, UnusableJson for a giant integer or too deep nesting.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise UnusableJson(TOO_DEEP) from error


def stream_list(stream: TextIO) -> Iterator[Any]:
    """Yields the elements of a JSON list, or the values of a text with one JSON value after the other.

    Holds one element and one chunk of text at a time. One object alone must have the list under a name in
    `LIST_NAMES`. Raises NotAList for another single value, json.JSONDecodeError with the line in the stream for broken
    JSON, UnusableJson as `loads` does.
    """
    window = _Window(stream)
    if window.skip("["):
        if not window.skip("]"):
            yield window.value()
            while window.skip(","):
                yield window.value()
            window.expect("]")
        window.expect("")
        return
    first = window.value()
    if window.ended():
        yield from _only_list(first)
        return
    yield first
    while not window.ended():
        yield window.value()


def _only_list(value: Any) -> list[Any]:
    lists = [value[name] for name in LIST_NAMES if value.get(name)] if isinstance(value, dict) else []
    if len(lists) != 1 or not isinstance(lists[0], list):
        raise NotAList(f"holds one {type(value).__name__}: expected a list of objects")
    return lists[0]


class _Window:
    """The part of a stream of JSON that is being decoded."""

    def __init__(self, stream: TextIO):
        self.stream, self.text, self.position, self.lines, self.size = stream, "", 0, 0, _CHUNK

    def value(self) -> Any:
        """Returns the next value. Reads on as long as the value may go on behind the text that was read."""
        self.ended()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except RecursionError as error:
                raise UnusableJson(TOO_DEEP) from error
            except json.JSONDecodeError as error:
                if not self._read():
                    raise self._error(error.msg, error.pos) from error
                continue
            if end < len(self.text) or not self._read():
                self.position, self.size = end, _CHUNK
                return value

    def skip(self, mark: str) -> bool:
        """Whether the next character is `mark`, which is skipped."""
        found = not self.ended() and self.text[self.position] == mark
        self.position += found
        return found

    def expect(self, mark: str) -> None:
        """Skips `mark`, or the end of the stream if it is empty. Raises json.JSONDecodeError for other text."""
        if not (self.skip(mark) if mark else self.ended()):
            raise self._error(f"Expecting {mark!r}" if mark else "Extra data", self.position)

    def ended(self) -> bool:
        """Whether only white space is left, which is skipped."""
        while True:
            match = _SPACE.match(self.text, self.position)
            self.position = match.end() if match else self.position
            if self.position < len(self.text):
                return False
            if not self._read():
                return True

    def _read(self) -> bool:
        """Appends the next chunk and forgets the text that was decoded. Returns False at the end of the stream."""
        chunk = self.stream.read(self.size)
        if chunk:
            self.size *= 2  # a long value is decoded again with each chunk
            self.lines += self.text.count("\n", 0, self.position)
            self.text, self.position = self.text[self.position :] + chunk, 0
        return bool(chunk)

    def _error(self, fault: str, position: int) -> json.JSONDecodeError:
        error = json.JSONDecodeError(fault, self.text, position)
        error.lineno += self.lines
        return error


def _integer(digits: str) -> int:
    if _is_giant(digits):
        raise UnusableJson(
            f"holds an integer of {len(digits.lstrip('-')):,} digits, the limit is {MAX_DIGITS:,}: write it as text, "
            "in quotes, or delete the row"
        )
    return int(digits)


def _is_giant(digits: str) -> bool:
    return len(digits.lstrip("-")) > MAX_DIGITS


_DECODER = json.JSONDecoder(parse_int=_integer)
