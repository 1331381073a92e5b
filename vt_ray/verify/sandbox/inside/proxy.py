"""A proxy for one object of the program, with the operations that the test's code may use.

    Proxy --ProgramConnection.call, .operate, .ask, .next--> candidate's process

An object of the program must not decide a comparison with plain data. Its length, iteration and items are views of one
value and must agree. Its operators count only if the test itself names its class, with a capital letter.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from typing import Any

_SINGLY = 256  # this many items of an iterator are requested one by one: an endless iterator may block
_BATCH = 512


class NotPlainData(BaseException):
    """The test compares an object of the program whose own methods would decide the result."""


class _Views:
    """The program's answers about the contents of one object since `epoch`. All views must agree.

    `items` are the items read so far; if `source` is None, they are all items of the object.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.length: int | None = None
        self.items: list[Any] = []
        self.source: Any = ...  # not requested yet
        self.by_index: dict[int, Any] = {}
        self.attributes: dict[str, Any] = {}
        self.contents: Any = None

    def agree(self) -> None:
        """Raise NotPlainData if length, iteration and items contradict each other."""
        ended = self.source is None
        if ended and self.length is not None and self.length != len(self.items):
            raise NotPlainData
        for place, item in self.by_index.items():
            if place < 0:
                place += len(self.items) if ended else 1 << 62
            if 0 <= place < len(self.items):
                if not _same(item, self.items[place]):
                    raise NotPlainData
            elif ended:
                raise NotPlainData


def _same(left: Any, right: Any) -> bool:
    if type(left) is Proxy or type(right) is Proxy:
        return left is right
    return type(left) is type(right) and (left is right or bool(left == right))


def _asked(name: str) -> Any:
    """Returns the method for the builtin function `name`, allowed if the test names the object's class."""

    def ask(self: Proxy) -> Any:
        if not self._is_subject():
            raise NotPlainData
        return self._remote.operate("operate", name, self)

    return ask


def _operator(name: str, reflected: bool = False) -> Any:
    def ask(self: Proxy, other: Any) -> Any:
        if not (self._is_subject() if type(other) is Proxy else self._made_by_test):
            raise NotPlainData
        operands = (other, self) if reflected else (self, other)
        value = self._remote.operate("operate", name, *operands)
        if type(value) is Proxy and value._is_subject():
            value._made_by_test = True
        return value

    return ask


def _order(name: str) -> Any:
    def ask(self: Proxy, other: Any) -> bool:
        if self._what == "container":
            return bool(getattr(operator, name)(self._contents(), _contents_of(other)))
        if type(other) is Proxy and (self._is_subject() or other._is_subject()):
            return bool(self._remote.operate("operate", name, self, other))
        raise NotPlainData

    return ask


def _contents_of(other: Any) -> Any:
    return other._contents() if type(other) is Proxy and other._what == "container" else other


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul")
_READS = ("count", "index", "copy", "keys", "values", "items", "get", "union", "issubset", "issuperset", "isdisjoint")
_READABLE = ("__name__", "__qualname__", "__annotations__", "__dict__")


class Proxy:
    """An object of the program. The test may call it, iterate over it, and read its attributes and items.

    `_made_by_test` marks an instance that the test created by calling a class that it names, and the results of its
    operators: only for these may an operand of plain data be sent to the program.
    """

    __slots__ = (
        "_proxies",
        "_remote",
        "_number",
        "_class",
        "_what",
        "_made_by_test",
        "_is_view",
        "_views_now",
        "_ahead",
    )

    def __init__(self, proxies: Any, number: int, own_class: int | None, what: str) -> None:
        put = object.__setattr__
        put(self, "_proxies", proxies)
        put(self, "_remote", proxies._remote)
        put(self, "_number", number)
        put(self, "_class", own_class)
        put(self, "_what", what)
        put(self, "_made_by_test", False)
        put(self, "_is_view", False)
        put(self, "_views_now", _Views(-1))
        put(self, "_ahead", None)

    def _is_subject(self) -> bool:
        return self._class in self._proxies.subjects

    def _views(self) -> _Views:
        if self._views_now.epoch != self._remote.epoch:
            object.__setattr__(self, "_views_now", _Views(self._remote.epoch))
        return self._views_now  # type: ignore[no-any-return]

    def _contents(self) -> Any:
        """Returns by value the contents of an instance of a subclass of list, dict or set."""
        views = self._views()
        if views.contents is None:
            views.contents = self._remote.ask("contents", object=self._number)
        return views.contents

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = self._remote.call(self._number, args, kwargs)
        if type(value) is Proxy and self._number in self._proxies.subjects:
            object.__setattr__(value, "_made_by_test", True)
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _READABLE:
            raise AttributeError(name)
        if self._what == "container" and name in _READS and not self._is_subject():
            return getattr(self._contents(), name)
        attributes = self._views().attributes
        if name not in attributes:
            attributes[name] = self._remote.ask("attribute", object=self._number, name=name)
        return attributes[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Proxy.__slots__:
            object.__setattr__(self, name, value)
        else:
            self._remote.call(self._number, (name, value), {}, "__setattr__")

    def __delattr__(self, name: str) -> None:
        self._remote.call(self._number, (name,), {}, "__delattr__")

    __doc__ = property(lambda self: self._remote.ask("attribute", object=self._number, name="__doc__"))  # type: ignore

    # --- contents ---

    def __next__(self) -> Any:
        for item in _rest(self):
            return item
        raise StopIteration

    def __iter__(self) -> Iterator[Any]:
        if self._what == "container":
            return iter(self._contents())
        return _rest(self) if self._what == "iterator" else _items(self)

    def __len__(self) -> int:
        if self._what == "container":
            return len(self._contents())
        views = self._views()
        if views.length is None:
            views.length = self._remote.operate("operate", "len", self)
            if self._what == "sized" and not self._is_subject():
                for _ in itertools.islice(_items(self), views.length + 1):
                    pass
            views.agree()
        return views.length  # type: ignore[return-value]

    def __getitem__(self, key: Any) -> Any:
        if self._what == "container":
            return self._contents()[key]
        if type(key) is slice and not self._made_by_test:
            return list(self)[key]
        if type(key) is not int:
            return self._remote.operate("operate", "getitem", self, key)
        views = self._views()
        if key not in views.by_index:
            views.by_index[key] = self._remote.operate("operate", "getitem", self, key)
            views.agree()
        return views.by_index[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._remote.call(self._number, (key, value), {}, "__setitem__")

    def __delitem__(self, key: Any) -> None:
        self._remote.call(self._number, (key,), {}, "__delitem__")

    def __contains__(self, item: Any) -> bool:
        if self._made_by_test:
            return bool(self._remote.operate("operate", "contains", self, item))
        return any(item is one or item == one for one in self)

    def __reversed__(self) -> Iterator[Any]:
        return reversed(list(self))

    # --- methods by which an object could decide a comparison ---

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other is None:
            return False
        if self._what == "container":
            return bool(self._contents() == _contents_of(other))
        if type(other) is Proxy and (self._is_subject() or other._is_subject()):
            equal, equals_anything = self._remote.operate("equal", "", self, other)
            if equals_anything:
                raise NotPlainData
            return bool(equal)
        raise NotPlainData

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        if self._what == "container":
            return bool(self._contents())
        if not self._is_subject():
            raise NotPlainData
        return bool(self._remote.operate("operate", "bool", self))

    def __hash__(self) -> int:
        return int(self._remote.operate("operate", "hash", self)) if self._is_subject() else object.__hash__(self)

    def __instancecheck__(self, instance: Any) -> bool:
        if type(instance) is not Proxy and not hasattr(instance, "_program_number"):
            return False
        return self._remote.operate("isinstance", "", instance, self) is True

    def __enter__(self) -> Any:
        return self._remote.call(self._number, (), {}, "__enter__")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        """The program may suppress its own exceptions, never exceptions of the test."""
        names = (None if error is None else RuntimeError, None if error is None else str(error), None)
        passed_over = self._remote.call(self._number, names, {}, "__exit__")
        return bool(passed_over) and hasattr(error, "_from_program")

    def __str__(self) -> str:
        return str(self._remote.operate("operate", "str", self))

    def __repr__(self) -> str:
        return str(self._remote.operate("operate", "repr", self))

    def __format__(self, form: str) -> str:
        return str(self._remote.call(self._number, (form,), {}, "__format__"))

    __lt__, __le__, __gt__, __ge__ = map(_order, ("lt", "le", "gt", "ge"))
    __neg__, __pos__, __abs__, __invert__ = map(_asked, ("neg", "pos", "abs", "invert"))
    __int__, __float__, __index__ = map(_asked, ("int", "float", "index"))


def _add_operators() -> None:
    for name in _BINARY:
        function = name + "_" if name in ("and", "or") else name
        setattr(Proxy, f"__{name}__", _operator(function))
        setattr(Proxy, f"__r{name}__", _operator(function, reflected=True))
        setattr(Proxy, f"__i{name}__", _operator("i" + name))


_add_operators()


def _rest(proxy: Proxy) -> Iterator[Any]:
    """Yields the remaining items of an iterator: first one by one, then in batches."""
    if proxy._ahead is None:
        proxy._ahead = _ahead(proxy)
    return proxy._ahead  # type: ignore[no-any-return]


def _ahead(proxy: Proxy) -> Iterator[Any]:
    for number in itertools.count():
        items, ended = proxy._remote.next(proxy._number, 1 if number < _SINGLY else _BATCH, proxy._is_view)
        yield from items
        if ended:
            return


def _items(proxy: Proxy) -> Iterator[Any]:
    """Yields the items of an object that can be iterated again. Known items are not requested again."""
    views = proxy._views()
    place = 0
    while True:
        if place < len(views.items):
            yield views.items[place]
            place += 1
            continue
        if views.source is ...:
            views.source = proxy._remote.ask("iterate", object=proxy._number)
            if type(views.source) is not Proxy:
                raise NotPlainData
            views.source._is_view = views.source._what == "iterator" and views.source is not proxy
        if views.source is None:
            return
        found = list(itertools.islice(views.source, 1))
        views.items += found
        if not found:
            views.source = None
            if proxy._what == "sized" and not proxy._is_subject():
                len(proxy)
        views.agree()
