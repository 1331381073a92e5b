"""The part of a completion that is graded: the text behind the model's thoughts.

"<think>maybe 7</think> The answer is 8."  -->  " The answer is 8."
"""

from __future__ import annotations

_OPENING, _CLOSING = "<think>", "</think>"


def final_text(completion: str) -> str | None:
    """The text behind the last `</think>`; the whole text where there is no tag; None while a `<think>` is open.

    A chat template may end in `<think>`, so that the completion holds the closing tag alone. A completion whose
    thoughts never end has no answer (arXiv 2511.06221 grades what follows the thoughts).
    """
    opened, closed = completion.rfind(_OPENING), completion.rfind(_CLOSING)
    if opened > closed:
        return None
    return completion if closed < 0 else completion[closed + len(_CLOSING) :]
