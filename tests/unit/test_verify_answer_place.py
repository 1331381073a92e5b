"""Which part of a completion is the answer: thoughts, boxes, what stands around them, closing sentences."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.code_answer import extract_program
from vt_ray.verify.final_answer import extract_answer
from vt_ray.verify.final_text import final_text
from vt_ray.verify.verifier import Verifier

LIGHT = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as one:
        yield one


def is_correct(verifier: Verifier, gold: str, text: str) -> bool:
    verdict = verifier.verify(Problem("q", "m", "math", "?", answer=gold), text)
    assert verdict.status != "unverified"
    return verdict.status == "correct"


# --- thoughts ---


@pytest.mark.parametrize(
    ("text", "graded"),
    [
        ("no tags", "no tags"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think></think>", ""),
    ],
)
def test_final_text(text, graded):
    assert final_text(text) == graded


@pytest.mark.parametrize("thoughts", ["<think>\\boxed{7}</think>", "\\boxed{7}</think>"])
def test_thoughts_are_not_graded(verifier, thoughts):
    assert is_correct(verifier, "8", thoughts + " The answer is 8.")
    assert is_correct(verifier, "8", thoughts + " So \\boxed{8}.")
    assert not is_correct(verifier, "7", thoughts + " The answer is 8.")
    assert not is_correct(verifier, "7", thoughts)
    assert not is_correct(verifier, "7", "<think> The answer is 7. \\boxed{7}")


def test_a_program_among_the_thoughts_is_not_run():
    thoughts = "<think>\n```python\nprint(1)\n```\n"
    assert extract_program(thoughts + "</think>\n```python\nprint(2)\n```") == "print(2)\n"
    assert extract_program(thoughts) is None


# --- several boxes ---

JOINTS = [
    " or maybe ",
    " / ",
    " (or ",
    " % ",
    "\n% ",
    r"\ ",
    r"\\ ",
    r" \text{ or possibly } ",
    r" \lor ",
    " or else ",
    ", ",
    "; ",
    " and ",
    "\n\n",
    "$ or $",
    r" \quad ",
    " or, if you count zero, ",
    ", perhaps ",
    " | ",
    " & ",
    "\n2. ",
    ". Alternatively, ",
    ". It might also be ",
]


@pytest.mark.parametrize("joint", JOINTS)
def test_boxes_side_by_side_are_a_list(verifier, joint):
    text = f"It is \\boxed{{41}}{joint}\\boxed{{42}}"
    assert not is_correct(verifier, "42", text)
    assert not is_correct(verifier, "41", text)
    assert is_correct(verifier, "41, 42", text)


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("(1,2)", r"$x=\boxed{1}$, $y=\boxed{2}$"),
        ("1,2", r"$x=\boxed{1}$, $y=\boxed{2}$"),
        ("1,2", r"$x=\boxed{1}$ or $x=\boxed{2}$"),
        ("(1,1)", r"$x=\boxed{1}$ and $y=\boxed{1}$"),
        ("1,2,3", r"The roots are $\boxed{1}$, $\boxed{2}$, and $\boxed{3}$."),
        ("41, 42", "- \\boxed{41}\n- \\boxed{42}"),
        ("3,4", r"Part (a): \boxed{3}. Part (b): \boxed{4}"),
        ("5", r"\boxed{2+3} = \boxed{5}"),
        ("2:3", r"\boxed{2}:\boxed{3}"),
        ("1", r"I think it is \boxed{1}. Yes, the reason why it is \boxed{1} is this."),
        ("12", r"$\boxed{3}\cdot\boxed{4}$"),
        (r"\frac{41}{42}", r"$\frac{\boxed{41}}{\boxed{42}}$"),
        ("2", r"\boxed{1} then \boxed{2}"),
        ("2", r"\boxed{1}. No, it is \boxed{2}"),
    ],
)
def test_several_boxes_that_are_right(verifier, gold, text):
    assert is_correct(verifier, gold, text)


def test_unequal_sides_of_an_equation_of_boxes_are_wrong(verifier):
    assert not is_correct(verifier, "42", r"\boxed{41} = \boxed{42}")


# --- what stands around a box ---


@pytest.mark.parametrize(
    "text",
    [
        r"$-\boxed{5}$",
        r"$x = -\boxed{5}$",
        r"-\boxed{5}",
        r"minus $\boxed{5}$",
        r"$\boxed{5}$ million",
        r"$\boxed{5}\text{ million}$",
        r"\boxed{5} hundred",
        r"\boxed{5}\pi",
        r"$\boxed{5}\,\pi$",
        r"\sqrt{\boxed{5}}",
        r"$\frac{\boxed{5}}{2}$",
        r"$10^{\boxed{5}}$",
        r"$f(\boxed{5})$",
        r"x\ne\boxed{5}",
        r"$x \neq \boxed{5}$",
        r"$x \not= \boxed{5}$",
        r"$x > \boxed{5}$",
        r"$\boxed{5}^2$",
        r"$\boxed{5}.5$",
        r"$\boxed{5}!$",
        r"$2\boxed{5}$",
        r"$\boxed{5} + 3$",
        r"$\boxed{5}\cdot 2$",
        r"$\boxed{5}/2$",
        r"$\boxed{5} \pmod 7$",
        r"\boxed{5},000",
        r"\boxed{5}x",
        r"\boxed{5} or 6",
        r"\boxed{5} or more",
        r"\boxed{5} if $x>0$, else $6$",
        r"\text{not }\boxed{5}",
        r"It is not $\boxed{5}$.",
        r"x is not equal to \boxed{5}",
        r"I doubt that the answer is \boxed{5}.",
        r"\boxed{5} is wrong.",
        r"\boxed{5}? No.",
        r"\boxed{5}. That is incorrect.",
        r"twice \boxed{5}",
        r"more than \boxed{5}",
    ],
)
def test_what_stands_around_the_box_changes_its_value(verifier, text):
    assert not is_correct(verifier, "5", text)


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("-5", r"$-\boxed{5}$"),
        ("-5", r"-\boxed{5}"),
        (r"5\pi", r"$\boxed{5}\pi$"),
        (r"\sqrt5", r"$\sqrt{\boxed{5}}$"),
        (r"\frac52", r"$\frac{\boxed{5}}{2}$"),
        ("5.5", r"$\boxed{5}.5$"),
        ("25", r"$\boxed{5}^2$"),
        (r"25\%", r"\boxed{25}\%"),
        (r"25\%", r"$\boxed{25}$%"),
        ("52_8", r"\boxed{52}_8"),
        ("52_8", r"$\boxed{52}$ in base 8"),
        ("10\\text{ cm}", r"$\boxed{10}$ cm"),
        ("-3", r"$-(\boxed{1+2})$"),
        ("-3", r"$-\boxed{1+2}$"),
        ("5,000", r"\boxed{5},000"),
    ],
)
def test_what_stands_around_the_box_belongs_to_the_answer(verifier, gold, text):
    assert is_correct(verifier, gold, text)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{5}",
        r"**\boxed{5}**",
        r"**Answer:** $\boxed{5}$.",
        r"Final answer - \boxed{5}",
        r"- \boxed{5}",
        r"1. \boxed{5}",
        r"| \boxed{5} |",
        r"<answer>\boxed{5}</answer>",
        r"\text{So the answer is \boxed{5}}",
        r"$\mathbf{\boxed{5}}$",
        r"$(\boxed{5})$",
        r"$$x = \frac{10}{2} = \boxed{5}$$",
        r"\[ \boxed{5}. \]",
        "$$\n\\begin{aligned}\nx &= 3+2 \\\\\n&= \\boxed{5}\n\\end{aligned}\n$$",
        r"$\Rightarrow \boxed{5}$",
        r"$\boxed{5} = 2+3$",
        r"$\boxed{5} \approx 5.0$",
        r"$\boxed{5}$, where $x>0$",
        r"$\boxed{5}\quad\blacksquare$",
        r"The answer is \boxed{5}!",
        r"$a = \boxed{5}$ and we are done.",
        r"$\boxed{5}$ (as required)",
        r"Since $x$ is not zero, $x = \boxed{5}$.",
        r"It is not hard to see that the answer is \boxed{5}.",
        r"\boxed{5}. This is not a multiple of 2.",
        r"\boxed{Answer: 5}",
        r"\boxed{\text{Ans: }5}",
        r"\boxed{\text{Answer: 5}}",
    ],
)
def test_ordinary_surroundings_change_nothing(text):
    assert extract_answer(text) in ("5", r"\text{5}")


# --- boxes that quote the instruction, and the last thing that is said ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The answer is \boxed{42}. As required, the answer is within \boxed{}.", "42"),
        (r"The answer is 42. I put it in \boxed{}.", "42"),
        (r"\boxed{42} (in the form \boxed{answer})", "42"),
        (r"I must write \boxed{\text{your answer}}. So: \boxed{42}", "42"),
        (r"First \boxed{7}, then I conclude \boxed{}", None),
        (r"\boxed{7}. Wait, the answer is 8.", "8"),
        (r"\boxed{7}. The answer is 8.", None),
        (r"\boxed{7}. So the answer is $7$ metres.", "7"),
        (r"\boxed{7}, so the answer is the number of ways.", "7"),
    ],
)
def test_the_last_thing_wins(text, answer):
    assert extract_answer(text) == answer


# --- sentences ---


@pytest.mark.parametrize(
    "text",
    [
        "I doubt that the answer is 5.",
        "I don't think the answer is 5.",
        "It is not true that the answer is 5.",
        "Nobody says that the answer is 5.",
        "Suppose the answer is 5. Then we get a contradiction.",
        "The answer is 5? No",
        "The answer is 5? No, it cannot be.",
        "The answer is $5$. That is wrong.",
        "The answer is $5$ factorial.",
        "The answer is $5$ halves.",
        "The answer is $5$ sixths.",
        "The answer is $5$ or more.",
        "The answer is $5$/$7$.",
        "The answer is $5$ - $7$.",
        "The answer is $5$ if x>0, else $6$",
        "The answer is $5$ less than $100$.",
        "The answer is $5$ trillion.",
        "The answer is $5$ choose $2$.",
        "The answer is $5$^2.",
        "The answer is $5$x.",
        "The answer is $5$k.",
        "The answer is $5$,000.",
        "The answer is $5$, but also $6$.",
        "The answer is $5$, $6$ or $7$.",
        "The answer is between $5$ and $7$.",
        "The answer is $5$ out of $7$.",
    ],
)
def test_a_sentence_that_denies_or_says_more(verifier, text):
    assert not is_correct(verifier, "5", text)


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 5",
        "**Final Answer:**\n\n5",
        "Therefore, the answer is 5 units.",
        "The answers are 5.",
        "Since $x$ is not 0, the answer is 5.",
        "If we add them, the answer is $5$.",
        "The answer is 5, which is prime.",
        "There is no doubt that the answer is 5.",
        "The answer is $5$. This is not surprising.",
        "The answer is $5$!",
    ],
)
def test_a_sentence_that_answers(verifier, text):
    assert is_correct(verifier, "5", text)


# --- time ---

PIECES = [
    r"\boxed{%d} ",
    r"$x=\boxed{%d}$ or ",
    r"\boxed{} in ",
    r"within \boxed{}. ",
    r"\boxed{",
    "{}",
    "}",
    "$",
    r"\text{",
    "\\(",
    "the answer is ",
    "answer: not ",
    "\n",
    " ",
    "<think></think>",
    "if ",
    "-\\boxed{1}",
    "*",
]


def seconds(text: str) -> float:
    begin = time.thread_time()
    extract_answer(text)
    return time.thread_time() - begin


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("shape", ["{}", r"\boxed{{{}}}", "{} the answer is 5", r"\boxed{{5}}{}", r"{}\boxed{{5}}"])
def test_extraction_takes_linear_time(piece, shape):
    def text(size: int) -> str:
        return shape.format("".join(piece.replace("%d", str(number)) for number in range(size // len(piece))))

    small, large = text(50_000), text(400_000)
    assert seconds(large) < 16 * max(min(seconds(small) for _ in range(2)), 0.01)


WORDS = st.sampled_from(
    [
        *PIECES,
        *JOINTS,
        r"\boxed{5}",
        "$",
        "5",
        "=",
        r"\ne",
        "{",
        "}",
        r"\frac{1}{2}",
        "not ",
        "is wrong",
        "the answer is ",
        ". ",
    ]
)


@LIGHT
@given(st.lists(WORDS, max_size=30).map("".join))
def test_extraction_never_raises_and_is_fast(text):
    begin = time.thread_time()
    extract_answer(text)
    assert time.thread_time() - begin < 1
