r"""Multiple choice: the letter that a completion chose. Pure, and linear in the text.

"... so \boxed{\text{(B) } 42}"  -->  "B"         "Option B is correct."  -->  "B"         "A or B"  -->  None
"The answer is mitochondria."  -->  the letter of the option with this text (`option_text.py`)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vt_ray.records import Problem, Verdict
from vt_ray.verify.extraction.boxes import final_boxes, text_near_last_box
from vt_ray.verify.extraction.final_text import final_text
from vt_ray.verify.extraction.negation import corrects, denied_before, taken_back
from vt_ray.verify.grading_result import GradingResult
from vt_ray.verify.limits import Limits
from vt_ray.verify.option_text import option_after, option_with_text

_MAX_CHARS = 500
_TAIL_CHARS = 20_000  # only this much at the end of the text is searched for a sentence with a letter
_REACH = 300
_MAX_OPTION_CHARS = 2_000
_SEVERAL = ""  # the result if a sentence names several letters, or denies its letter

_FULL_WIDTH = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | dict.fromkeys(
    map(ord, "\u200b\u200c\u200d\u2060\ufeff")
)
_MARKUP = (
    (
        re.compile(
            r"\\(?:text[a-z]*|math[a-z]+|bm|boldsymbol|mbox|hbox|emph|underline|bf|rm|it|[lL]arge|left|right|[bB]igg?[lr]?"
            r"|displaystyle)(?![A-Za-z])"
        ),
        "",
    ),
    (re.compile(r"\\(?:[,;:! ()\[\]]|q?quad(?![A-Za-z]))|(?<=\S)~|~(?![A-J])"), " "),
    (re.compile(r"\\(?:to|rightarrow)(?![A-Za-z])"), "→"),
    (re.compile(r"(?<![A-Za-z])['‘]([^'’‘\n]{1,80})['’](?![A-Za-z])"), r"\1"),
    (re.compile(r"[{}$*\\\"`“”]|(?<![A-Za-z])['’‘]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"), ""),
)
_INTRODUCTION = re.compile(
    r"(?:(?:so|therefore|thus|hence)[,\s]+)?(?:the\s+)?(?:(?:final|correct|best|right)\s+)*(?:answer|ans|option|choice|letter)"
    r"\b\.?(?:\s+(?:is|option|choice|letter)\b)*\s*[:=]?\s*(?=[(\[]?\s*[A-Za-z](?![A-Za-z]))",
    re.IGNORECASE,
)
# A letter, alone or before the text of its option: "B", "(B) 42", "B. mitochondria", "B - 42".
_LETTER = re.compile(
    r"(?P<opened>[(\[<])?\s?(?P<letter>[A-Za-z])(?![\w'’′^=+])(?P<closed>\s?[)\]>])?"
    r"(?P<mark>[.:,;]|\s:(?=\s)|\s[–—-](?=\s\S{2})|)(?P<rest>.*)",
    re.DOTALL,
)
# The letter of another option. There are at most ten options, so X and Z in the text of an option are quantities.
_ONE = r"[(\[]?(?!I\s+[a-z])(?!I\s*(?:,|and|or)\s*[IVX])[A-J](?![\w'’])[)\]]?"
_LISTED = re.compile(rf"[\s.,:;)\]/&|([-]*{_ONE}\s*(?:$|[?,/&|)→–-]|or\b|[A-J]\b)")
_LISTED_AND = re.compile(rf"[\s,]*{_ONE}\s*and\b(?!.*\b(?:only|are|is)\b)", re.DOTALL)  # options say "A and C only"
_OR = re.compile(r"[\s.,…(]*[Oo]r\b(?!\s*,?\s*(?:equivalently|in other words))")
_JOINED = re.compile(
    r"[\s.,:;)\](…-]*(?:(?:(?:or|and|no|wait|then|plus|vs|versus|to|through|also|nor|maybe|perhaps|possibly|alternatively|else|even|well"
    rf"|as|otherwise|option|choice)\b\.?|[/&|→>–∨+-]|\.\.)[\s,:(]*)+{_ONE}"
)
_ALSO_POSSIBLE = re.compile(
    rf"\b{_ONE}\s+(?:is|are|could be|may be|might be|would be)\s+(?:also\s+)?(?:possible|correct|right)\b"
    rf"|(?:,|\b(?:and|or))\s*{_ONE},?\s+(?:if|when|for|otherwise)\b"
    rf"|\b(?:else|otherwise|if not),?\s+(?:option\s+)?{_ONE}\s*(?:$|[.,)])"
)
_THEN_ANOTHER = re.compile(rf"\s*,\s*{_ONE}\s*(?:$|[.,\n])")  # "\\boxed{A}, B"
_JOINED_BOTH = re.compile(rf"[\s,]*(?:both|either|neither)\s+{_ONE}")
_JOINT_ALONE = re.compile(r".*\b(?:or|and|vs|versus|plus)\s*$", re.DOTALL)
_LABEL = re.compile(
    r"(?:^|[\s;,|/])\(([A-J])\)(?![-\w])|[;,|/]\s*([A-J])\s*[):](?![-\w])|[\d.]\s+([A-J])[.):](?=\s)"
    r"|\sor\s+(?:\w+\s+){0,2}([A-J])(?=\s*(?:$|[.:)]))"
)
_EXPLANATION = re.compile(
    r"\b(?:because|since|(?<!well )as(?! well)|so|while|whereas|which|not|rather than|instead of|unlike)\b"
)
_SENTENCE_END = re.compile(r"[.!?。](?=\s|$)|\n|</answer>")
_ARTICLE_GOES_ON = re.compile(
    r"[^\S\n]+(?!(?:is|because|since|as|with|by|for|from|based|which|and|or|to|plus|vs|versus|if|instead of"
    r"|rather than)\b)[a-z]"
)

_COPULA = r"(?:\s*[:=\n]|\s+[-–—](?=\s)|\s+(?:is|are|was|must be|should be|will be|would be|has to be|can only be)\b)"
_RELATIVE = r"(?: to (?:the|this) (?:\w+ )?(?:problem|question)| (?:that|which) \w+| (?:I|we) (?:get|obtain|choose))?"
_OTHERS = "".join(rf"(?<!{who} )" for who in ("many", "people", "students", "some", "others", "they", "wrongly"))
_ADVERBS = re.compile(
    r"(?:[\s:=,>-]|\b(?:therefore|thus|clearly|simply|just|indeed|hence|obviously|definitely|certainly|likely|probably|most"
    r"|then|now|the|correct|best|is|option|choice|letter|answer)\b)*",
    re.IGNORECASE,
)
_NAMING = re.compile(
    rf"\b(?:answer|ans|option|choice|letter|response)s?\b\.?{_RELATIVE}{_COPULA}|\bis\s+(?:option|choice)\b"
    rf"|{_OTHERS}\b(?:choose|chose|pick|select|go(?:ing)? with)\b|\bans\.(?=\s)|<answer>"
    r"|(?:答案|应?选|選)(?:是|为|為|择|擇)?[:：]?",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(
    r"(?P<word>\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)\s+)?(?<![\w'’])[(\[]?(?P<letter>[A-Z])[)\]]?"
    r"\s+(?:is|must be|should be)\s+(?:\w+ly\s+|the\s+|therefore\s+|thus\s+|our\s+|my\s+|only\s+)*"
    r"(?P<right>correct|right|best|answer|choice)\b"
)
_BESIDE_ANOTHER = re.compile(
    rf"{_ONE}\s*(?:,|/|&|,?\s*(?:or|and|nor)\b)\s*(?:option\s*)?$|\b(?:[Nn]either|[Bb]oth|[Ee]ither)\b[^.!?\n]{{0,20}}$"
)
_ALONE = re.compile(r"[(\[]?([A-Z])[)\]]?\.?")  # only the letter
_BESIDE_A_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{[^{}]*\}[^A-Za-z\n]{0,20}$")  # "\boxed{A}-\boxed{D}"


class ChoiceGrader:
    """Compares the letter that a completion chose with the gold letter."""

    def __init__(self, limits: Limits) -> None:
        """`limits` is not used: reading a letter takes no child process."""

    def grade(self, problem: Problem, text: str) -> GradingResult:
        return GradingResult(choice_verdict(problem.answer, text, problem.options))

    def close(self) -> None:
        """There is nothing to end."""


def choice_verdict(gold: str, text: str, options: Sequence[str] = ()) -> Verdict:
    """Compares the letter that a completion chose with the gold letter ("B" or "(B)").

    `options` are the texts of the options A, B, ..., if the problem has them.
    """
    gold_letter = _letter(gold)
    if gold_letter is None:
        return Verdict("unverified", f"gold unreadable: {gold[:20]!r} is not the letter of a choice")
    chosen = extract_choice(text, options)
    if chosen is None:
        return Verdict("wrong", "no_answer")
    return Verdict("correct") if chosen == gold_letter else Verdict("wrong", "wrong_answer")


def extract_choice(completion: str, options: Sequence[str] = ()) -> str | None:
    """Returns the capital letter in the last box. Without a box: the text if it is only a letter, else the letter in
    the last sentence that names one, else the letter that is the last line.

    The text of an option counts as its letter. Returns None for two letters. If the last box has no letter, a later
    sentence may name it, an earlier one may not.
    """
    text = final_text(completion)
    if text is None:
        return None
    options = [_plain(option) for option in options]
    boxes = final_boxes(near := text_near_last_box(text))
    if boxes is None:
        if alone := _ALONE.fullmatch(_plain(text[:_REACH]).strip()) if len(text) <= _REACH else None:
            return alone[1]
        named = _letter_in_words(text, options)
        return _letter_in_last_line(text, options) if named is None else named or None
    if not boxes or _BESIDE_A_BOX.search(near[max(0, boxes[0].start - _REACH) : boxes[0].start]):
        return None
    letters = {option_with_text(_plain(box.content), options) or _letter(box.content) for box in boxes}
    boxed = letters.pop() if len(letters) == 1 else None
    behind = near[boxes[-1].end :]
    said = _letter_in_words(behind, options)
    if any(form.match(_plain(behind[:_REACH])) for form in (_JOINED, _THEN_ANOTHER)):
        return None
    if said is None or said == boxed:
        return boxed
    return said or None if boxed is None or corrects(behind) else None


def _plain(text: str) -> str:
    """Removes LaTeX, markdown, quotation marks and invisible characters."""
    text = text.translate(_FULL_WIDTH)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def _letter(answer: str) -> str | None:
    """Returns the letter of a box or a gold answer, alone or before the text of its option; None without a letter."""
    if len(answer) > _MAX_CHARS:
        return None
    text = _plain(answer).strip()
    for _ in range(2):  # "The correct answer is option B"
        text = _INTRODUCTION.sub("", text, count=1)
    match = _LETTER.fullmatch(text)
    if match is None or _names_another(match, match["rest"]):
        return None
    rest = match["rest"]
    if not (match["mark"] or match["closed"]) and rest:
        if not re.match(r"\s+[\w(.-]", rest) or (match["letter"] in "AI" and _ARTICLE_GOES_ON.match(rest)):
            return None
        if match["letter"].islower() and not re.match(r"\s+[\d(]", rest):
            return None
    if re.match(r"\s*\?", match["mark"] + rest) or (re.match(r"\s*[a-z]", rest) and taken_back(rest)):
        return None
    return match["letter"].upper()


def _names_another(match: re.Match[str], rest: str) -> bool:
    """Whether the text after a letter names a second letter, other than in the text of the option."""
    rest = _EXPLANATION.split(rest, maxsplit=1)[0]
    labelled = match["closed"] or match["mark"] in (".", ":")
    if _LISTED.match(rest) or _OR.match(rest) or _JOINED.match(rest) or _JOINT_ALONE.match(rest):
        return True
    if _LISTED_AND.match(rest) or (not labelled and _JOINED_BOTH.match(rest)):
        return True
    others = {letter for label in _LABEL.finditer(rest) for letter in label.groups() if letter}
    return bool(others - {match["letter"].upper()})


def _letter_in_last_line(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter if the last line is only a letter, an option's text, or a letter and its option's text.

    Returns None if the line before it is one too, because the lines are then a list of the options.
    """
    lines = [_plain(line).strip() for line in text[-_TAIL_CHARS:].split("\n") if line.strip()][-2:]
    chosen = [_letter_of_line(line, options) for line in lines]
    if not chosen or (len(chosen) == 2 and chosen[0]) or denied_before(" ".join(lines[:-1])[-_REACH:]):
        return None
    return chosen[-1]


def _letter_of_line(line: str, options: Sequence[str]) -> str | None:
    if alone := _ALONE.fullmatch(line):
        return alone[1]
    if found := option_with_text(line, options):
        return found
    found = option_after(line[:_MAX_OPTION_CHARS], options)
    return found if found and re.match(rf"[(\[]?{found}[)\].:]", line) else None


def _letter_in_words(text: str, options: Sequence[str] = ()) -> str | None:
    """Returns the letter of the last sentence that names one; `_SEVERAL` if it names more or denies it; else None."""
    text = _plain(text[-_TAIL_CHARS:])
    named = [(match.start(), match) for match in (*_NAMING.finditer(text), *_CALLED_RIGHT.finditer(text))]
    called_right: set[str] = set()
    for _, match in sorted(named, key=lambda pair: pair[0], reverse=True):
        found = _named(text, match, options) if match.re is _NAMING else _letter_called_right(text, match)
        if found is None:
            continue
        if match.re is _NAMING or match["word"] or match["right"] in ("answer", "choice"):
            return found
        called_right.add(found)
    return None if not called_right else called_right.pop() if len(called_right) == 1 else _SEVERAL


def _named(text: str, naming: re.Match[str], options: Sequence[str]) -> str | None:
    """Returns the letter after "the answer is", as `_letter_in_words` does."""
    behind = text[naming.end() :][: _REACH + _MAX_OPTION_CHARS]
    behind = behind[_ADVERBS.match(behind).end() :]  # type: ignore[union-attr]  # it matches the empty text too
    denied = denied_before(text[max(0, naming.start() - _REACH) : naming.start()])
    if option := option_after(behind, options):
        return _SEVERAL if denied else option
    match = _LETTER.match(behind[:_REACH])
    if match is None:
        return None
    letter, rest = match["letter"], match["mark"] + match["rest"]
    ended = _SENTENCE_END.search(rest)
    sentence = rest[: ended.start()] if ended else rest
    if letter.islower() and not match["closed"] and sentence.strip():  # "the answer is a number"
        return None
    if letter in "AI" and not match["closed"] and _ARTICLE_GOES_ON.match(rest):
        return None
    several = _OR.match(rest) or _names_another(match, sentence) or _ALSO_POSSIBLE.search(sentence)
    return _SEVERAL if denied or taken_back(rest) or several else letter.upper()


def _letter_called_right(text: str, match: re.Match[str]) -> str:
    before = text[max(0, match.start() - _REACH) : match.start()]
    behind = text[match.end() :][:_REACH]
    sentence = _SENTENCE_END.split(behind, maxsplit=1)[0]
    denied = denied_before(before) or taken_back(behind)
    others = _BESIDE_ANOTHER.search(before) or _ALSO_POSSIBLE.search(sentence)
    return _SEVERAL if denied or others else match["letter"]
