r"""Words and units in answers: "Tuesday", "five", "no solution", "10 \text{ cm}^2", "\$5". Pure."""

from __future__ import annotations

import re

_TEXT = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{([^{}]*)\}")
_LETTERS = re.compile(r"[A-Za-z][A-Za-z .'-]*")
_NUMBER_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty"""
_NUMBER_WORDS = _NUMBER_NAMES.split()

# name in a box -> the unit's one spelling
_UNIT_NAMES = {
    "millimeter": "mm", "millimetre": "mm", "centimeter": "cm", "centimetre": "cm", "meter": "m",
    "metre": "m",
    "kilometer": "km", "kilometre": "km", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft",
    "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "pound": "lb", "ounce": "oz", "second": "s", "sec": "s",
    "minute": "min",
    "hour": "h", "hr": "h", "liter": "L", "litre": "L", "milliliter": "mL", "millilitre": "mL", "dollar": "$",
    "euro": "€", "cent": "cent", "unit": "", "square unit": "", "sq unit": "", "cubic unit": "",
    "radian": "", "rad": "",
    "degree": "°",
}  # fmt: skip
_SHORT_UNITS = "mm cm km mi ft in yd kg mg lb oz ml mL min hr sec mph kmh Hz kHz Pa kPa kJ kW MW GB MB"
_PLAIN_UNITS = frozenset(_SHORT_UNITS.split()) | {
    name + plural for name in _UNIT_NAMES for plural in ("", "s") if len(name) > 2
}
# Words behind a number that change it, or take it back: no unit.
_CHANGING_WORDS = """not no never or and nor but is isn't if when than mod modulo base factorial squared cubed
hundred thousand million billion trillion dozen score half halves third thirds quarter quarters tenth tenths
hundredth hundredths percent times plus minus over under less more about approximately wrong incorrect false
except k bn"""
_NOT_UNITS = frozenset(_CHANGING_WORDS.split())
_POWER = r"(?:\s*\^\s*\{?\s*(-?\d)\s*\}?)?"
_TEXT_UNIT = re.compile(rf"^(.*[^\s])\s*\\(?:text|mathrm)\s*\{{([^{{}}\d]+?)(?:\^(\d))?\}}{_POWER}$", re.DOTALL)
_PLAIN_UNIT = re.compile(rf"^(.*[\d)}}])(\s*)([A-Za-z]+){_POWER}$", re.DOTALL)
_UNIT_WORDS = re.compile(r"[A-Za-z][A-Za-z /'-]{0,29}")
_MONEY = re.compile(r"^(-?)\s*(?:\\\$|\$|(€)|(£)|\\text\{\s*\\?\$\s*\})\s*(?=[\d.\\])(.*)$", re.DOTALL)
_SINGLE_LETTER_UNITS = "mghsLVAWJNKC"


def plain_words(text: str) -> str | None:
    r"""What is said in words: in one case, without brackets, a number word as digits. None for a formula.

    Words are \text{...} with anything around it that is no unit of a number, and bare letters: three or more,
    or capitals (AB is the segment or the product, and not BA). Two small letters are left to the algebra: xy
    = yx.
    """
    bare = _TEXT.sub(r"\1", text)
    has_text = bare != text
    if has_text and _is_value(split_unit(text)[0], text):
        return None
    spoken = re.sub(r"\s+", " ", bare).strip(" .,;!\"'`").strip()
    spoken = spoken[1:-1].strip() if spoken[:1] == "(" and spoken[-1:] == ")" else spoken
    if not has_text and not (
        _LETTERS.fullmatch(spoken) and (len(spoken) > 2 or (len(spoken) == 2 and spoken.isupper()))
    ):
        return None
    if spoken.lower() in _NUMBER_WORDS:
        return str(_NUMBER_WORDS.index(spoken.lower()))
    # "AB" and "ab" may be different things, "Tuesday" and "tuesday" are not
    return spoken if spoken.isupper() or len(spoken) == 1 else spoken.lower()


def _is_value(head: str, text: str) -> bool:
    return head != text and r"\text" not in head and r"\mathrm" not in head


def split_unit(text: str) -> tuple[str, str]:
    """(value, unit in one spelling), or (text, "") if there is none. Degrees are "°", money its sign."""
    if (money := _MONEY.match(text)) is not None:
        return money[1] + money[4], money[2] or money[3] or "$"
    if text.endswith(r"^\circ") or text.endswith(r"^\circ "):
        return text.rstrip()[: -len(r"^\circ")].strip(), "°"
    if (match := _TEXT_UNIT.match(text)) is not None and (unit := _unit(match[2], match[4] or match[3])) is not None:
        value = match[1].strip()
        if value.endswith(r"^\circ"):  # degrees of temperature
            return value[: -len(r"^\circ")].strip(), "°" + unit
        return value, unit
    if (match := _PLAIN_UNIT.match(text)) is not None and _is_plain_unit(match):
        return match[1], _unit(match[3], match[4]) or ""
    return text, ""


def _is_plain_unit(match: re.Match[str]) -> bool:
    if len(match[3]) == 1:  # 5 m is five metres, 5m may be a product
        return bool(match[2]) and match[3] in _SINGLE_LETTER_UNITS and match[1].replace(".", "").isdigit()
    return match[3] in _PLAIN_UNITS or match[3].lower() in _PLAIN_UNITS


def _unit(name: str, power: str | None) -> str | None:
    """`cm^2` of ("square centimeters", None); None where the words are no unit."""
    words = re.sub(r"[\s.~]+", " ", name).strip()
    if not _UNIT_WORDS.fullmatch(words) or _NOT_UNITS & set(words.lower().split()):
        return None
    for prefix, implied in (("square ", "2"), ("sq ", "2"), ("cubic ", "3")):
        if words.lower().startswith(prefix):
            words, power = words[len(prefix) :], implied
    singular = words.lower().rstrip("s") if len(words) > 3 else words  # mW is not MW
    unit = _UNIT_NAMES.get(words.lower(), _UNIT_NAMES.get(singular, singular))
    return (f"{unit}^{power}" if power else unit) or "1"
