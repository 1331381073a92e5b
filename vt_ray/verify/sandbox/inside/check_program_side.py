"""The program's side of a `check` test: loads the program, then serves the requests of the test's code.

    {"op": "names" | "call" | "attribute" | "iterate" | "next" | ...} --> {"value", "changed"?} | {"raised", ...}
    {"callback": ...} --> {"value"} | {"raised"}                 for an object of the test that the program got

This process never sees the test. The program shares it and may give any answer: the test judges the answers.
"""

from __future__ import annotations

import importlib
import io
import operator
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from vt_ray.verify.sandbox.inside.channel import ChannelClosed, decode, encode, receive, send
from vt_ray.verify.sandbox.inside.plain_data import builtin_base, builtin_value
from vt_ray.verify.sandbox.inside.program_runner import CHANNEL_FD, MODULE_NAME, load, run_as

_MAX_MESSAGE_CHARS = 300
_BATCH_S = 0.005  # a batch of iterator items ends after this time
# A subclass of list, dict or set that overrides one of these methods does not count as its base class.
_FACES = ("__len__", "__iter__", "__getitem__", "__contains__", "__eq__", "__missing__", "__reversed__")
_VALUES: dict[str, Callable[[Any], Any]] = {one.__name__: one for one in (bool, hash, int, float, len, str, repr)}


def run_candidate(source: str) -> int:
    """Load the program and serve the channel until it closes. Returns the exit code."""

    def serve(names: dict[str, Any]) -> None:
        server = _Server(names)
        try:
            request = receive(CHANNEL_FD)
        except ChannelClosed:
            return
        load(source, names, {name: _TestClass(server, name) for name in request["classes"]})
        sys.stdout.flush()  # this process ends with the test
        server.answer(request)
        server.serve()

    return run_as(MODULE_NAME, serve)


class _Server:
    """Answers the test's requests. Each object that was sent keeps its number and stays alive."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._of_test: dict[int, _TestObject] = {}
        self._failed: dict[int, Exception] = {}  # iterators that raised after items that could still be sent
        self._printed: io.StringIO | None = None

    def serve(self) -> None:
        while True:
            try:
                request = receive(CHANNEL_FD)
            except ChannelClosed:
                return
            self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        try:
            answer = getattr(self, f"_do_{request['op']}")(request)
        except Exception as error:
            answer = {"raised": _kinds(type(error)), "message": _text(error), "object": self._number(error)}
        if self._printed is not None and self._printed.tell():
            answer["printed"] = self._printed.getvalue()
            self._printed.seek(0)
            self._printed.truncate()
        send(CHANNEL_FD, answer)

    def ask_test(self, message: dict[str, Any]) -> Any:
        """Ask the test's side to use one of its own objects. The test may send requests before it answers."""
        send(CHANNEL_FD, {"callback": message})
        while "op" in (answer := receive(CHANNEL_FD)):
            self.answer(answer)
        if "raised" in answer:
            raise _builtin_exception(answer["raised"])(answer["message"])
        return self.decode(answer["value"])

    def encode(self, value: Any) -> Any:
        return encode(value, self._refer)

    def decode(self, message: Any) -> Any:
        return decode(message, self._find)

    def _number(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number

    def _refer(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        if kind is _TestObject:
            return {"test": object.__getattribute__(value, "_number")}
        if isinstance(value, type) and issubclass(value, Exception):
            return {"exception": [_kinds(value), self._number(value)]}
        base = builtin_base(kind)
        if base in (int, float, str):
            return {"derived": [builtin_value(value, base), [], self._reference(value)]}
        if base is tuple:
            fields = [name for name in getattr(kind, "_fields", ()) if type(name) is str]
            return {"derived": [self.encode(tuple(tuple.__iter__(value))), fields, self._reference(value)]}
        return {"object": self._reference(value)}

    def _reference(self, value: Any) -> list[Any]:
        """Returns [number, number of its class or None, kind]. The kind is one word or ""."""
        kind = type(value)
        own_class = self._number(kind) if kind.__module__ == MODULE_NAME else None
        what = ""
        if isinstance(value, type):
            what = "class"
        elif kind is types.CoroutineType:
            what = "coroutine"
        elif hasattr(kind, "__next__"):
            what = "iterator"
        elif _is_container(kind):
            what = "container"
        elif hasattr(kind, "__len__") and hasattr(kind, "__iter__"):
            what = "sized"
        return [self._number(value), own_class, what]

    def _find(self, name: str, content: Any) -> Any:
        if name == "object":
            return self._objects[content]
        if name == "global":
            module, qualified = content
            return operator.attrgetter(qualified)(importlib.import_module(module))
        return self._of_test.setdefault(content, _TestObject(self, content))

    # --- requests of the test's side ---

    def _do_names(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns the given names that the program defines."""
        if request["shows_output"]:
            self._printed = io.StringIO()
            sys.stdout = _Copied(sys.stdout, self._printed)
        if request["gives_input"]:
            sys.stdin = _TestInput(self)
        found = {n: self.encode(self._names[n]) for n in request["names"] if n in self._names}
        own = [self._names[name] for name in request["classes"] if isinstance(self._names.get(name), type)]
        return {"names": found, "classes": [self._number(kind) for kind in own]}

    def _do_call(self, request: dict[str, Any]) -> dict[str, Any]:
        target = self._objects[request["object"]]
        if request["method"]:
            target = _method(target, request["method"])
        args, kwargs = (self.decode(request[key]) for key in ("args", "kwargs"))
        answer = {"value": self.encode(target(*args, **kwargs))}
        changed = [self.encode(args), self.encode(kwargs)]
        if changed != [request["args"], request["kwargs"]]:
            answer["changed"] = changed
        return answer

    def _do_attribute(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": self.encode(getattr(self._objects[request["object"]], request["name"]))}

    def _do_iterate(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": {"object": self._reference(iter(self._objects[request["object"]]))}}

    def _do_next(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns the next items of an iterator; "ended" is set after the last one."""
        number, many = request["object"], request["many"]
        if number in self._failed:
            raise self._failed.pop(number)
        items: list[Any] = []
        iterator, began = self._objects[number], time.monotonic()
        while len(items) < many and (len(items) == 0 or time.monotonic() - began < _BATCH_S):
            try:
                items.append(next(iterator))
            except StopIteration:
                return {"value": self.encode(items), "ended": True}
            except Exception as error:
                if not items:
                    raise
                self._failed[number] = error
                break
        return {"value": self.encode(items)}

    def _do_operate(self, request: dict[str, Any]) -> dict[str, Any]:
        name, operands = request["name"], self.decode(request["args"])
        function = _VALUES.get(name) or getattr(operator, name)
        return {"value": self.encode(function(*operands))}

    def _do_equal(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns whether two objects are equal, and whether the first equals a new object without content."""
        left, right = self.decode(request["args"])
        try:
            equals_anything = bool(left == object())
        except Exception:
            equals_anything = False
        return {"value": [bool(left == right), equals_anything]}

    def _do_isinstance(self, request: dict[str, Any]) -> dict[str, Any]:
        value, kind = self.decode(request["args"])
        return {"value": isinstance(value, kind)}

    def _do_contents(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns the contents of an instance of a subclass of list, dict or set, as the builtin type holds them."""
        value = self._objects[request["object"]]
        base: Any = next(base for base in (list, dict, set) if base in type(value).__mro__)
        copied = dict(dict.items(value)) if base is dict else base(base.__iter__(value))
        return {"value": self.encode(copied)}

    def _do_await(self, request: dict[str, Any]) -> dict[str, Any]:
        import asyncio

        return {"value": self.encode(asyncio.run(self._objects[request["object"]]))}


class _TestObject:
    """An object of the test: a function, an iterator, or an instance of one of its classes."""

    def __init__(self, server: _Server, number: int) -> None:
        object.__setattr__(self, "_server", server)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _ask(self, "call", args=_encoded(self, list(args)), kwargs=_encoded(self, kwargs))

    def __getattr__(self, name: str) -> Any:
        return _ask(self, "attribute", name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set", name=name, value=_encoded(self, value))

    def __iter__(self) -> Any:
        return _ask(self, "iterate")

    def __next__(self) -> Any:
        found = _ask(self, "next")
        if not found:
            raise StopIteration
        return found[0]

    def __len__(self) -> int:
        return int(_ask(self, "len"))

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key=_encoded(self, key))

    def __bool__(self) -> bool:
        return bool(_ask(self, "bool"))

    def __eq__(self, other: object) -> bool:
        return type(other) is _TestObject and _number_of(other) == _number_of(self)

    def __hash__(self) -> int:
        return hash(_number_of(self))


def _number_of(one: _TestObject) -> int:
    return object.__getattribute__(one, "_number")  # type: ignore[no-any-return]


def _encoded(one: _TestObject, value: Any) -> Any:
    return object.__getattribute__(one, "_server").encode(value)


def _ask(one: _TestObject, op: str, **rest: Any) -> Any:
    return object.__getattribute__(one, "_server").ask_test({"do": op, "test": _number_of(one)} | rest)


class _TestClass:
    """A class that only the test defines, such as `ListNode`, for annotations and for instances."""

    def __init__(self, server: _Server, name: str) -> None:
        self._server, self.__name__ = server, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._server.ask_test({"do": "class", "test": -1, "name": self.__name__})(*args, **kwargs)

    def __instancecheck__(self, instance: Any) -> bool:
        return type(instance) is _TestObject

    def __or__(self, _: Any) -> _TestClass:  # ListNode | None
        return self

    __ror__ = __or__


class _Copied(io.TextIOBase):
    """The program's standard output, with a copy for a test that reads the printed text."""

    def __init__(self, stream: Any, copy: io.StringIO) -> None:
        self._stream, self._copy = stream, copy

    def write(self, text: str) -> int:
        self._copy.write(text)
        return int(self._stream.write(text))

    def flush(self) -> None:
        self._stream.flush()


class _TestInput(io.TextIOBase):
    """The standard input that the test's code has set in its process."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def readline(self, *_: Any) -> str:  # type: ignore[override]
        return str(self._server.ask_test({"do": "readline", "test": -1}))

    def read(self, *_: Any) -> str:
        return str(self._server.ask_test({"do": "read", "test": -1}))


def _is_container(kind: type) -> bool:
    """Whether the type is a subclass of list, dict or set that does not override how its contents are read."""
    base = next((base for base in (list, dict, set) if base in kind.__mro__), None)
    return base is not None and all(getattr(kind, name, None) is getattr(base, name, None) for name in _FACES)


def _method(target: Any, name: str) -> Callable[..., Any]:
    if not hasattr(target, name):
        raise TypeError(f"a {type(target).__name__} has no {name}")
    return getattr(target, name)  # type: ignore[no-any-return]


def _kinds(kind: type) -> list[str]:
    """Returns the names of an exception's classes up to the first builtin class. The test's side knows only these."""
    kinds = [one.__name__ for one in kind.__mro__]
    builtin = next(place for place, one in enumerate(kind.__mro__) if one.__module__ == "builtins")
    return kinds[: builtin + 1]


def _builtin_exception(name: str) -> type[Exception]:
    import builtins

    kind = getattr(builtins, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError


def _text(error: Exception) -> str:
    try:
        text = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else str(error)
        return text[:_MAX_MESSAGE_CHARS]
    except Exception:
        return ""
