r"""The final answer of a completion, as LaTeX.

    text --final_text--> text after the thinking --final_boxes | answer_sentence--> "\\frac12"

Pure, and linear in the text; it never evaluates the text of a model.
"""

from __future__ import annotations

import re

from vt_ray.verify.extraction.answer_sentence import answer_sentence
from vt_ray.verify.extraction.box_context import PARAGRAPH, REACH, value_in_context
from vt_ray.verify.extraction.boxes import Box, final_boxes, text_near_last_box
from vt_ray.verify.extraction.final_text import final_text
from vt_ray.verify.extraction.negation import corrects
from vt_ray.verify.mathematics.latex_text import without_spaces

_LABEL = re.compile(
    r"^(?P<opened>\\text[a-z]*\s*\{)?\s*(?:(?:the|my|final|correct)\s+)*(?:answer|ans\.?)(?:\s+is\b)?"
    r"\s*[:=]?\s*(?P<closed>\})?[:=]?\s*(?=[^\s}])",
    re.IGNORECASE,
)
_MARKS = re.compile(r"\\[$!,;: ]|\$")  # dollar signs and thin spaces: \$16,\!386 is 16,386
_VALUE = re.compile(r"[-+−]?\s*(?:[\d.(\[{|]|\\(?!text)|[A-Za-z](?![A-Za-z]))")
_JOINT_BEGIN = re.compile(r"\b(?:or|and|maybe|perhaps|possibly|alternatively)\b|[,;:=/|(\n]|\s%|\\\\|\\lor|\\text")


def extract_answer(completion: str) -> str | None:
    r"""Returns the answer in the last box, else in the last sentence "the answer is ...", else None.

    A sign or unit next to a box is part of the value (`box_context.py`). Boxes side by side form one answer, a list
    (`boxes.py`): a completion with the boxes 41 and 42 does not answer 42. If a sentence after the last box names
    another value, a word of correction decides: with one ("Wait, the answer is 8") the later value counts, without one
    the two values contradict each other and there is no answer.
    """
    text = final_text(completion)
    if text is None:
        return None
    boxes = final_boxes(near := text_near_last_box(text))
    if boxes is None:
        return answer_sentence(text)
    boxed = _boxed_answer(near, boxes) if boxes else None
    behind = near[boxes[-1].end :] if boxes else ""
    said = answer_sentence(behind)
    if boxed and said and _VALUE.match(said) and not _says_again(boxed, boxes[-1].content, said):
        return said if corrects(behind) else None
    return boxed


def _says_again(boxed: str, content: str, said: str) -> bool:
    r"""Whether a sentence repeats the answer, with or without the unit behind its box: "\boxed{5} dollars"."""
    value = content if boxed.startswith(content) else boxed
    boxed, value, said = (without_spaces(_MARKS.sub("", text)) for text in (boxed, value, said))
    return boxed in said or value in said


def _boxed_answer(text: str, boxes: list[Box]) -> str | None:
    """Returns the boxes with the parts of the text that belong to them, as one answer; None if a box is denied."""
    named = len(boxes) > 1 and all(box.name and box.joint == "," for box in boxes)
    answer = ""
    for box in boxes:
        before = text[max(0, box.start - PARAGRAPH) : box.start]
        if box.previous_end is not None:  # a comma: the text before it is not part of this value
            between = text[box.previous_end : box.start].replace("/", ",")
            before = f"{text[max(0, box.start - PARAGRAPH) : box.previous_end]},{between}"
        behind = text[box.end : box.end + REACH]
        if box.next_start is not None:
            behind = _JOINT_BEGIN.split(text[box.end : box.next_start], maxsplit=1)[0]
        value = value_in_context(before, _LABEL.sub(_opening, box.content), behind)
        if value is None:
            return None
        answer += (f" {box.joint} " if answer else "") + (f"{box.name}={value}" if named else value)
    return answer.replace(" , ", ", ")


def _opening(label: re.Match[str]) -> str:
    r"""Returns the `\text{` of a label that does not close it, as in "\text{Answer: 5}"."""
    return label["opened"] if label["opened"] and not label["closed"] else ""
