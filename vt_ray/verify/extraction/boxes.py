r"""The boxes of a completion that form its answer. Pure, and linear in the text.

    "... \boxed{7}. So $x=\boxed{1}$ or $x=\boxed{2}$"  --final_boxes-->  [Box("1", name "x"), Box("2", name "x")]

The last box counts, together with the boxes that "or", "and", a comma, a slash or a list joins to it.
A box that only quotes the instruction ("within \boxed{}") does not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vt_ray.verify.extraction.negation import denied_before, denied_value, taken_back
from vt_ray.verify.mathematics.latex_text import matching_braces, without_outer_braces

MAX_BOXES = 64
_WINDOW = 20_000  # characters read before and after the last box; an answer is never longer

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BARE_BOX = re.compile(r"[^\s${}\\]+")
_QUOTED_CONTENT = re.compile(
    r"(?:\\text[a-z]*\s*\{)?[\s.…]*(?:(?:your|the|my|final|correct)\s+)*(?:answer|result|letter|\\?[ld]?dots)?(?:\s+here)?[\s.…}]*",
    re.I,
)
_QUOTED_BEFORE = re.compile(
    r"\b(?:in|within|inside|into|using|with|as|by|via|format|notation|the|a)[\s:`'\"“$({\[*]*$", re.IGNORECASE
)

_JOINT_CHARS = 80
_MARKUP = re.compile(r"\\(?:text[a-z]*|mathrm|mbox)\s*\{([^{}]*)\}|\\(?:quad|qquad|[,;:! ()\[\]\\])|[$~]|</?\w+ ?/?>")
_ASSIGNMENT = re.compile(r"(?<![A-Za-z\\])(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'*\s*=(?=\s*$)")
_LIST_MARK = re.compile(r"(?m)^\s*(?:[-*+•]|\(?(?:\d{1,2}|[a-hivx]{1,3})[.)])\s+(?=.*\Z)")
_SIGNS = ("=", ":", r"\approx", r"\simeq", "≈")
_PART = re.compile(
    r"\b(?:part|case|question|answer|option|solution|root)\b\s*\(?(?:\d|[a-h]|[ivx]{1,3})\)?\s*[.:]"
    r"|\b(?:part|case|question)\s+\(?(?:\d|[a-h]|[ivx]{1,3})\)?(?!\w)|(?<!\w)\((?:\d|[a-h]|[ivx]{1,3})\)",
    re.IGNORECASE,
)
_NTH = re.compile(r"\b(?:first|second|third|last|other) (?:part|case|question|answer|solution|root|value)\s*[.:]", re.I)
# The text between two rows of a table, with the label of the second row.
_NEXT_ROW = re.compile(r"\|\s*\n\s*\|(?:(?!final|total|answer)[^|\n]){0,20}\|", re.IGNORECASE)
# Two values in one sentence for two cases or two unknowns: "41 for odd n and 42 for even n".
_TWO_VALUES = re.compile(r"\b(?:and|while|whereas|when|if|for|min\w*|max\w*|respectively)\b", re.IGNORECASE)
_DERIVED = re.compile(
    r"[.!?](?:\s|$)|\n\s*\n|\b(?:gives?|get|gets|yields?|obtain\w*|add\w*|subtract\w*|multipl\w*|divid\w*|simplif\w*"
    r"|round\w*|total\w*|final\w*|result\w*|steps?|hence|check|sum|follows|implies|conclude|answer|know|have|find)\b",
    re.IGNORECASE,
)
# "Width: 27, length: 28" or "width 27, length 28"
_NEXT_LABEL = re.compile(
    r"[.\s]*\n\s*(?:[A-Za-z]+ ){0,2}[A-Za-z]+\d{0,2}\s*[:=]\s*|\s*[,;]\s*(?:and\s+)?[A-Za-z]{3,}\s*[:=]?\s*"
)
# "Ann gets 27 and Bob gets 28"
_NEXT_SUBJECT = re.compile(
    r"\W*(?:and |while )?(?!(?:We|This|That|It|I|They|Which|Now)\b)[A-Z][a-z]+ (?:gets|has|pays|earns|needs)\s*"
)
_ALSO = re.compile(r"\bbut (?:so is|also)\b", re.IGNORECASE)
_JOINT = re.compile(
    r"(?:[\s,;.&*/|%()+•–—-]|\\(?:lor|vee|land|wedge|cup|to|[lc]?dots)(?![A-Za-z])"
    r"|\b(?:and|or|either|else|maybe|perhaps|possibly|alternatively|otherwise|also|both|as|well|plus|vs|versus|even|to|through)\b)*",
    re.IGNORECASE,
)
_OFFER = re.compile(r"\b(?:or|maybe|perhaps|possibly|alternatively|either)\b|\b(?:could|might|may) (?:also|be)\b", re.I)
_RETRACTION = re.compile(
    r"\b(?:no|not|wait|actually|instead|correct\w*|so|therefore|thus|hence|then|wrong|check|after|finally|oops|sorry|but)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![A-Za-z\\])((?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'*)\s*=\s*$")
_REACH = 60
_SENTENCE_CHARS = 300
_ANSWER_IS = re.compile(
    r"\b(?:answer|option|choice|result|value)s?(?: is| are| be| was| were| would be|:)?[\s:=*_(\[]*$", re.IGNORECASE
)


@dataclass(frozen=True)
class Box:
    """The position of a box in the text, and its content.

    `name` is the x of `x = \\boxed{5}`. If another box is joined to this one, `previous_end` is the end of the box
    before, `next_start` the start of the box after, and `joint` is "=", ":" or ",".
    """

    start: int
    end: int
    content: str
    name: str = ""
    previous_end: int | None = None
    next_start: int | None = None
    joint: str = ","


def text_near_last_box(text: str) -> str:
    """Returns the part of the text in which boxes are searched, so that time and memory are bounded."""
    last = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    return text[max(0, last - _WINDOW) : last + _WINDOW] if last >= 0 else ""


def final_boxes(text: str) -> list[Box] | None:
    r"""Returns the boxes of the answer, in order; [] if the last box is not an answer; None if there is no box.

    The outermost of nested boxes counts. `\boxed 5` and `\fbox{5}` are boxes. If the last box never closes or is empty,
    there is no answer, even if other boxes precede it: the completion was cut off while it answered.
    """
    boxes, open_start = _outermost_boxes(text)
    if not boxes and open_start is None:
        return None
    if open_start is not None and not _is_quoted(text, open_start, ""):
        return []
    boxes = [box for box in boxes if not _is_quoted(text, box.start, box.content)]
    if not boxes:
        return None
    final = _joined(text, boxes)
    before = _MARKUP.sub(_plain, text[max(0, final[0].start - _SENTENCE_CHARS) : final[0].start])
    behind = _MARKUP.sub(_plain, text[final[-1].end : final[-1].end + _SENTENCE_CHARS])
    named = _ANSWER_IS.search(before)
    denied = (
        denied_value(before) or (named is not None and denied_before(before[: named.start()])) or taken_back(behind)
    )
    if denied or len(final) > MAX_BOXES or not all(box.content for box in final):
        return []
    return final


def _outermost_boxes(text: str) -> tuple[list[Box], int | None]:
    """Returns the closed boxes outside other boxes, in order, and the start of the last box if it never closes."""
    pairs = matching_braces(text)
    boxes: list[Box] = []
    open_start: int | None = None
    for match in _BOX.finditer(text):
        start, opening = match.start(), match.end()
        if boxes and start < boxes[-1].end:
            continue
        open_start = None
        if opening in pairs:
            content = without_outer_braces(_BOX.sub("", text[opening + 1 : pairs[opening]]).strip())
            boxes.append(Box(start, pairs[opening] + 1, content))
        elif (bare := _BARE_BOX.match(text, opening)) is not None:
            boxes.append(Box(start, bare.end(), bare[0].rstrip(".,;")))
        else:
            open_start = start
    return boxes, open_start


def _is_quoted(text: str, start: int, content: str) -> bool:
    """Whether a box repeats the instruction: "within \\boxed{}", "\\boxed{your answer}"."""
    if len(content) > _REACH or not _QUOTED_CONTENT.fullmatch(content):
        return False
    return (
        any(char.isalpha() for char in content)
        or _QUOTED_BEFORE.search(text[max(0, start - _REACH) : start]) is not None
    )


def _joined(text: str, boxes: list[Box]) -> list[Box]:
    """Returns the last box and the boxes joined to it. Boxes with the same content count once."""
    final = [_named(text, boxes[-1])]
    for box in reversed(boxes[:-1]):
        joint = _joint(text[box.end : final[0].start][: _JOINT_CHARS + 1])
        if joint is None or len(final) > MAX_BOXES:
            break
        final[0] = replace(final[0], joint=joint, previous_end=box.end)
        final.insert(0, replace(_named(text, box), next_start=final[0].start))
    named = all(box.name for box in final)
    once = {(box.content, box.name if named else ""): box for box in reversed(final)}
    return list(reversed(once.values())) if len(once) > 1 else final[-1:]


def _named(text: str, box: Box) -> Box:
    name = _NAME.search(text[max(0, box.start - _REACH) : box.start])
    return replace(box, name=name[1] if name else "")


def _joint(between: str) -> str | None:
    """Returns how the text between two boxes joins them: "=", ":" or "," (a list); None if it does not."""
    if len(between) > _JOINT_CHARS:
        return None
    plain = _MARKUP.sub(_plain, between)
    if (sign := plain.strip()) in _SIGNS:
        return sign
    bare = _LIST_MARK.sub("", _ASSIGNMENT.sub("", _NTH.sub("", _PART.sub("", _NEXT_ROW.sub(" ", plain)))))
    if _JOINT.fullmatch(bare) and bare.strip() not in ("+", "-", "*"):
        return ","
    if _ALSO.search(plain) or _NEXT_SUBJECT.fullmatch(plain):
        return ","
    if _RETRACTION.search(plain):
        return None
    two_values = _TWO_VALUES.search(plain) or _NEXT_LABEL.fullmatch(plain.replace("**", ""))
    return "," if _OFFER.search(plain) or (two_values and not _DERIVED.search(plain)) else None


def _plain(markup: re.Match[str]) -> str:
    return f" {markup[1] or ''} "
