r"""Words in answers: "Tuesday", "five", "no solution", \text{(B)}. Pure."""

from __future__ import annotations

import re

_TEXT = re.compile(r"\\(?:text|mathrm)\s*\{([^{}]*)\}")
# A hyphen joins words, not letters: x-y is a difference.
_LETTERS = re.compile(r"[A-Za-z]+(?:(?:[ .']+|(?<=[A-Za-z]{3})-(?=[A-Za-z]{3}))[A-Za-z]+)*[ .']*")
_WORD = re.compile(r"[A-Za-z]{3}")
# A date or a numbered thing: "October 30", "30 October 2024", "Room 12".
_WORD_OR_NUMBER = r"(?:[A-Za-z]{3,}\.?|\d{1,4}(?:st|nd|rd|th)?)"
_WORDS_AND_NUMBERS = re.compile(rf"(?=.*[A-Za-z]{{3}}){_WORD_OR_NUMBER}(?:[ ,]+{_WORD_OR_NUMBER})+")
_ORDINAL_ENDING = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_ARTICLE = re.compile(r"^(?:an?|the) (?=[a-z]{2})", re.IGNORECASE)
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec"
)
# Phrases with the same meaning, in lower case and without an article, and the phrase that represents them.
_SAYINGS = tuple(
    (re.compile(pattern), saying)
    for pattern, saying in (
        (r"(?:(?:limit|it|this limit) )?(?:does not|doesn't) exist|dne", "does not exist"),
        (
            r"no (?:real )?solutions? exists?|(?:equation|system|inequality|this \w+|it) has no (?:real )?solutions?"
            r"|there (?:does not exist|exists no) (?:a|any)? ?(?:real )?solutions?|none",
            "no solution",
        ),
        (r"not defined", "undefined"),
        (r"(?:there are )?infinitely many solutions", "infinitely many"),
        (rf"(\d{{1,2}}) (?:of )?({_MONTHS})\b", r"\2 \1"),
    )
)
_UNIT_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen"""
_UNITS = _UNIT_NAMES.split()
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
# Phrases that name a set.
NO_SOLUTION = re.compile(r"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)|(?:the )?empty set")
ALL_REALS = re.compile(
    r"(?:x is )?(?:all|any|every) (real|positive|negative|non-?positive|non-?negative)(?: real)?s?(?: numbers?)?"
)
REALS = {
    "real": r"(-\infty,\infty)", "positive": r"(0,\infty)", "negative": r"(-\infty,0)",
    "nonnegative": r"[0,\infty)", "nonpositive": r"(-\infty,0]",
}  # fmt: skip
_SHORT_WORDS = ("no", "on", "up")
_NEGATIVE = ("minus ", "negative ")


def plain_words(text: str) -> str | None:
    r"""Returns words in one case, without brackets, number words as digits. None for a formula.

    Words are \text{...} with any text around it, and bare letters: three or more, or capitals (AB is a segment or a
    product, and differs from BA). Two small letters are left to the algebra: xy = yx.
    """
    bare = _TEXT.sub(r"\1", text)
    has_text = bare != text
    spoken = re.sub(r"\s+|\\space(?![A-Za-z])", " ", bare).strip(" .,;!\"'`").strip()
    spoken = spoken[1:-1].strip() if spoken[:1] == "(" and spoken[-1:] == ")" else spoken
    if not has_text and not (
        (
            _LETTERS.fullmatch(spoken)
            and (_WORD.search(spoken) or spoken in _SHORT_WORDS or (len(spoken) == 2 and spoken.isupper()))
        )
        or _WORDS_AND_NUMBERS.fullmatch(spoken)
    ):
        return None
    number = spoken_number(spoken)
    if number is not None:
        return str(number)
    spoken = _ORDINAL_ENDING.sub("", spoken) if _WORD.search(spoken) else spoken
    # "AB" and "ab" may be different things, "Tuesday" and "tuesday" are not
    if (spoken.isupper() and spoken != "DNE") or len(spoken) == 1:
        return spoken
    said = _ARTICLE.sub("", spoken).lower()
    return next((match.expand(saying) for form, saying in _SAYINGS if (match := form.fullmatch(said))), said)


def case_is_meaningless(text: str) -> bool:
    r"""Whether the text is certainly a word, like "Tuesday" or \text{EAST}, and not letters, like ABC or abc."""
    letters = _TEXT.sub(r"\1", text).strip()
    spoken = letters != text.strip() or not (letters.islower() or letters.isupper())
    return spoken and (
        len(letters) > 3 or (not letters.isupper() and (len(letters) > 2 or letters.lower() in _SHORT_WORDS))
    )


def spoken_number(words: str) -> int | None:
    """Returns 42 for `forty-two`, -5 for `minus five`, 200 for `two hundred`; None for other text."""
    said = words.lower().replace("-", " ")
    for negative in _NEGATIVE:
        if said.startswith(negative):
            positive = spoken_number(said[len(negative) :])
            return None if positive is None else -positive
    parts = said.split()
    if len(parts) == 2 and parts[1] in _LARGE:
        count = 1 if parts[0] == "a" else _below_hundred(parts[:1])
        return None if not count else count * _LARGE[parts[1]]
    if len(parts) > 2 and parts[1] == "hundred":
        hundreds, rest = _below_hundred(parts[:1]), _below_hundred(parts[3:] if parts[2] == "and" else parts[2:])
        return 100 * hundreds + rest if hundreds and rest else None
    return _below_hundred(parts)


def _below_hundred(parts: list[str]) -> int | None:
    if len(parts) == 1 and parts[0] in _UNITS:
        return _UNITS.index(parts[0])
    if parts and parts[0] in _TENS:
        tens = 10 * (_TENS.index(parts[0]) + 2)
        if len(parts) == 1:
            return tens
        if len(parts) == 2 and parts[1] in _UNITS[1:10]:
            return tens + _UNITS.index(parts[1])
    return None
