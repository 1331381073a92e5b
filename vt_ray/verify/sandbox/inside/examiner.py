"""The test's side of a `check` test: runs the test code, for which the candidate is behind the channel.

    test code --names it does not define--> Remote --channel--> candidate's process
              --end--> {"passed": true} | {"failed": reason} | {"malformed": why}, into a pipe of its own

The candidate's process can read neither this one's memory nor its report. What the test code takes from the
program, a helper say, is the program's to forge; its own definitions and the builtins are not.
"""

from __future__ import annotations

import builtins
import json
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

from vt_ray.verify.sandbox.inside.channel import ChannelClosed, decode, encode, receive, send
from vt_ray.verify.sandbox.inside.program import prelude_names, write_all

REPORT_FD = 0
CANDIDATE_FD = 3
_MAX_REASON_CHARS = 300
_MAX_KINDS = 20


class ProgramError(Exception):
    """The candidate raised something that is no builtin exception, or one that would steer the test."""


class ProgramEnded(BaseException):
    """The candidate's process is gone. Not an Exception: test code must not take it for one it expects."""


class NotPlainData(BaseException):
    """The test compares or tests an object of the candidate's, whose methods would decide the outcome."""


class Unsendable(BaseException):
    """The test gives the candidate something that cannot go through the channel: nobody's wrong answer."""


def run_test_code(request_text: str) -> int:
    """Run the test and report. The exit code is always 0: only the report counts."""
    request = json.loads(request_text)
    remote = _Remote()
    results = _unittest_results() if "unittest" in request["test"] else []
    report: dict[str, Any]
    try:
        _run(request, remote)
        report = {"passed": True}
    except SystemExit as leaving:  # unittest ends like this
        report = {"passed": True} if leaving.code in (None, 0, False) else {"failed": "wrong_answer"}
    except ProgramEnded:
        report = {"failed": "ended"}
    except (AssertionError, NotPlainData):
        report = {"failed": "wrong_answer"}
    except Unsendable as error:
        report = {"malformed": _text(error)}
    except BaseException as error:
        # A name that neither test nor program defines, or what is no function, is the program's fault.
        at_fault = remote.took_part or isinstance(error, NameError)
        report = {"failed": "runtime_error"} if at_fault else {"malformed": _text(error)}
    if remote.unsendable and report.get("failed") == "wrong_answer":
        report = {"malformed": remote.unsendable}
    if "passed" in report and remote.lost:  # whatever the test's code has made of it
        report = {"failed": "ended"}
    if "passed" in report and not all(result.wasSuccessful() for result in results):
        report = {"malformed": remote.unsendable} if remote.unsendable else {"failed": "wrong_answer"}
    if "passed" in report and not remote.calls:
        malformed = {"malformed": "the test never calls the program"}
        report = {"failed": "wrong_answer"} if remote.took_part else malformed
    write_all(REPORT_FD, json.dumps(report).encode())
    return 0


def _unittest_results() -> list[Any]:
    """A list that each result of unittest will be in: the test's code need not look at what its suite gave."""
    import unittest

    results: list[Any] = []
    begin = unittest.TestResult.__init__

    def watched(result: Any, *args: Any, **kwargs: Any) -> None:
        begin(result, *args, **kwargs)
        results.append(result)

    unittest.TestResult.__init__ = watched  # type: ignore[assignment, method-assign]
    return results


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_REASON_CHARS]


def _run(request: dict[str, Any], remote: _Remote) -> None:
    entry = request.get("entry_point") or ""
    root = re.split(r"\W", entry)[0]  # LeetCode's own tests have an entry point Solution().method
    code = compile(request["test"], "test.py", "exec", dont_inherit=True)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names.update(prelude_names, __builtins__=builtins)
    for name in _names_used(code):
        if name == root or not (name in names or hasattr(builtins, name)):
            remote.bring(name, names)
    exec(code, names)
    if remote.calls:
        return
    # HumanEval's own test defines `check` and leaves the call to the harness.
    if isinstance(names.get("check"), types.FunctionType) and entry:
        remote.bring(root, names)
        if root not in names:
            raise NameError(root)
        names["check"](eval(entry, names))
    else:
        _run_collected(list(names.items()))


def _run_collected(names: list[tuple[str, Any]]) -> None:
    """What unittest or pytest would find and run: test cases, and functions test_... without parameters."""
    unittest = sys.modules.get("unittest")
    for name, value in names:
        if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(unittest.TestResult())
        elif name.startswith("test_") and isinstance(value, types.FunctionType) and not value.__code__.co_argcount:
            value()


def _names_used(code: types.CodeType) -> set[str]:
    nested = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names_used, nested))


class _Remote:
    """This side's end of the channel."""

    def __init__(self) -> None:
        self.calls = 0
        self.took_part = False  # the program has given data for a name, or was asked for more
        self.lost = False
        self.unsendable = ""
        self._kinds: dict[tuple[str, ...], type[Exception]] = {}

    def bring(self, name: str, names: dict[str, Any]) -> None:
        """Put what the program calls `name` among the test's names; nothing where it has no such name."""
        answer = self._exchange({"op": "name", "name": name})
        if "exception" in answer:
            names[name] = self._exception_class(answer["exception"])
        elif "missing" not in answer:
            names[name] = value = self._value(answer)
            self.took_part |= type(value) is not _Object

    def ask(self, message: dict[str, Any], given: Any = None) -> Any:
        self.took_part = True
        answer = self._exchange(message)
        if "raised" in answer:
            raise _exception(self._exception_class(answer["raised"]), str(answer.get("message")))
        value = self._value(answer)
        if value is None and "changed" in answer:
            _update(given, self._decode(answer["changed"]))
        return value

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "") -> Any:
        self.calls += 1
        given = [list(args), kwargs]
        try:
            encoded_args, encoded_kwargs = (encode(part, _number) for part in given)
        except Unsendable as error:
            self.unsendable = _text(error)  # unittest takes any exception for a failure
            raise
        message = {"op": "call", "object": number, "method": method, "args": encoded_args, "kwargs": encoded_kwargs}
        return self.ask(message, given)

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            send(CANDIDATE_FD, message)
            return receive(CANDIDATE_FD)
        except ChannelClosed as error:
            self.lost = True  # even where the test's code passes over the exception
            raise ProgramEnded from error

    def _value(self, answer: dict[str, Any]) -> Any:
        if "value" not in answer:
            self.lost = True
            raise ProgramEnded
        return self._decode(answer["value"])

    def _decode(self, message: Any) -> Any:
        try:
            return decode(message, self._object)
        except Exception as error:
            self.lost = True
            raise ProgramEnded from error

    def _exception_class(self, kinds: Any) -> type[Exception]:
        """A class of this side's own for a class of the program's: one can be expected, and told from another."""
        named = type(kinds) is list and all(type(name) is str and name.isidentifier() for name in kinds)
        if not named or not 0 < len(kinds) <= _MAX_KINDS:
            self.lost = True
            raise ProgramEnded
        kind = _builtin_exception(kinds[-1])
        for place in range(len(kinds) - 2, -1, -1):
            kind = self._kinds.setdefault(tuple(kinds[place:]), type(kinds[place], (kind,), {}))
        return kind

    def _object(self, number: Any) -> _Object:
        if type(number) is not int:
            raise ValueError("not an object's number")
        return _Object(self, number)


def _refuse(*operands: object) -> Any:
    raise NotPlainData


def _ask(method: str) -> Any:
    return lambda self, *args: self._remote.call(self._number, args, {}, method)


class _Object:
    """An object of the candidate's: may be called, listed, asked for attributes and items, but never judges itself.

    Neither `in` nor arithmetic asks it: the expected value would go to the candidate, or the answer decide.
    """

    __slots__ = ("_remote", "_number")

    def __init__(self, remote: _Remote, number: int) -> None:
        object.__setattr__(self, "_remote", remote)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._remote.call(self._number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._remote.ask({"op": "attribute", "object": self._number, "name": name})

    def __iter__(self) -> Iterator[Any]:
        return iter(self._remote.ask({"op": "list", "object": self._number}))

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse
    __hash__ = object.__hash__
    __len__, __str__, __repr__, __next__ = map(_ask, ("__len__", "__str__", "__repr__", "__next__"))
    __getitem__, __setitem__, __delitem__ = map(_ask, ("__getitem__", "__setitem__", "__delitem__"))
    __setattr__ = _ask("__setattr__")


def _number(value: Any) -> int:
    if type(value) is _Object:
        return value._number
    raise Unsendable(f"the test calls the program with a {type(value).__name__}, which is not plain data")


def _builtin_exception(name: str) -> type[Exception]:
    """The builtin exception of that name. StopIteration would end the test's own loops early, as if passed."""
    kind = getattr(builtins, name, None)
    steers = (StopIteration, StopAsyncIteration, Warning)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, steers):
        return kind
    return ProgramError


def _exception(kind: type[Exception], message: str) -> Exception:
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError and the like want more
        return ProgramError(f"{kind.__name__}: {message}")


def _update(given: Any, changed: Any) -> None:
    """Make the test's own containers what the candidate's copies have become, after a call that returned None.

    Where something was returned they stay as they were: `f(xs) == sorted(xs)` must not pass by emptying xs.
    """
    positional = zip(given[0], changed[0])  # noqa: B905 (the interpreter that runs this may be Python 3.9)
    for mine, theirs in [*positional, *((given[1][key], changed[1].get(key)) for key in given[1])]:
        if type(mine) is not type(theirs):
            continue
        if type(mine) is list:
            mine[:] = theirs
        elif type(mine) in (dict, set):
            mine.clear()
            mine.update(theirs)
