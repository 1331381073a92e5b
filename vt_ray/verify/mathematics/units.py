r"""Units of an answer: "10 \text{ cm}^2", "\$5", "30^\circ", "60\%", "12 ways", "\frac{3}{4} cup", "5 m/s". Pure.

text --split_unit--> (value, normalised unit) | None without a unit of `unit_lists`
"""

from __future__ import annotations

import re
from collections import Counter

from vt_ray.verify.mathematics.exact_numbers import exact_number
from vt_ray.verify.mathematics.latex_text import split_outside_brackets, without_spaces
from vt_ray.verify.mathematics.unit_lists import (
    ABBREVIATIONS,
    ADJECTIVES,
    BARE,
    CLOSING,
    FACTORS,
    MEASURED,
    NEUTRAL,
    PHRASES,
    SINGLE_LETTERS,
    UNIT_NAMES,
    counted_noun,
)

_MAX_UNIT_CHARS = 80
_MARKS = (  # after a value, without \text
    (re.compile(r"\s*(?:\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|(?<=\d)\^\{o\}|\\deg(?:ree)?s?(?![A-Za-z]))\s*$"), "°"),
    (re.compile(r"\s*\\%\s*$"), "%"),
)
_SUM = re.compile(r"(?<=[\w)}%])\s*(?:[+-]|\\pm|\\mp)|(?<=\\circ)\s*(?:[+-]|\\pm|\\mp)")
_TEMPERATURE = re.compile(
    r"^(.*\S)\s*\^\s*\\circ\s*(?:\\(?:text|mathrm)\s*\{)?\s*(C|F|[Cc]elsius|[Ff]ahrenheit)\s*\}?$", re.DOTALL
)
_TEXT_GROUP = re.compile(r"\\(?:text|mathrm)\s*\{")
_TEXT_TAIL = re.compile(
    r"(?:\\(?:text|mathrm)\s*\{(?:[^{}\\]|\^\{-?\d\})*\}|\s*\^\s*(?:-?\d|\{\s*-?\d\s*\})|\s*/\s*|\s*\\cdot(?![A-Za-z])\s*|\s+)+"
)
_BARE_TAIL = re.compile(
    r"(?:(?<=[\d)}])|(?<=\\pi))(?P<space> ?)(?P<unit>[A-Za-z¢][A-Za-z .'-]*(?:[A-Za-z /.'-]|\^\{?-?\d\}?)*)$"
)
_ORDINAL = re.compile(r"(\d+)\s*(?:\^\s*)?\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(?:st|nd|rd|th)\s*\}{0,2}")
_MONEY = re.compile(
    r"^(?P<sign>-?)\s*(?:\\text\{\s*)?"
    r"(?P<currency>(?:US ?)?\\?\$|\\textdollar(?![A-Za-z])|USD(?![A-Za-z])|€|\\euro(?![A-Za-z])|EUR(?![A-Za-z])"
    r"|£|\\pounds(?![A-Za-z])|GBP(?![A-Za-z])|¥|₹|Rs\.?(?![A-Za-z]))"
    r"\s*\}?\s*(?=[-\d.\\])(?P<value>.*)$",
    re.DOTALL,
)
_MONEY_BEHIND = re.compile(r"^(.*\d)\s*(\\?\$|€|£|¥|₹)$", re.DOTALL)
_CURRENCIES = {"€": "€", r"\euro": "€", "EUR": "€", "£": "£", r"\pounds": "£", "GBP": "£", "¥": "¥", "₹": "₹"}
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # the degrees belong to their argument
_DIMENSIONS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWERS = {"squared": 2, "cubed": 3}
_TOKEN = re.compile(r"([^\s^]+)(?:\^(-?\d))?")


def split_unit(text: str) -> tuple[str, str] | None:
    """Returns (value, normalised unit), None without a unit. A factor such as "million" is multiplied into the value.

    The unit is "°" for degrees, "%" for percent, the sign of a currency, and "" for a factor without a unit.
    """
    if (money := _MONEY.match(text)) is not None:
        return _money(money["sign"] + money["value"], money["currency"])
    if (money := _MONEY_BEHIND.match(text)) is not None:
        return _money(money[1], money[2])
    if (temperature := _TEMPERATURE.match(text)) is not None:
        return temperature[1], "°" + temperature[2][0].upper()
    for mark, unit in _MARKS:
        if (match := mark.search(text)) is not None and not (unit == "°" and _FUNCTION.search(text)):
            value = _without_mark(text[: match.start()], mark)
            return None if not value else (value, unit)
    if (ordinal := _ORDINAL.fullmatch(text)) is not None:
        return ordinal[1], "th"
    return _words_behind(text)


def _money(value: str, currency: str) -> tuple[str, str] | None:
    """Returns the value with its currency. The words after it can be a factor or the currency again."""
    sign = _CURRENCIES.get(currency, "₹" if currency.startswith("Rs") else "$")
    value, unit = _words_behind(value) or (value, "")
    return (value.strip(), sign) if unit in ("", sign) else None


def _without_mark(value: str, mark: re.Pattern[str]) -> str | None:
    r"""Returns the value before a mark; None if the mark belongs to one term: 32x+80^\circ is not (32x+80)^\circ."""
    if mark.search(value):  # 5\%\%
        return None
    terms, signs = split_outside_brackets(value, _SUM)
    if not signs:
        return value.strip()
    if not all(mark.search(term) for term in terms[:-1] if term):
        return None
    pieces = [mark.sub("", term) for term in terms]
    return pieces[0] + "".join(sign + piece for sign, piece in zip(signs, pieces[1:], strict=True))


def _words_behind(text: str) -> tuple[str, str] | None:
    group = _TEXT_GROUP.search(text)
    if group is not None and group.start() > 0:
        value, tail = text[: group.start()].strip(), text[group.start() :]
        if len(tail) > _MAX_UNIT_CHARS or not _TEXT_TAIL.fullmatch(tail):
            return None
        words = _TEXT_GROUP.sub(" ", tail).replace(r"\cdot", " ")
        return _scaled(value, words, bare=False)
    bare = _BARE_TAIL.search(text, max(0, len(text) - _MAX_UNIT_CHARS))
    if bare is None:
        return None
    value = text[: bare.start()].strip()
    if len(bare["unit"]) == 1 or "/" in bare["unit"] or "^" in bare["unit"]:  # 5 m is five metres, 5m may be a product
        single = re.search(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", bare["unit"])
        if single and not (bare["space"] and value.replace(".", "").isdigit()):
            return None
    if not bare["space"] and not _physical(re.split(r"[ /]", bare["unit"].strip(" .")), bare=True):
        return None  # 5cm, but not 5cap
    return _scaled(value, bare["unit"], bare=True)


def _scaled(value: str, words: str, bare: bool) -> tuple[str, str] | None:
    """Returns the value times the factors at the beginning of `words`, and the unit after them."""
    words = re.sub(r"[{}~]", "", words).strip(" .")
    if words.startswith("(") and words.endswith(")"):
        words = words[1:-1].strip()
    factor = 1
    first, _, rest = words.partition(" ")
    while first in FACTORS:
        factor *= FACTORS[first]
        words = rest
        first, _, rest = words.partition(" ")
    unit = _unit(words, bare) if words else ""
    if unit is None or (factor == 1 and not words):
        return None
    if factor == 1:
        return value, unit
    number = exact_number(without_spaces(value))
    return (f"({value}) \\cdot {factor}" if number is None else str(number * factor)), unit


def _unit(words: str, bare: bool) -> str | None:
    """Returns `cm^2` for "square centimeters", `mi h^-1` for "miles per hour"; None if the words are not a unit."""
    numerator, *denominators = re.split(r"\s*/\s*|(?:^|\s+)per\s+", words)
    exponents: Counter[str] = Counter()
    for position, side in enumerate([numerator, *denominators]):
        side = re.sub(r"[\s.]+", " ", side).strip()
        factors = [] if denominators and not position and not side else _side(side, bare and not denominators)
        if factors is None:
            return None
        for unit, exponent in factors:
            exponents[unit] += -exponent if position else exponent
    exponents.pop("1", None)
    return " ".join(unit if n == 1 else f"{unit}^{n}" for unit, n in sorted(exponents.items()) if n) or "1"


def _side(words: str, bare: bool) -> list[tuple[str, int]] | None:
    """Returns the units with exponents on one side of a fraction of units; None if a word is unknown."""
    if words.lower() in PHRASES:
        return [(PHRASES[words.lower()], 1)]
    words = re.sub(r"\s+in (?:total|all)$", " total", words)
    measured, _, substance = words.partition(" of ")
    if substance and all(_qualifies(name) for name in substance.lower().split()):
        words = measured  # 3 cups of flour
    names = words.split()
    kept = [name for name in names if name.lower() not in NEUTRAL]
    if not kept:
        return [("1", 1)] if CLOSING & {name.lower() for name in names} else None
    if len(kept) > 1 and kept[0].lower() in _DIMENSIONS:
        return _raised(kept[1:], _DIMENSIONS[kept[0].lower()], bare)
    if len(kept) > 1 and kept[-1].lower() in _POWERS:
        return _raised(kept[:-1], _POWERS[kept[-1].lower()], bare)
    if len(kept) > 1 and kept[-1].lower() in MEASURED:  # 6 feet tall
        kept = kept[:-1]
    return _physical(kept, bare) or _counted(kept)


def _raised(names: list[str], power: int, bare: bool) -> list[tuple[str, int]] | None:
    factors = _physical(names, bare)
    return [(unit, exponent * power) for unit, exponent in factors] if factors else None


def _physical(names: list[str], bare: bool) -> list[tuple[str, int]] | None:
    """Returns each name as a unit of measurement with its exponent; None if a name is not a unit."""
    factors: list[tuple[str, int]] = []
    for name in names:
        match = _TOKEN.fullmatch(name)
        unit = _spelling(match[1], bare) if match else None
        if match is None or unit is None:
            return None
        for part in unit.split():
            base, _, exponent = part.partition("^")
            factors.append((base, int(exponent or 1) * int(match[2] or 1)))
    return factors


def _spelling(name: str, bare: bool) -> str | None:
    if name in ABBREVIATIONS and (not bare or name in BARE or name in SINGLE_LETTERS):
        return ABBREVIATIONS[name]
    lower = name.lower()
    return UNIT_NAMES.get(lower) if len(lower) > 2 or not bare else None


def _counted(names: list[str]) -> list[tuple[str, int]] | None:
    """Returns "red apples" for ["Red", "apple"]; a unit may precede it: "dollar bills", "cups of flour"."""
    lower = [name.lower() for name in names]
    noun = counted_noun(lower[-1])
    if noun is None or not all(_qualifies(name) for name in lower[:-1]):
        return None
    return [(" ".join([*lower[:-1], noun]).replace(" ", "_"), 1)]


def _qualifies(name: str) -> bool:
    return name in ADJECTIVES or name in UNIT_NAMES or counted_noun(name) is not None
