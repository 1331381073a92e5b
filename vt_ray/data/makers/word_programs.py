"""Programs that read a word and change it: one, two or three changes in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from random import Random

from vt_ray.data.makers.family import Family, Task, code_task, stdio_tests

_LETTERS = "abcdeilmnorst"
_COMPOSED_PER_LEVEL = 2500
_TIGHT, _PRODUCT, _SUM = range(3)


@dataclass(frozen=True, slots=True)
class _Change:
    """One kind of change: in words, as an expression with @, and as a statement on the list `c` of letters.

    `{}` is the place of the argument; `binding` is the precedence of the expression.
    """

    words: str
    expression: str
    letters: str
    binding: int
    apply: Callable[[str, str], str]


_CHANGES = {
    "reverse": _Change("reverse it", "@[::-1]", "c.reverse()", _TIGHT, lambda s, _: s[::-1]),
    "repeat": _Change("repeat it {} times", "@*{}", "c = c*{}", _PRODUCT, lambda s, n: s * int(n)),
    "first": _Change("keep the first {} letters", "@[:{}]", "c = c[:{}]", _TIGHT, lambda s, n: s[: int(n)]),
    "last": _Change("keep the last {} letters", "@[-{}:]", "c = c[-{}:]", _TIGHT, lambda s, n: s[-int(n) :]),
    "drop": _Change("drop the first {} letters", "@[{}:]", "del c[:{}]", _TIGHT, lambda s, n: s[int(n) :]),
    "cut": _Change("drop the last {} letters", "@[:-{}]", "del c[-{}:]", _TIGHT, lambda s, n: s[: -int(n)]),
    "swap": _Change(
        "replace {0[0]} with {0[1]}",
        "@.replace('{0[0]}','{0[1]}')",
        "c = ['{0[1]}' if x=='{0[0]}' else x for x in c]",
        _TIGHT,
        lambda s, pair: s.replace(*pair),
    ),
    "delete": _Change(
        "delete every {}",
        "@.replace('{}','')",
        "c = [x for x in c if x!='{}']",
        _TIGHT,
        lambda s, a: s.replace(a, ""),
    ),
    "append": _Change("append {}", "@+'{}'", "c.append('{}')", _SUM, lambda s, a: s + a),
    "front": _Change("put {} in front", "'{}'+@", "c.insert(0,'{}')", _SUM, lambda s, a: a + s),
}


def _arguments() -> dict[str, list[str]]:
    """Returns the possible arguments of each kind of change."""
    counts = {
        "repeat": range(2, 6),
        "first": range(2, 6),
        "last": range(2, 6),
        "drop": range(2, 5),
        "cut": range(2, 5),
    }
    arguments = {"reverse": [""], **{kind: [str(n) for n in values] for kind, values in counts.items()}}
    arguments |= {kind: list(_LETTERS) for kind in ("delete", "append", "front")}
    arguments["swap"] = [f"{a}{b}" for a, b in permutations(_LETTERS, 2)]
    return arguments


def _word_program(dice: Random, *tokens: str) -> Task:
    """A program for the changes in `tokens`, each a kind and its argument: `reverse-`, `repeat-3`, `swap-ae`."""
    changes = [(_CHANGES[kind], argument) for kind, _, argument in (token.partition("-") for token in tokens)]
    words = ", then ".join(change.words.format(argument) for change, argument in changes)
    question = dice.choice((f"Read a word, {words}, print it.", f"Given a word, {words}. Print it."))
    stages = [f"s = {change.expression.format(argument).replace('@', 's')}" for change, argument in changes]
    plan = ", then ".join(token.partition("-")[0] for token in tokens)
    steps = (plan, "\n".join(["s = input()", *stages, "print(s)"]))
    inputs = _inputs(dice, [argument for _, argument in changes])
    on_letters = [change.letters.format(argument) for change, argument in changes]
    looped = "\n".join(["c = list(input())", *on_letters, "print(''.join(c))"])
    checked = (" > ".join(_run(inputs[0], changes)), looped)
    tests = stdio_tests((word, _run(word, changes)[-1]) for word in inputs)
    return code_task(question, tests, f"print({_nested(changes)})", steps, checked)


def _nested(changes: list[tuple[_Change, str]]) -> str:
    """Returns all changes as one expression of `input()`."""
    text, binding = "input()", _TIGHT
    for change, argument in changes:
        # An expression with lower precedence than a call needs brackets before a slice, a method or a product.
        inner = f"({text})" if binding > _TIGHT and change.binding < _SUM else text
        text, binding = change.expression.format(argument).replace("@", inner), change.binding
    return text


def _run(word: str, changes: list[tuple[_Change, str]]) -> list[str]:
    """Returns the word, and the result of each change."""
    words = [word]
    for change, argument in changes:
        words.append(change.apply(words[-1], argument))
    return words


def _inputs(dice: Random, arguments: list[str]) -> list[str]:
    """Returns a word with all letters of the arguments, one letter, a repeated letter, and two random words."""
    named = [letter for argument in arguments for letter in argument if letter.isalpha()]
    mixed = named + dice.choices(_LETTERS, k=max(2, 6 - len(named)))
    dice.shuffle(mixed)
    draw = ["".join(dice.choices(_LETTERS + "uy", k=size)) for size in (5, 9)]
    return ["".join(mixed), dice.choice(_LETTERS), (named or ["o"])[0] * 3, *draw]


def _one_change() -> Iterator[tuple[str, ...]]:
    for kind, arguments in _arguments().items():
        yield from ((f"{kind}-{argument}",) for argument in arguments)


def _composed(size: int) -> Callable[[], Iterator[tuple[str, ...]]]:
    """Returns a stock of `size` different changes in a row whose result depends on the word."""

    def draw() -> Iterator[tuple[str, ...]]:
        arguments, dice = _arguments(), Random(f"words/{size}")
        for _ in range(_COMPOSED_PER_LEVEL):
            kinds = dice.sample(list(arguments), size)
            chosen = [(kind, dice.choice(arguments[kind])) for kind in kinds]
            changes = [(_CHANGES[kind], argument) for kind, argument in chosen]
            if _run("bcdeil", changes)[-1] != _run("mnorst", changes)[-1]:
                yield tuple(f"{kind}-{argument}" for kind, argument in chosen)

    return draw


FAMILIES = (
    Family("word", 1, _one_change, _word_program),
    Family("word", 2, _composed(2), _word_program),
    Family("word", 3, _composed(3), _word_program),
)
