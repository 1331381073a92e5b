r"""Random math answers from pieces of LaTeX and from changed gold answers: no error, no `unverified`, nothing slow.

Time is the CPU time of this process, since the wall clock also counts what other processes of the machine do.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.limits import Limits
from vt_ray.verify.mathematics.equality import ExactOnly, Undecided, same_answer
from vt_ray.verify.mathematics.latex_text import normalise
from vt_ray.verify.verifier import Verifier

PAIRS = Path(__file__).parents[1] / "data" / "verify" / "math_pairs.jsonl"
ROWS = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
GOLDS = sorted({row["gold"] for row in ROWS if row["class"] != "bombs"})
IN_PROCESS_S = 2.0
IN_PROCESS_CHARS = 400  # longer pairs of gold and answer go to the child process, which has a deadline
CHILD_S = 1.0
MAX_PEAK_BYTES = 64 << 20

PIECES = r"""\text{ | \mathrm{ | \text{ apples} | } | { | ( | ) | [ | ] | \{ | \} | , | ; | 1 | 1,000 | 12 | 0.5
1e5 | x | a | T | \ | \\ | ^ | _ | ^{ | \circ | ^\circ | \% | % | $ | \$ | $$ | \( | \) | \frac | \frac{1}{2} | 1/2
\sqrt | \sqrt[ | \pi | \infty | \cup | \cap | \pm | \mp | = | < | > | \le | \ne | \in | \approx | and | or | cm
m/s | per | million | square | \cdot | \times | \begin{pmatrix} | \end{pmatrix} | \begin{cases} | \end{cases}
& | \left | \right | \left. | | ! | !! | ' | " | ... | … | . | : | - | + | * | ** | / | \boxed{ | \boxed
\choose | \over | \pmod | mod | base | _2 | _{8} | the answer is | so | not | x= | f(x)= | \quad | \, | ~
\overline{ | \bar{ | \hat{ | sqrt( | \binom{5}{2} | \log | \sin | \int | \sum_{k=1}^{n} | \lim | \operatorname{
\displaystyle | ° | º | ² | ³² | √ | ∛ | ½ | − | × | π | ∞ | ≤ | ∈ | ， | five | twenty-one | no solution
5\text{ cm} | ABC | \angle"""
PIECE = st.sampled_from(
    [piece for line in PIECES.splitlines() for piece in line.split(" | ")] + ["|", " ", "\n", "\n\n"]
)
LATEX = st.lists(PIECE, max_size=25).map("".join)
GOLD = st.sampled_from(GOLDS)


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, str]:
    """A gold answer, and the same with up to four changes: a part left out, doubled, or replaced by a piece."""
    gold = draw(GOLD)
    text = gold
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 6)))
        text = text[:start] + draw(st.sampled_from(["", 2 * text[start:end]]) | PIECE) + text[end:]
    return gold, text


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits(math_timeout_s=CHILD_S)) as one:
        yield one


@pytest.fixture(scope="module")
def readable(verifier):
    """Whether a gold answer can be compared with a number; cached."""
    known: dict[str, bool] = {}

    def ask(gold: str) -> bool:
        if gold not in known:
            known[gold] = verdict(verifier, gold, "7919/7907").status != "unverified"
        return known[gold]

    return ask


def verdict(verifier: Verifier, gold: str, answer: str):
    return verifier.verify(Problem("q", "math", "math", "?", answer=gold), f"So it is $\\boxed{{{answer}}}$.")


@settings(max_examples=400, deadline=None)
@given(st.one_of(changed(), st.tuples(GOLD, LATEX), st.tuples(LATEX, LATEX)))
def test_reading_in_this_process_never_raises_and_is_never_slow(pair):
    gold, answer = (text[: IN_PROCESS_CHARS // 2] for text in pair)
    begin = time.process_time()
    for text in (answer, f"\\boxed{{{answer}}}", f"The answer is {answer}. So.", f"$\\boxed{{{answer}}}$ {answer}"):
        extract_answer(text)
    with suppress(Undecided):
        same_answer(gold, answer, ExactOnly())
    assert time.process_time() - begin < IN_PROCESS_S


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECE, min_size=1, max_size=3).map("".join), st.sampled_from(["", "}", "1", "x!"]))
def test_a_piece_repeated_at_length_takes_neither_time_nor_memory(piece, tail):
    tracemalloc.start()
    begin = time.process_time()
    try:
        for opening in ("", "\\boxed{", "The answer is "):
            extract_answer(opening + piece * (20_000 // len(piece)) + tail)
        normalise(piece * (4_000 // len(piece)) + tail)
        assert time.process_time() - begin < IN_PROCESS_S
        assert tracemalloc.get_traced_memory()[1] < MAX_PEAK_BYTES
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@example(("4", r"(\%"))
@example((r"0.\overline{12}", r"(0.\overline{12}"))
@given(st.one_of(changed(), st.tuples(GOLD, LATEX)))
def test_no_answer_to_a_readable_gold_is_unverified_or_late(verifier, readable, pair):
    gold, answer = pair
    graded = verdict(verifier, gold, answer)
    assert graded.status in ("correct", "wrong") or not readable(gold), (gold, answer, graded)
    assert graded.seconds < 20 * CHILD_S  # the child's own deadline, its replacement, and a busy machine
