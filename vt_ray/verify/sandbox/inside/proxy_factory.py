"""Makes the test's representations of the program's objects: a proxy, a value, or an exception class.

{"object" | "derived" | "exception": ...} --ProxyFactory.made--> Proxy | value of a builtin type | exception class
"""

from __future__ import annotations

import builtins
from typing import Any

from vt_ray.verify.sandbox.inside.proxy import Proxy

_MAX_KINDS = 20


class RemoteError(Exception):
    """The program raised an exception of its own class, or a builtin exception that would influence the test."""


class ProgramEnded(BaseException):
    """The program's process has ended. Not an Exception, so that test code cannot mistake it for an expected one."""


class ProxyFactory:
    """All objects of one program that the test's side knows, by number."""

    def __init__(self, remote: Any) -> None:
        self._remote = remote
        self._known: dict[int, Any] = {}
        self._kinds: dict[tuple[str, ...], Any] = {}
        self.subjects: set[int] = set()  # the classes that the test names

    def made(self, message: str, content: Any) -> Any:
        """Returns the object for a message that is not a plain value. Raises ValueError for other messages."""
        if message == "object":
            number, own_class, what = _checked_reference(content)
            if what == "coroutine":
                return _awaitable(self._remote, number)
            if number not in self._known:
                self._known[number] = Proxy(self, number, own_class, what)
            return self._known[number]
        if message == "derived":
            return self._derived(*content)
        if message == "exception":
            kinds, number = content
            kind = self.exception_class(kinds)
            if type(kind) is _ExceptionKind:
                type.__setattr__(kind, "_proxy", Proxy(self, number, None, "class"))
            # An alias of Exception would catch the test's own AssertionError.
            return RemoteError if issubclass(AssertionError, kind) else kind
        raise ValueError("not a value")

    def name(self, name: str, value: Any) -> None:
        """Record that the test refers to an object of the program by this name."""
        if type(value) is Proxy and value._what == "class" and name[:1].isupper():
            self.subjects.add(value._number)

    def _derived(self, plain: Any, fields: Any, reference: Any) -> Any:
        """Returns an int, float, str or tuple whose other attributes are in the program: IntEnum, namedtuple."""
        number, _, _ = _checked_reference(reference)
        if type(plain) is dict:
            plain = tuple(self._remote._decode(plain))
        if number not in self._known:
            kind = _DERIVED[type(plain)]
            value = kind(plain)
            value.__dict__.update(_program_number=number, _proxy=Proxy(self, number, None, ""))
            for place, field in zip(range(len(value) if kind is _Tuple else 0), fields):  # noqa: B905
                value.__dict__[field] = value[place]
            self._known[number] = value
        return self._known[number]

    def exception(self, kinds: Any, message: str, number: Any) -> Exception:
        """Returns a local exception for an exception of the program."""
        kind = self.exception_class(kinds)
        try:
            error = type.__call__(kind, message)
        except TypeError:  # UnicodeDecodeError and others need more arguments
            error = RemoteError(f"{kind.__name__}: {message}")
        error.__dict__["_from_program"] = True
        if type(number) is int:
            error.__dict__.update(_program_number=number, _proxy=Proxy(self, number, None, ""))
        return error

    def exception_class(self, kinds: Any) -> type[Exception]:
        """Returns a local class for an exception class of the program, so that a test can expect it."""
        named = type(kinds) is list and all(type(name) is str and name.isidentifier() for name in kinds)
        if not named or not 0 < len(kinds) <= _MAX_KINDS:
            raise self._remote._lose()
        kind = _builtin_exception(kinds[-1])
        for place in range(len(kinds) - 2, -1, -1):
            if tuple(kinds[place:]) not in self._kinds:
                body = {"__getattr__": _attribute_of_proxy}
                self._kinds[tuple(kinds[place:])] = _ExceptionKind(kinds[place], (kind,), body)
            kind = self._kinds[tuple(kinds[place:])]
        return kind


def _checked_reference(content: Any) -> tuple[int, Any, str]:
    number, own_class, what = content
    if type(number) is not int or type(own_class) not in (int, type(None)) or type(what) is not str:
        raise ValueError("not an object's number")
    return number, own_class, what


def _builtin_exception(name: str) -> type[Exception]:
    """Returns the builtin exception of that name. StopIteration is refused: it would end the test's loops early."""
    kind = getattr(builtins, name, None)
    steers = (StopIteration, StopAsyncIteration, Warning)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, steers):
        return kind
    return RemoteError


class _ExceptionKind(type):
    """The class of local exception classes. Calling one makes an instance in the program."""

    _proxy: Any = None

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._proxy(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_") or cls._proxy is None:
            raise AttributeError(name)
        return getattr(cls._proxy, name)


async def _awaitable(remote: Any, number: int) -> Any:
    return remote.ask("await", object=number)


def _attribute_of_proxy(self: Any, name: str) -> Any:
    if (name.startswith("_") and name not in _OF_NAMEDTUPLE) or "_proxy" not in self.__dict__:
        raise AttributeError(name)
    return getattr(self.__dict__["_proxy"], name)


_OF_NAMEDTUPLE = ("_asdict", "_replace", "_fields")


class _Int(int):
    __getattr__ = _attribute_of_proxy


class _Float(float):
    __getattr__ = _attribute_of_proxy


class _Str(str):
    __getattr__ = _attribute_of_proxy


class _Tuple(tuple):
    __getattr__ = _attribute_of_proxy

    def __repr__(self) -> str:
        return repr(self.__dict__["_proxy"])


_DERIVED: dict[type, Any] = {int: _Int, float: _Float, str: _Str, tuple: _Tuple}
