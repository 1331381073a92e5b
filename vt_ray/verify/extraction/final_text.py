"""The graded part of a completion: the text after the model's thinking.

"<think>maybe 7</think> The answer is 8."  -->  " The answer is 8."
"""

from __future__ import annotations

from vt_ray.records import Problem

_OPENING, _CLOSING = "<think>", "</think>"


def final_text(completion: str) -> str | None:
    """Returns the text after the last `</think>`, the whole text if it has no tag, None if a `<think>` is not closed.

    A chat template may end in `<think>`, so that the completion holds only the closing tag. A completion whose thinking
    does not end has no answer (arXiv 2511.06221 grades the text after the thinking).
    """
    opened, closed = completion.rfind(_OPENING), completion.rfind(_CLOSING)
    if opened > closed:
        return None
    return completion if closed < 0 else completion[closed + len(_CLOSING) :]


def whole_response(problem: Problem, completion: str) -> str:
    """Returns the response with the `<think>` that stands at the end of its prompt, if it stands there.

    Without it, a completion that ends before `</think>` would be graded by a box inside its reasoning.
    """
    return _OPENING + completion if problem.reasoning_open else completion
