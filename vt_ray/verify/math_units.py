r"""Units of an answer: "10 \text{ cm}^2", "\$5", "30^\circ", "12 ways". Pure."""

from __future__ import annotations

import re

from vt_ray.verify.math_words import NUMBER_WORDS

# name in a box -> the unit's one spelling
_UNIT_NAMES = {
    "millimeter": "mm", "millimetre": "mm", "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m",
    "kilometer": "km", "kilometre": "km", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "pound": "lb", "lbs": "lb", "ounce": "oz", "second": "s",
    "sec": "s", "secs": "s", "minute": "min", "mins": "min", "hour": "h", "hr": "h", "hrs": "h", "liter": "L",
    "litre": "L", "milliliter": "mL", "millilitre": "mL", "dollar": "$", "euro": "€", "cent": "cent",
    "unit": "", "square unit": "", "sq unit": "", "cubic unit": "", "radian": "rad", "rad": "rad", "degree": "°",
    "meters per second": "m/s", "metres per second": "m/s", "miles per hour": "mph", "mi/h": "mph",
    "kilometers per hour": "km/h", "kilometres per hour": "km/h", "kph": "km/h", "kmh": "km/h",
}  # fmt: skip
_SHORT_UNITS = "mm cm km mi ft in yd kg mg lb lbs oz ml mL min hr hrs sec mph kmh Hz kHz Pa kPa kJ kW MW GB MB"
_PLAIN_UNITS = frozenset(_SHORT_UNITS.split()) | {
    name + plural for name in _UNIT_NAMES for plural in ("", "s") if len(name) > 2
}
_SINGLE_LETTER_UNITS = "mghsLVAWJNC"
# Words behind a number that change it, doubt it or take it back: no unit.
_CHANGING_WORDS = """not no never or and nor but is isn't if when unless until than mod modulo base factorial squared
cubed hundred hundreds thousand thousands million millions billion billions trillion trillions dozen dozens score
half halves third thirds quarter quarters percent plus minus point choose over under above below less more least most
about approximately around roughly between to from negative remainder wrong incorrect false maybe perhaps possibly
probably unsure undefined basis except mil mn bn lakh crore sin cos tan cot sec csc log ln exp sqrt pi infinity alpha
beta theta phi lambda x y z n k i e"""
_ORDINAL_STEMS = """four fif six seven eigh nin ten eleven twelf thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twentie thirtie fortie fiftie sixtie seventie eightie ninetie hundred thousand million billion trillion"""
_NOT_UNITS = (
    frozenset(_CHANGING_WORDS.split())
    | frozenset(NUMBER_WORDS)
    | {stem + ending for stem in _ORDINAL_STEMS.split() for ending in ("th", "ths")}
)
_POWER = r"(?:\s*\^\s*\{?\s*(-?\d)\s*\}?)?"
_TEXT_UNIT = re.compile(rf"^(.*[^\s])\s*\\(?:text|mathrm)\s*\{{([^{{}}\d]+?)(?:\^\{{?(\d)\}}?)?\}}{_POWER}$", re.DOTALL)
_PLAIN_UNIT = re.compile(rf"^(.*[\d)}}])(\s*)([A-Za-z]+){_POWER}$", re.DOTALL)
_PLAIN_NOUNS = re.compile(r"^([^A-Za-z]*\d)\s((?:[a-z]{2,} )*[a-z]{3,})$", re.DOTALL)  # 10 red apples
_ORDINAL = re.compile(r"(\d+)\s*(?:\^\s*)?\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(?:st|nd|rd|th)\s*\}{0,2}")
_UNIT_WORDS = re.compile(r"[A-Za-z][A-Za-z /'-]{0,29}")
_MONEY = re.compile(r"^(-?)\s*(?:\\\$|\$|(€)|(£)|\\text\{\s*\\?\$\s*\})\s*(?=[-\d.\\])(.*)$", re.DOTALL)
_DEGREES = r"^\circ"
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # of an angle: the degrees are its own


def split_unit(text: str) -> tuple[str, str]:
    """(value, unit in one spelling), or (text, "") if there is none. Degrees are "°", money its sign."""
    if (money := _MONEY.match(text)) is not None:
        value, sign = money[1] + money[4], money[2] or money[3] or "$"
        return (value, sign) if split_unit(value)[1] in ("", sign) else (text, "")
    if text.rstrip().endswith(_DEGREES) and not _FUNCTION.search(text):
        return text.rstrip()[: -len(_DEGREES)].strip(), "°"
    if (match := _ORDINAL.fullmatch(text)) is not None:
        return match[1], "th"
    if (match := _TEXT_UNIT.match(text)) is not None and (unit := _unit(match[2], match[4] or match[3])) is not None:
        value = match[1].strip()
        if value.endswith(_DEGREES):  # degrees of temperature
            return value[: -len(_DEGREES)].strip(), "°" + unit
        return value, unit
    if (match := _PLAIN_UNIT.match(text)) is not None and _is_plain_unit(match):
        return match[1], _unit(match[3], match[4]) or ""
    if (match := _PLAIN_NOUNS.match(text)) is not None and (unit := _unit(match[2], None)) is not None:
        return match[1], unit
    return text, ""


def _is_plain_unit(match: re.Match[str]) -> bool:
    if len(match[3]) == 1:  # 5 m is five metres, 5m may be a product
        return bool(match[2]) and match[3] in _SINGLE_LETTER_UNITS and match[1].replace(".", "").isdigit()
    return match[3] in _PLAIN_UNITS or match[3].lower() in _PLAIN_UNITS


def _unit(name: str, power: str | None) -> str | None:
    """`cm^2` of ("square centimeters", None); None where the words are no unit."""
    words = re.sub(r"[\s.~]+", " ", name).strip()
    if not _UNIT_WORDS.fullmatch(words) or (len(words) == 1 and words not in _SINGLE_LETTER_UNITS):
        return None
    if words.lower() not in _PLAIN_UNITS and _NOT_UNITS & set(words.lower().split()):
        return None
    for prefix, implied in (("square ", "2"), ("sq ", "2"), ("cubic ", "3")):
        if words.lower().startswith(prefix):
            words, power = words[len(prefix) :], implied
    singular = words.lower().rstrip("s") if len(words) > 3 else words  # mW is not MW
    unit = _UNIT_NAMES.get(words.lower(), _UNIT_NAMES.get(singular, singular))
    return (f"{unit}^{power}" if power and unit else unit) or "1"
