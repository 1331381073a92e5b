"""Extraction of the final answer: thinking, boxes, text around boxes, and sentences "the answer is ..."."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.choice import extract_choice
from vt_ray.verify.extraction.final_answer import extract_answer
from vt_ray.verify.extraction.final_text import final_text
from vt_ray.verify.programs.extract_program import extract_program
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


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("It is \\boxed{7}.", False),
        ("It is \\boxed{7}.\n</think>\n\nIt is \\boxed{8}.", False),
        ("It is \\boxed{8}.\n</think>\n\nIt is \\boxed{7}.", True),
        ("<think>\nIt is \\boxed{8}.\n</think>\n\nIt is \\boxed{7}.", True),
        ("It is \\boxed{7}.\n</think>", False),
        ("", False),
    ],
)
def test_a_completion_that_begins_inside_the_reasoning_is_graded_after_it(verifier, text, correct):
    """Its prompt ends with <think>, which is not part of the completion."""
    problem = Problem("q", "m", "math", "?", answer="7", reasoning_open=True)
    assert verifier.verify(problem, text).status == ("correct" if correct else "wrong")
    tests = {"type": "stdio", "cases": [{"input": "", "output": "1"}]}
    program = Problem("q", "code", "code", "?", tests=tests, reasoning_open=True)
    assert verifier.verify(program, "```python\nprint(1)\n```").status == "wrong"
    choice = Problem("q", "c", "choice", "?", answer="B", reasoning_open=True)
    assert verifier.verify(choice, "The answer is B.").status == "wrong"
    assert verifier.verify(choice, "A?</think>The answer is B.").status == "correct"


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
        r"$-\mathbf{\boxed{5}}$",
        r"$2\cdot\text{\boxed{5}}$",
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


ORDINARY_ENDINGS = [
    r"Therefore, the answer is $\boxed{42}$.",
    r"Thus, there are $\boxed{42}$ such integers.",
    r"So the remainder is $\boxed{42}$ when divided by 100.",
    r"Hence $m+n = 31+11 = \boxed{42}$.",
    r"The total number of ways is $6 \cdot 7 = \boxed{42}$.",
    r"Final Answer: $\boxed{42}$",
    "**Final Answer**\n\n$\\boxed{42}$",
    "**Final Answer**\n\\[\\boxed{42}\\]",
    "### Answer\n\n$$\n\\boxed{42}\n$$",
    r"The final answer is: $\boxed{42}$",
    r"Therefore, the final answer is: $\boxed{42}$. I hope it is correct.",
    "$$\\boxed{42}$$\n\nThis completes the solution.",
    "\\[\n\\boxed{42}\n\\]",
    r"The answer is $42$. $\boxed{42}$",
    r"So, $x = \boxed{42}$ (since $x > 0$).",
    r"Since $x \neq 0$, we have $x = \boxed{42}$.",
    r"We need at least $\boxed{42}$ colors.",
    r"The maximum value is $\boxed{42}$, attained at $x=1$.",
    r"The maximum value is $\boxed{42}$, attained when $x=1$ or $x=2$.",
    r"The minimum value is $\boxed{42}$ and it is attained at $x=3$.",
    r"$\boxed{42}$ is the smallest such number.",
    r"It takes $\boxed{42}$ minutes.",
    r"The area is $\boxed{42}$ square units.",
    r"The perimeter is $\boxed{42}$ cm.",
    r"She has $\boxed{42}$ apples left.",
    r"The price is $\$\boxed{42}$.",
    r"The probability is not $0$, it is $\boxed{42}$.",
    r"This is not possible unless $n = \boxed{42}$.",
    r"If $n$ is even, then the answer is $\boxed{42}$.",
    r"So it doesn't matter, and the answer is $\boxed{42}$.",
    r"Note that the order does not matter. The answer is $\boxed{42}$.",
    r"We don't need to consider the other case. $\boxed{42}$",
    r"I am not sure about the first step, but the answer is $\boxed{42}$.",
    r"No other solutions exist. Therefore the answer is $\boxed{42}$.",
    r"The answer is $\boxed{42}$. No other value works.",
    r"The answer is $\boxed{42}$. Note that $x=3$ is not a solution.",
    r"The answer is $\boxed{42}$. This is because $41$ is too small.",
    r"The answer is $\boxed{42}$, not $41$.",
    r"The answer is $\boxed{42}$ rather than 41.",
    r"We get $\boxed{42}$ as the answer.",
    r"Which gives $\boxed{42}$ as desired.",
    r"The sum equals $1+2+\dots = \boxed{42}$.",
    r"$f(3) = \boxed{42}$",
    r"$|S| = \boxed{42}$",
    r"$\angle ABC = \boxed{42}^\circ$",
    r"$\text{Area} = \boxed{42}$",
    r"$\therefore \quad \boxed{42}$",
    r"$\implies \boxed{42}$",
    r"$x \approx \boxed{42}$",
    r"$n \equiv \boxed{42} \pmod{100}$",
    "\\begin{align*}\nx &= 42 \\\\\\\\\n&= \\boxed{42}\n\\end{align*}",
    "\\begin{equation}\n\\boxed{x = 42}\n\\end{equation}",
    r"$\boxed{x = 42}$",
    r"$\boxed{\text{42}}$",
    r"$\boxed{42\text{ ways}}$",
    r"$\color{blue}{\boxed{42}}$",
    r"$\bf{\boxed{42}}$",
    r"\textbf{\boxed{42}}",
    r"<b>\boxed{42}</b>",
    r"> \boxed{42}",
    "1. First step\n2. Second step\n\n\\boxed{42}",
    r"Step 3: \boxed{42}",
    "Answer: \\boxed{42} \u2705",
    r"\boxed{42} \square",
    r"$\boxed{42} \quad \text{(Answer)}$",
    r"$\boxed{42}\tag{1}$",
    r"The answer is \boxed{42}",
    r"The answer is \boxed{42}",
    r"`\boxed{42}`",
    r'"\boxed{42}"',
    r"The number of elements in $A$ or $B$ is \boxed{42}",
    r"Either way, we get \boxed{42}.",
    r"In both cases, we obtain \boxed{42}.",
    r"The answer must be in \boxed{} so here it is: \boxed{42}",
    "Please put your final answer within \\boxed{}. \n\n 6*7=\\boxed{42}",
    "\\boxed{42}\n\nLet me double check: 6*7 = 42. Yes.",
    "\\boxed{42}\n\nLet me verify. If the answer is 42 then 6*7=42, which holds.",
    "\\boxed{42}\n\nWait, let me double-check. 6*7=42. So the answer is \\boxed{42}.",
    "\\boxed{41}\n\nWait, that's wrong. It should be \\boxed{42}.",
    r"\boxed{41} is incorrect; \boxed{42} is right.",
    r"\boxed{41}. Actually, \boxed{42}.",
    r"First I thought \boxed{41} but it is \boxed{42}.",
    r"Hmm, \boxed{41}? No. \boxed{42}",
    r"The base case gives $\boxed{1}$ and the final value is $\boxed{42}$ after summing everything up.",
    r"$a = 6, b = 7$ so $ab = \boxed{42}$",
    r"The answer is $$\boxed{42}.$$",
    r"So the answer is: \(\boxed{42}\).",
    r"so $x=\boxed{42}$ meters per second",
    r"$2x = 84 \Rightarrow x = \boxed{42}$",
    r"$x = 84/2 = \boxed{42}$",
    r"The value of $a \cdot b$ is $\boxed{42}$, where $a=6$ and $b=7$.",
    r"We choose 2 from 5, minus the bad ones: \boxed{42}",
    r"The length is half of 84, which is \boxed{42}",
    r"That is twice as much: \boxed{42}",
    r"The result, 84 divided by 2, is \boxed{42}",
    r"The square root of 1764 is \boxed{42}",
    r"The answer is more than 40: \boxed{42}",
    r"x lies between 41 and 43, so it is \boxed{42}",
    r"The answer is: **\boxed{42}**",
    "The answer is:\n\n- \\boxed{42}",
    r"Total: 12 + 30 = \boxed{42} dollars",
    r"\boxed{42} to the nearest integer",
    r"\boxed{42} in total",
    r"\boxed{42} of them",
    r"\boxed{42} as an exact value",
    r"\boxed{42} or equivalently $84/2$",
]
NO_42 = [
    r"\boxed{41}, maybe \boxed{42}",
    r"\boxed{41} | \boxed{42}",
    r"\boxed{41};\boxed{42}",
    r"\boxed{41}\qquad\boxed{42}",
    r"\boxed{41} \vee \boxed{42}",
    r"\boxed{41} vs. \boxed{42}",
    r"\boxed{41} -- \boxed{42}",
    r"\boxed{41} \quad \text{or} \quad \boxed{42}",
    r"1) \boxed{41} 2) \boxed{42}",
    r"\boxed{41} \approx \boxed{42}",
    r"\boxed{41} \ne \boxed{42}",
    r"\boxed{41} < \boxed{42}",
    r"\boxed{41} \to \boxed{42}",
    r"\boxed{41} \pm \boxed{42}",
    r"It could be \boxed{41}. It could be \boxed{42}.",
    r"\boxed{41} is possible, but so is \boxed{42}",
    r"\boxed{41} (alternatively: \boxed{42})",
    r"I am torn between \boxed{41} and \boxed{42}",
    r"\boxed{41} & \boxed{42}",
    r"\boxed{41}\boxed{42}",
    r"\begin{cases}\boxed{41}\\ \boxed{42}\end{cases}",
    r"\boxed{41} \text{ and/or } \boxed{42}",
    r"\boxed{41} + \boxed{42}",
    r"\boxed{41} or $\boxed{42}$, I am not sure",
    r"Either \boxed{41} or, more likely, \boxed{42}",
    r"\boxed{41} <br> \boxed{42}",
    r"\boxed{41} \\ \text{or} \\ \boxed{42}",
    r"\boxed{41}, or possibly it is \boxed{42}",
    r"Answer 1: \boxed{41}; Answer 2: \boxed{42}",
    r"Option 1: \boxed{41}, option 2: \boxed{42}",
    r"\boxed{41} ~ \boxed{42}",
    r"\boxed{41}, \ldots, \boxed{42}",
    r"\boxed{41} \text{ to } \boxed{42}",
    r"\boxed{41} \leq x \leq \boxed{42}",
    r"\boxed{42} or 41",
    r"\boxed{42} (or 41)",
    r"\boxed{42}, or 41",
    r"\boxed{42}, 41",
    r"$\boxed{42}, 41$",
    r"$(\boxed{42}, 41)$",
    r"\boxed{42} / 41",
    r"\boxed{42} and 41",
    r"\boxed{42}, possibly 41",
    r"\boxed{42}, but it might be 41",
    r"\boxed{42}? Maybe 41",
    r"\boxed{42} - or 41",
    r"\boxed{42}... no, 41",
    r"Is it \boxed{42}?",
    r"\boxed{42} is not the answer",
    r"The answer isn't \boxed{42}",
    r"The answer can't be \boxed{42}",
    r"The answer is not \boxed{42}",
    r"Not \boxed{42}!",
    r"$\boxed{42}\times 10^3$",
    r"$\boxed{42} \cdot 10^{3}$",
    r"$10^\boxed{42}$",
    r"$\boxed{42}'$",
    r"$\overline{\boxed{42}}$",
    r"$\log_{2}\boxed{42}$",
    r"$-\frac{\boxed{42}}{2}$",
    r"$\pm\boxed{42}$",
    r"$\boxed{42}i$",
    r"$i\boxed{42}$",
    r"$\lnot\boxed{42}$",
    r"$\boxed{42}\div 2$",
    r"$1/\boxed{42}$",
    r"$\boxed{42}.\overline{3}$",
    r"$\boxed{42}\frac12$",
    r"$\not\boxed{42}$",
    r"$x \notin \boxed{42}$",
    r"$x < \boxed{42}$",
    r"$x \le \boxed{42}$",
    r"$\{\boxed{42}, 6\}$",
    r"$[\boxed{42}, 7]$",
    r"$\boxed{42} \cup \{6\}$",
    r"$\boxed{42}\,\text{mod}\,7$",
    r"$\boxed{42}\text{ dozen}$",
    r"\boxed{42} thousand",
    r"\boxed{42}k",
    r"\boxed{42}M",
    r"\boxed{42} billion dollars",
    r"$\boxed{42}!$",
    r"$\boxed{42}_{5}$",
    r"\boxed{42}\text{ (base 5)}",
    r"\boxed{42} base 5",
    r"minus \boxed{42}",
    r"negative \boxed{42}",
    r"-\boxed{42}",
    r"$- \boxed{42}$",
    "\u2212\\boxed{42}",
    r"$x = - \boxed{42}$",
    r"half of \boxed{42}",
    r"the square root of \boxed{42}",
    r"$\sin \boxed{42}$",
    r"$\sin(\boxed{42})$",
    r"$2(\boxed{42})$",
    r"$2 \cdot \boxed{42}$",
    r"\boxed{42} more than 7",
    r"\boxed{42} less than 7",
    r"\boxed{42} times 7",
    r"\boxed{42} squared",
    r"\boxed{42} factorial",
    r"\boxed{42} choose 2",
    r"\boxed{42} if $x>0$",
    r"\boxed{42} unless x is 0",
    r"\boxed{42} or so",
    r"\boxed{42} or more",
    r"more than \boxed{42}",
    r"between \boxed{42} and 50",
    r"x is not \boxed{42}",
    r"x \neq \boxed{42}",
    r"all numbers except \boxed{42}",
    r"every integer but \boxed{42}",
    r"anything other than \boxed{42}",
]


@pytest.mark.parametrize("text", ORDINARY_ENDINGS)
def test_an_ordinary_ending_is_42(verifier, text):
    assert is_correct(verifier, "42", text)


@pytest.mark.parametrize("text", NO_42)
def test_no_42(verifier, text):
    assert not is_correct(verifier, "42", text)


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
        "The answer is $5$ & $6$.",
        "The answer is $5$...$9$",
        "The answer is 5, which is wrong.",
        "The answer is 5. Sorry, I mean 6.",
        "I reject the claim that the answer is 5.",
        "The answer is 5 or more.",
        "The answer is 5 choose 2.",
        "The answer is 5 if x>0, else 6",
        "The answer is minus $5$.",
        "The answer is 5? I doubt it.",
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
        "The answer is exactly 5.",
        "The answer is given by $5$.",
        "The answer is **5** ways.",
        "The answer is 5 by symmetry.",
        "The answer is 5, and this completes the proof.",
        "The answer is the number 5.",
        "The answer is $5$ for $n=3$.",
        "The answer is 5 \u2705",
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


@pytest.mark.parametrize(
    "text", [r"\boxed{" + "{}" * 4_000_000 + "}", "{}" * 4_000_000 + r"\boxed{5}", "a" * 8_000_000]
)
def test_extraction_needs_little_memory_and_time_however_long_the_text(text):
    tracemalloc.start()
    begin = time.thread_time()
    extract_answer(text)
    extract_choice(text)
    seconds, (_, peak) = time.thread_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert seconds < 1


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


@pytest.mark.parametrize(
    "text",
    [
        "It is worth $\\boxed{42}$ dollars. Final Answer: The final answer is 42.",
        "It is $\\boxed{42}$ dollars at the end of the 5 years. The final answer is \\$42.",
        "It is $\\boxed{42}$ cm. The final answer is 42 cm.",
        "It is worth $\\boxed{\\$42}$ at the end. The answer is $42$. I apologize for the repetition.",
    ],
)
def test_a_sentence_repeats_the_box_without_its_unit(verifier, text):
    assert verifier.verify(Problem("q", "math", "math", "?", answer="42"), text).status == "correct"


@pytest.mark.parametrize(
    "text", ["It is $\\boxed{42}$ dollars. The final answer is 43.", "-$\\boxed{42}$. The answer is 42."]
)
def test_a_sentence_with_another_value_than_the_box(verifier, text):
    assert verifier.verify(Problem("q", "math", "math", "?", answer="42"), text).status == "wrong"
