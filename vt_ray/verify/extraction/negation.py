"""Detects words around an answer that deny it: "I doubt that the answer is", "... is wrong", "...? No". Pure.

denied_before("I doubt that the answer is ")  -->  True        taken_back("? No, it cannot be.")  -->  True
"""

from __future__ import annotations

import re

_BEFORE_CHARS = 300
_BEHIND_CHARS = 200
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_CLAUSE_END = re.compile(r"[,;:]|\b(?:so|thus|therefore|hence|consequently|then)\b", re.IGNORECASE)
_NO_DENIAL = re.compile(
    r"\b(?:no|without(?: a| any)?|beyond(?: a| any)?) doubts?\b|\bnot only\b"
    r"|(?:\bnot|n['’]t)(?: too| very)? (?:hard|difficult)\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:not|never|nor|neither|nobody|no one|no way|hardly|cannot|doubt\w*|den(?:y|ies|ied)|refuse|reject|disagree"
    r"|unlikely|impossible|false|wrong|incorrect|untrue|mistakes?|tempt\w+|worst|least \w+|if|whether|unless|imagin\w+"
    r"|pretend\w*)\b|n['’]t\b",
    re.IGNORECASE,
)
_SUPPOSITION = re.compile(
    r"\W*(?:now|so|first|but|and|let us|let's|we|they|\W)*\b(?:suppos\w+|assum(?:e|es|ing))\b", re.I
)
_DENIED_VALUE = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot|except|excluding|rather than|instead of|apart from|other than"
    r"|ruled? out|rules out|exclude|discard|reject|(?:any|every|all)\w*(?: \w+)? but)|n['’]t|不是|不为|不等于"
    r"|\\(?:neg|lnot|not))"
    r"(?: (?:be|equal|equals|to|is|the|an?|answer|value|simply|just|necessarily)|[:$*(\s]|\\[(\[])*$",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[\s$*_\"')\]}`]*\?|\W*\b(?:no|nope|sorry|oops|correction)\s*(?:[,.!;:—]|$)", re.IGNORECASE)
_WRONG = (
    r"(?:wrong|incorrect|false|extraneous|inadmissible|rejected|discarded|impossible|mistaken|invalid|absurd|excluded|untrue|nonsense|unlikely"
    r"|too (?:large|small|big|high|low)|a contradiction|not(?=\W*$)"
    r"|not (?:correct|right|true|possible|valid|allowed|it\b|(?:the|an?)(?: \w+)? (?:answer|solution|option)))"
)
_TAKEN_BACK = re.compile(
    r"\W*(?:(?:which|that|this|it|but|and|yet|no|wait|hmm|actually|oops|sorry|the answer|option|choice)\b\W*){0,5}"
    rf"(?:(?:is|was|are|seems|looks|must be|would be|has to be)(?: (?:clearly|obviously|also|just|simply))* {_WRONG}"
    r"|(?<=\()(?:wrong|incorrect|false|rejected|excluded|extraneous|invalid)\)"
    r"|(?:isn['’]t|wasn['’]t) (?:correct|right|true|possible|valid|it\b|the(?: \w+)? (?:answer|option))"
    r"|(?:cannot|can['’]t|can not|couldn['’]t|could not) be(?: (?:correct|right|true|it|so|the answer))?"
    r"(?=\s*(?:[.,;!?]|$))"
    r"|(?:leads|would lead) to a contradiction|(?:then )?we (?:get|have|reach) a contradiction"
    r"|(?:does not|doesn['’]t|fails to) (?:work|hold|fit))",
    re.IGNORECASE,
)
_CORRECTION = re.compile(r"\b(?:no|wait|actually|instead|correction|sorry|oops|but)\b", re.IGNORECASE)
_THEN_CONTRADICTION = re.compile(r"\W*(?:then|this|that|which|but)\b[^.!?\n]{0,60}\bcontradict", re.IGNORECASE)


def denied_before(text: str) -> bool:
    """Whether the last sentence of `text` denies or only supposes the answer that follows.

    `text` ends before words like "the answer is". A "not" or an "if" counts only in the last clause: "Since x is not 0,
    the answer is 5" denies nothing.
    """
    sentence = _NO_DENIAL.sub(" ", _last_part(text[-_BEFORE_CHARS:], _SENTENCE_END))
    return _SUPPOSITION.match(sentence) is not None or _DENIAL.search(_last_part(sentence, _CLAUSE_END)) is not None


def denied_value(text: str) -> bool:
    """Whether `text` ends with a "not" that belongs to the value after it: "x is not equal to"."""
    return _DENIED_VALUE.search(_NO_DENIAL.sub(" ", text[-_BEFORE_CHARS:])) is not None


def taken_back(text: str) -> bool:
    """Whether `text`, which follows an answer, questions the answer or calls it wrong."""
    text = text[:_BEHIND_CHARS]
    return any(pattern.match(text) for pattern in (_QUESTION, _TAKEN_BACK, _THEN_CONTRADICTION))


def corrects(text: str) -> bool:
    """Whether `text`, which follows an answer, announces another answer: "Wait, ...", "No, ..."."""
    return _CORRECTION.search(text) is not None


def _last_part(text: str, end: re.Pattern[str]) -> str:
    ends = [match.end() for match in end.finditer(text)]
    return text[ends[-1] :] if ends else text
