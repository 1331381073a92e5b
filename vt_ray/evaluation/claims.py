r"""Claim-level reliability at test time (CLR, arXiv 2606.16140): a vote whose weights follow from checked claims.

trace --claims_prompt--> M claims --check_prompt--> a verdict each --reliability--> r = (share of true claims)^M
classes of the answers, r --voting.majority_score--> score

The paper takes K = 32 traces and M = 5 claims, and the mean of 8 runs. It does not publish its prompts: these are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from vt_ray.verify.extraction.final_text import final_text

CLAIMS = 5
# The end of a trace holds its conclusions. The beginning is left out if the trace is longer, in characters.
TRACE_CHARS = 24_000
_CLAIM = re.compile(
    r"^\s*(?:[-*]\s*)?(?:\*\*)?(?:claim\s*)?(\d{1,2})(?:\*\*)?\s*[.):]\s*(?:\*\*)?\s*(.*\S)", re.I | re.M
)
_VERDICT = re.compile(r"\b(not\s+(?:\w+\s+)?)?(true|false|correct|incorrect|right|wrong|yes|no)\b", re.IGNORECASE)
_BOX = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*(\w+)")
_YES = ("true", "correct", "right", "yes")


@dataclass(frozen=True, slots=True)
class Reply:
    """One generated text, with the `<think>` that its prompt ended in, if any, and its number of tokens."""

    text: str
    tokens: int


# One reply for each prompt, in order.
Generate = Callable[[Sequence[str]], Sequence[Reply]]


@dataclass(frozen=True, slots=True)
class Reliability:
    """The weight of each trace in [0, 1], in order, and the tokens that the claims and their checks took."""

    weights: tuple[float, ...]
    tokens: int


def claim_weights(
    problems: Sequence[tuple[str, Sequence[str]]], generate: Generate, claims: int = CLAIMS
) -> list[Reliability]:
    """Returns r of each trace of each (question, traces). `generate` is called twice: for all claims, and all checks.

    A claim that the trace does not state, and a check without a verdict, count as false. Raises ValueError if `claims`
    is below 1, or if `generate` returns another number of replies than prompts.
    """
    if claims < 1:
        raise ValueError(f"claims={claims} must be at least 1")
    asked = [(question, trace) for question, traces in problems for trace in traces]
    listed = _replies(generate, [claims_prompt(question, trace, claims) for question, trace in asked])
    found = [parsed_claims(reply.text, claims) for reply in listed]
    prompts = [
        check_prompt(question, claim)
        for (question, _), of_trace in zip(asked, found, strict=True)
        for claim in of_trace
    ]
    checks = iter(_replies(generate, prompts))
    checked = [[next(checks) for _ in of_trace] for of_trace in found]
    weights = [reliability([parsed_check(reply.text) is True for reply in replies], claims) for replies in checked]
    tokens = [reply.tokens + sum(c.tokens for c in own) for reply, own in zip(listed, checked, strict=True)]
    ends = list(accumulate(len(traces) for _, traces in problems))
    return [
        Reliability(tuple(weights[end - len(traces) : end]), sum(tokens[end - len(traces) : end]))
        for end, (_, traces) in zip(ends, problems, strict=True)
    ]


def reliability(verdicts: Sequence[bool], claims: int = CLAIMS) -> float:
    """r = (true claims / M)^M, with M = `claims`: one false claim of five leaves 0.33, two leave 0.08."""
    return (sum(verdicts) / claims) ** claims


def reply_tokens(max_new_tokens: int) -> int:
    """The longest list of claims, and the longest check of a claim, if a sample has at most `max_new_tokens`: half of
    it, so that the end of a sample fits into the request."""
    return max(1, max_new_tokens // 2)


def claims_prompt(question: str, trace: str, claims: int = CLAIMS) -> str:
    """The request for the claims that the answer of a trace depends on."""
    cut = trace if len(trace) <= TRACE_CHARS else f"[...] {trace[-TRACE_CHARS:]}"
    return (
        f"Problem:\n{question}\n\nA solution:\n{cut}\n\n"
        f"List the {claims} claims of this solution on which its final answer depends most. Each claim must be a "
        "complete statement that can be checked without the solution. Write one claim on each line, numbered 1 to "
        f"{claims}, and nothing else."
    )


def check_prompt(question: str, claim: str) -> str:
    """The request for a verdict on one claim. The checker sees neither the solution nor the other claims."""
    return (
        f"Problem:\n{question}\n\nClaim about this problem:\n{claim}\n\n"
        "Is the claim true? Check it step by step, then write \\boxed{true} or \\boxed{false}."
    )


def parsed_claims(text: str, claims: int = CLAIMS) -> list[str]:
    """The numbered claims 1 to `claims` of a reply, without its thinking; fewer if it has fewer."""
    by_number: dict[int, str] = {}
    for match in _CLAIM.finditer(final_text(text) or ""):
        by_number[int(match[1])] = match[2]
    return [by_number[number] for number in range(1, claims + 1) if number in by_number]


def parsed_check(text: str) -> bool | None:
    """The verdict in the last box of a reply, else its last word of judgement; None without one."""
    answer = final_text(text) or ""
    boxes = _BOX.findall(answer)
    found = list(_VERDICT.finditer(boxes[-1] if boxes else answer))
    return (found[-1][2].lower() in _YES) is not bool(found[-1][1]) if found else None


def _replies(generate: Generate, prompts: Sequence[str]) -> Sequence[Reply]:
    replies = generate(prompts) if prompts else []
    if len(replies) != len(prompts):
        raise ValueError(f"{len(replies)} replies for {len(prompts)} prompts: generate must return one for each")
    return replies
