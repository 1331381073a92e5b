"""The test's side of a `check` test: runs the test code, which reaches the program through the channel.

    test code --names of the program--> proxies --channel--> candidate's process
              --end--> {"passed": true} | {"failed": reason}, into its own pipe

The program's process can read neither the memory of this process nor its report. Every error counts against the
program: `programs/grader.py` decides from the problem alone whether the test itself is malformed.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
import json
import operator
import re
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import Any

from vt_ray.verify.sandbox.inside.channel import ChannelClosed, decode, encode, receive, send
from vt_ray.verify.sandbox.inside.program_runner import prelude_names, write_all
from vt_ray.verify.sandbox.inside.proxy import NotPlainData, Proxy
from vt_ray.verify.sandbox.inside.proxy_factory import ProgramEnded, ProxyFactory

REPORT_FD = 0
CANDIDATE_FD = 3


def run_test_code(request_text: str) -> int:
    """Run the test and write the report. The exit code is always 0: only the report counts."""
    request = json.loads(request_text)
    remote = ProgramConnection(sees_changes=request["sees_changes"])
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # -S leaves them out
    results = _unittest_results() if "unittest" in request["test"] else []
    report: dict[str, Any]
    try:
        _run(request, remote)
        report = {"passed": True}
    except SystemExit as leaving:  # unittest ends with SystemExit
        report = {"passed": True} if leaving.code in (None, 0, False) else {"failed": "wrong_answer"}
    except ProgramEnded:
        report = {"failed": "ended"}
    except (AssertionError, NotPlainData):
        report = {"failed": "wrong_answer"}
    except BaseException:
        report = {"failed": "runtime_error"}
    # The test's code may have ignored an error that counts against the program.
    if "passed" in report and remote.lost:
        report = {"failed": "ended"}
    if "passed" in report and (not remote.calls or remote.failed or not all(r.wasSuccessful() for r in results)):
        report = {"failed": "wrong_answer"}
    write_all(REPORT_FD, json.dumps(report).encode())
    return 0


def _unittest_results() -> list[Any]:
    """Returns a list that collects each result of unittest, because the test's code may ignore the results."""
    import unittest

    results: list[Any] = []
    begin = unittest.TestResult.__init__

    def watched(result: Any, *args: Any, **kwargs: Any) -> None:
        begin(result, *args, **kwargs)
        results.append(result)

    unittest.TestResult.__init__ = watched  # type: ignore[assignment, method-assign]
    return results


def _run(request: dict[str, Any], remote: ProgramConnection) -> None:
    entry, test = request.get("entry_point") or "", request["test"]
    root = re.split(r"\W", entry)[0]  # LeetCode's own tests have an entry point Solution().method
    code = compile(test, "test.py", "exec", dont_inherit=True)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    names = main.__dict__
    names.update(prelude_names, __builtins__=builtins)
    for name in request["subjects"]:
        names.pop(name, None)
    own = request["names"]
    if own is None:  # the test was too long for the analysis
        own = [name for name in _names_used(code) if not (name in names or hasattr(builtins, name))]
    wanted = [*own, *request["subjects"], *([root] if root else [])]
    remote.main, remote.classes = names, request["classes"]
    names.update(remote.bring(wanted, shows_output="stdout" in test, gives_input="stdin" in test or "input" in test))
    of_program = names.get(root)
    exec(code, names)
    if remote.calls:
        return
    # A HumanEval test defines `check`, and the harness must call it.
    if isinstance(names.get("check"), types.FunctionType) and entry:
        if of_program is None:
            raise NameError(root)
        names["check"](eval(entry, {**names, root: of_program}))
    else:
        _run_collected(list(names.items()))


def _names_used(code: types.CodeType) -> set[str]:
    nested = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names_used, nested))


def _run_collected(names: list[tuple[str, Any]]) -> None:
    """Run the tests that unittest or pytest would collect: test cases, and functions test_... without parameters."""
    unittest = sys.modules.get("unittest")
    for name, value in names:
        if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(unittest.TestResult())
        elif name.startswith("test_") and isinstance(value, types.FunctionType) and not value.__code__.co_argcount:
            value()


class ProgramConnection:
    """The test's end of the channel. Threads of the test use it one at a time.

    `calls` counts calls of the program's functions, `epoch` all requests that may change its objects. `lost` and
    `failed` count against the program, even if the test's code ignores them.
    """

    def __init__(self, sees_changes: bool) -> None:
        self.calls = 0
        self.epoch = 0
        self.main: dict[str, Any] = {}  # the test's names
        self.classes: list[str] = []  # classes of the test that the program may use by name
        self.lost = self.failed = False
        self._sees_changes = sees_changes
        self._turn = threading.RLock()
        self._proxies = ProxyFactory(self)
        self._own: list[Any] = []  # objects of the test that the program got
        self._stdout, self._input = sys.stdout, builtins.input

    def bring(self, names: list[str], shows_output: bool, gives_input: bool) -> dict[str, Any]:
        """Returns the given names that the program defines, with their values."""
        streams = {"shows_output": shows_output, "gives_input": gives_input}
        answer = self._exchange({"op": "names", "names": names, "classes": self.classes, **streams})
        found, own_classes = answer.get("names"), answer.get("classes")
        if type(own_classes) is list and all(type(number) is int for number in own_classes):
            self._proxies.subjects.update(own_classes)  # the test's class has the same name
        if type(found) is not dict or not found.keys() <= set(names):
            raise self._lose()
        brought = {name: self._decode(value) for name, value in found.items()}
        for name, value in brought.items():
            self._proxies.name(name, value)
        return brought

    def ask(self, op: str, **rest: Any) -> Any:
        """Returns the program's answer to one request. An exception of the program is raised as a local exception."""
        with self._turn:
            return self._decode(self._ask({"op": op, **rest}).get("value"))

    def operate(self, op: str, name: str, *operands: Any) -> Any:
        """As `ask`, for a request with several objects, such as an operator of a class of the program."""
        return self.ask(op, name=name, args=self.encode(list(operands)))

    def next(self, number: int, many: int, is_view: bool) -> tuple[list[Any], bool]:
        """Returns up to `many` items of an iterator, and whether it has ended. A view does not change its object."""
        with self._turn:
            self.epoch += not is_view
            answer = self._ask({"op": "next", "object": number, "many": many})
            items = self._decode(answer.get("value"))
        if type(items) is not list or not (items or "ended" in answer) or len(items) > many:
            raise self._lose()
        return items, "ended" in answer

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any], method: str = "") -> Any:
        """Call an object of the program or its method. Changes of the arguments are applied here too."""
        with self._turn:
            self.calls += 1
            self.epoch += 1
            given = [list(args), kwargs]
            message = {"object": number, "method": method, "args": self.encode(given[0]), "kwargs": self.encode(kwargs)}
            answer = self._ask({"op": "call", **message})
            value = self._decode(answer.get("value"))
            if "changed" in answer and (value is None or self._sees_changes):
                _updated(given, self._decode(answer["changed"]))
            return value

    def encode(self, value: Any) -> Any:
        return encode(value, self._refer)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        answer = self._exchange(message)
        if "raised" in answer:
            raise self._proxies.exception(answer["raised"], str(answer.get("message")), answer.get("object"))
        if "value" not in answer:
            raise self._lose()
        return answer

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one message and return its answer. Requests of the program for objects of the test are served before."""
        try:
            send(CANDIDATE_FD, message)
            while True:
                answer = receive(CANDIDATE_FD)
                if "callback" not in answer:
                    break
                send(CANDIDATE_FD, self._called_back(answer["callback"]))
        except ChannelClosed as error:
            raise self._lose() from error
        printed = answer.get("printed")
        if type(printed) is str and sys.stdout is not self._stdout:
            sys.stdout.write(printed)
        return answer

    def _called_back(self, asked: Any) -> dict[str, Any]:
        try:
            if type(asked) is not dict or type(asked.get("test")) is not int or asked["test"] >= len(self._own):
                raise ValueError("not an object of the test")
            if asked.get("do") == "class":
                return {"value": self.encode(self._class(asked.get("name")))}
            if asked["test"] < 0:
                return {"value": self._input_for_program(asked.get("do") == "read")}
            return {"value": self.encode(self._used(self._own[asked["test"]], asked))}
        except AssertionError as error:
            self.failed = True
            return {"raised": "AssertionError", "message": str(error)}
        except Exception as error:
            return {"raised": type(error).__name__, "message": str(error)}

    def _class(self, name: Any) -> Any:
        if name not in self.classes or name not in self.main:
            raise NameError(f"name {name!r} is not defined")
        return self.main[name]

    def _used(self, target: Any, asked: dict[str, Any]) -> Any:
        """Use an object of the test as the program requests. The program cannot reach frames, code or modules."""
        do = asked["do"]
        if do == "call":
            args, kwargs = self._decode(asked["args"]), self._decode(asked["kwargs"])
            return target(*args, **kwargs)
        if do in ("attribute", "set"):
            name = asked["name"]
            if not _is_open(target, name):
                raise AttributeError(f"{type(target).__name__!r} object has no attribute {name!r}")
            return getattr(target, name) if do == "attribute" else setattr(target, name, self._decode(asked["value"]))
        if do == "next":
            return list(itertools.islice(target, 1))
        if do == "item":
            return target[self._decode(asked["key"])]
        return _VIEWS[do](target)

    def _input_for_program(self, whole: bool) -> str:
        if whole:
            return sys.stdin.read() if sys.stdin is not sys.__stdin__ else ""
        if builtins.input is not self._input:
            return str(builtins.input()) + "\n"
        return sys.stdin.readline() if sys.stdin is not sys.__stdin__ else ""

    def _refer(self, value: Any) -> dict[str, Any]:
        if type(value) is Proxy:
            return {"object": value._number}
        number = getattr(value, "_program_number", None)
        if type(number) is int:  # a derived value, or an exception of the program
            return {"object": number}
        place = _global_place(value)
        if place:
            return {"global": place}
        for number, own in enumerate(self._own):
            if own is value:
                return {"test": number}
        self._own.append(value)
        return {"test": len(self._own) - 1}

    def _decode(self, message: Any) -> Any:
        try:
            return decode(message, self._find)
        except Exception as error:
            raise self._lose() from error

    def _find(self, name: str, content: Any) -> Any:
        if name == "test" and type(content) is int and 0 <= content < len(self._own):
            return self._own[content]
        return self._proxies.made(name, content)

    def _lose(self) -> ProgramEnded:
        self.lost = True  # even if the test's code ignores the exception
        return ProgramEnded()


def _global_place(value: Any) -> list[str] | None:
    """Returns where the program can import the same function, class or module; None for an object of the test."""
    if isinstance(value, types.ModuleType):
        return None
    if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return None
    module, name = getattr(value, "__module__", None) or "builtins", getattr(value, "__qualname__", "")
    if module in ("__main__", *_OURS) or "<" in name:
        return None
    try:
        found = operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError):
        return None
    return [module, name] if found is value else None


_VIEWS: dict[str, Callable[[Any], Any]] = {"iterate": iter, "len": len, "bool": bool}
_OURS = (__name__, ProxyFactory.__module__, Proxy.__module__)
_OPEN_STREAMS = {"read", "readline", "readlines", "write", "getvalue", "seek", "tell", "flush", "close"}


def _is_open(target: Any, name: Any) -> bool:
    """Whether the program may use this attribute: of instances of the test's classes, and of streams in memory."""
    kind = type(target)
    if type(name) is not str or name.startswith("_") or isinstance(target, type):
        return False
    return kind.__module__ == "__main__" or (kind.__module__ == "_io" and name in _OPEN_STREAMS)


def _updated(mine: Any, theirs: Any) -> Any:
    """Returns the value of `theirs`. A container of the test with the same type is changed in place."""
    if type(mine) is not type(theirs) or not isinstance(mine, (list, dict, set, bytearray, deque)):
        return theirs
    if isinstance(mine, list):
        mine[:] = [_updated(*both) for both in zip(mine, theirs)] + theirs[len(mine) :]  # noqa: B905 (Python 3.9)
    elif isinstance(mine, dict):
        kept = {key: _updated(mine[key], new) if key in mine else new for key, new in theirs.items()}
        mine.clear()
        mine.update(kept)
    elif isinstance(mine, set):
        mine.clear()
        mine.update(theirs)
    else:
        mine.clear()
        mine.extend(theirs)
    return mine
