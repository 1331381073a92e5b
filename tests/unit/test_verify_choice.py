"""Multiple choice: the letter that a completion chose."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.records import Problem
from vt_ray.verify.choice import choice_verdict, extract_choice
from vt_ray.verify.verifier import Verifier

FOUND = Path(__file__).parents[1] / "data" / "found"
ROWS = [json.loads(line) for name in ("attack", "public", "more") for line in (FOUND / f"choice_{name}.jsonl").open()]
STILL_WRONG: dict[str, str] = {}  # id of a row -> why its verdict is not the expected one


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_found_row(row):
    right = choice_verdict(row["choice"], row["response"]).status in row["expect"]
    assert right is (row["id"] not in STILL_WRONG)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{b}", "B"),
        (r"\boxed{(B)}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{\textbf{(B) } 42}", "B"),
        (r"\boxed{\mathrm{B}.}", "B"),
        (r"\boxed{B. 42}", "B"),
        (r"\boxed{B) five apples}", "B"),
        (r"First \boxed{A}, no: after all it is clearly \boxed{C}", "C"),
        ("So the answer is (B).", "B"),
        ("So the answer is B.", "B"),
        ("The correct answer is: **B**", "B"),
        ("Answer: B", "B"),
        ("the answer is option (d)", "D"),
        (r"The answer is $\text{(C)}$.", "C"),
        ("the answer is (B) because (A) is too small.", "B"),
        ("the answer is A. Wait, the answer is B.", "B"),
        (r"$\boxed{\text{Option B}}$", "B"),
        (r"\boxed{Choice (C)}", "C"),
        (r"\boxed{Answer: D}", "D"),
        (r"\boxed{[A]}", "A"),
        (r"\boxed{\(A\)}", "A"),
        (r"\boxed{A,}", "A"),
        ('\\boxed{"A"}', "A"),
        ("\\boxed{\uff21}", "A"),
        (r"\boxed{A, because B is wrong}", "A"),
        (r"\boxed{D) None of the above}", "D"),
        (r"The answer is \(B\).", "B"),
        ("The answer is **B) five**", "B"),
        ("The answer is I.", "I"),
    ],
)
def test_a_letter(text, letter):
    assert extract_choice(text) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know",
        r"\boxed{}",
        r"\boxed{42}",
        r"\boxed{A and B}",
        r"\boxed{A, B}",
        r"\boxed{A or B}",
        r"\boxed{(A) or (B)}",
        r"\boxed{A} \boxed{B}",
        r"\boxed{A}, \boxed{B}, \boxed{C}",
        r"the answer is (B) \boxed{",
        r"\boxed{Apple}",
        "the answer is a number",
        "the answer is A or B",
        "the answer is (A), (B)",
        "the answer is Apple",
        "the answer is I think C",
        "the answer is not A.",
        "the answer is both A and B",
        r"\boxed{not A}",
        r"\boxed{A. B}",
        r"\boxed{A: B}",
        r"\boxed{A, B, C}",
        r"\boxed{Both A and C}",
        r"\boxed{AB}",
        "\\boxed{\u0410}",
        "\\boxed{" * 1000,
    ],
)
def test_no_letter(text):
    assert extract_choice(text) is None


@pytest.mark.parametrize("gold", ["B", "(B)", "b", r"\text{(B)}"])
def test_verdict(gold):
    assert choice_verdict(gold, r"\boxed{B}").status == "correct"
    assert choice_verdict(gold, r"\boxed{C}").reason == "wrong_answer"
    assert choice_verdict(gold, "no idea").reason == "no_answer"


@pytest.mark.parametrize("gold", ["", "42", "A or B"])
def test_a_gold_that_is_no_letter_is_unverified(gold):
    assert choice_verdict(gold, r"\boxed{A}").status == "unverified"


WAYS_TO_SAY_B = [
    r"\boxed{B. 10^{-4} eV}",
    r"\boxed{\text{Option B}}",
    r"\boxed{b}",
    r"\boxed{B)}",
    "**Answer**: B",
    "The answer is therefore B.",
    "Option B is correct.",
    "Answer: [B]",
    "Answer: b)",
    r"\boxed{B (42)}",
    r"\boxed{B\ 42}",
    r"\boxed{\left(B\right)}",
    r"\boxed{\,B\,}",
    r"\boxed{\textsf{B}}",
    r"\boxed{B \text{ is correct}}",
    "(B) is the correct answer.",
    "B is the answer.",
    "The correct option is **(B)**.",
    "I choose B.",
    "I would go with option B.",
    "So the best answer is (B) because (A) is too small.",
    "The answer is B, because A is wrong.",
    "Final Answer\n\n**B**",
    "### Final answer: (B)",
    "Answer - B",
    "The answer must be B.",
    "The answer should be (B).",
    "The answer is B: mitochondria",
    "the answer is B) 42",
    r"The final answer is $\boxed{B}$.",
    r"The answer is: $\boxed{\text{B}}$",
    r"$$\boxed{\mathrm{B}}$$",
    r"\boxed{B: x = 5 \text{ or } x = 7}",
    r"\boxed{B. 5 or 6}",
    r"\boxed{B. Vitamin C}",
    r"\boxed{B. Both A and C}",
    r"\boxed{\text{B. A and C only}}",
    r"\boxed{B. None of the above}",
    r"\boxed{B. E. coli}",
    r"\boxed{B) No}",
    r"\boxed{B. False}",
    r"\boxed{B - 42}",
    r"\boxed{B – mitochondria}",
    r"\boxed{B, 42}",
    r"\boxed{B) 10^{-8} \text{ s}}",
    r"\boxed{B}\text{: 42}",
    r"\boxed{B}: C is wrong",
    "The answer is B. A is too small.",
    "The answer is B.\nC is wrong.",
    "So B is correct.",
    "Thus the correct choice is B",
    "Correct answer: B",
    "Ans: B",
    "ANSWER: B",
    "The answer is option B: 5",
    "My final answer is B",
    "Answer:B",
    "Answer\uff1aB",
    "Answer: B (42)",
    "Answer: B, C is wrong",
    "The answer is 'B'.",
    "The answer is \u201cB\u201d.",
    "<think>A</think>Answer: B",
    "The answer is A. Wait, the answer is B.",
    "Answer: A\n\nActually, answer: B",
    "Option A is wrong. Option C is wrong. Option B is right.",
    "A is wrong, C is wrong, so B is correct.",
    "Therefore, the answer is B, not A.",
    r"\boxed{B, not A}",
    "Hence, option (B) is the right answer.",
    "The correct answer is (B) 3.2 m/s.",
    "the correct answer is b.",
    r"I doubt A. \boxed{B}",
    r"The energy is \boxed{10^{-4}}. So the answer is B.",
    r"\boxed{\textbf{(B)}\ 42}",
    r"\boxed{\text{B: } 3 \times 10^8 \text{ m/s (c)}}",
    r"\boxed{B. NaCl (s)}",
    r"\boxed{B. f(A) = 5}",
    r"\boxed{B. P(A \cup B)}",
    r"\boxed{B) I, II and III}",
    r"\boxed{B. I and III}",
    r"\boxed{B) 5 \quad}",
    "The answer is (B).\n\nI hope it is correct.",
    "Answer: B\n\nThis is because C is too large, or D.",
    "the answer is B. No other option works.",
    "Answer: $B$",
    r"Answer: \(B\)",
    r"Answer: \[B\]",
    "The answer is `B`.",
    "Answer: <B>",
    "So, answer is (b)",
    "Select B",
    "It is option B.",
    "Option **B** is correct",
    "The right choice is: B",
    "Answer:\n\n(B) 42",
    "**Final Answer: B. Mitochondria**",
    "So our answer is B and we are done.",
    "Choice (B) is correct.",
    "Among the options, B is the best.",
    "The answer is B as A and C fail.",
    "The answer is B since C and D are false.",
    "The answer is choice B",
    "Answer is B",
    "answer: B",
    r"\boxed{Answer: B}",
    r"\boxed{The answer is (B)}",
    r"\boxed{B.}",
    r"\boxed{B:}",
    r"\boxed{ (B) }",
    r"\boxed{\mathbf{(B)}}",
    r"\boxed{\mathrm{Option\ B}}",
    r"\boxed{Option~B}",
    r"$\boxed{B}$ is correct",
    r"\boxed{B}. Option A is wrong because the answer is negative.",
    r"\boxed{B} is the correct answer",
]
# Texts of options that hold letters of their own.
OPTIONS = [
    "(1S,2R,4S)-4-isopropyl-2-methylcyclohexyl propionate",
    "A = 6-methyl-2H-pyran-2-amine, C = 4-methylenehexanal",
    "X and Z represent observables.",
    "N-(4-ethoxyphenyl)formamide",
    r"X\rightarrow c\bar{c}, s\bar{s}",
    "v_rel = 0.14c, E = 5.96 mc^2",
    "10^{-4} eV",
    "methyl (2E,4E,10Z)-tetradeca-2,4,10-trienoate",
    "chromatin methylation",
]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "form",
    [
        r"\boxed{B. OPTION}",
        r"\boxed{(B) OPTION}",
        r"\boxed{\text{B}}: OPTION",
        "Answer: B) OPTION",
        "Final answer: B\n\nOPTION",
    ],
)
def test_the_text_of_an_option_names_no_other_letter(form, option):
    assert extract_choice(form.replace("OPTION", option)) == "B"


NO_CHOICE_OF_A = [
    r"\boxed{A, C and D}",
    r"\boxed{A: B or C}",
    r"\boxed{A) is wrong}",
    "Answer: A B C D",
    "Answer: A|B",
    "Answer: A to D",
    "The answer is A (or B)",
    "The answer is A or possibly C",
    "I don't think the answer is A.",
    "Each option: A is wrong, B is wrong.",
    r"\boxed{A|B}",
    r"\boxed{A to D}",
    r"\boxed{A & B}",
    r"\boxed{A/B}",
    r"\boxed{AB}",
    r"\boxed{A+B}",
    r"\boxed{A or B}",
    r"\boxed{A \text{ or } B}",
    r"\boxed{A}\text{ or }\boxed{B}",
    r"\boxed{A} \to \boxed{D}",
    r"\boxed{A}-\boxed{D}",
    r"\boxed{A}/\boxed{B}",
    r"\boxed{A} or B",
    r"\boxed{A} and \boxed{C}",
    r"\boxed{\text{A or B}}",
    r"\boxed{(A), (B)}",
    r"\boxed{A, possibly B}",
    r"\boxed{not A}",
    r"\boxed{A?}",
    r"\boxed{A is incorrect}",
    r"\boxed{A. or C}",
    r"\boxed{A vs B}",
    r"\boxed{A (or C)}",
    r"\boxed{A – D}",
    r"\boxed{A through D}",
    r"\boxed{A; B}",
    r"\boxed{A B}",
    r"\boxed{A) 5, B) 6}",
    r"\boxed{A. 5 B. 6 C. 7}",
    r"\boxed{(A) 5 (B) 6}",
    r"\boxed{A. 5 or B. 6}",
    r"\boxed{A and also C}",
    r"\boxed{A as well as C}",
    r"\boxed{neither A nor B}",
    r"\boxed{either A or B}",
    "The answer is either A or B",
    "The answer is A and C.",
    "The answer is A, C",
    "The answer is A/C",
    "The answer is A & C",
    "The answer is (A) or (C)",
    "The answer is A; C",
    "The answer is A or else C",
    "The answer could be A",
    "The answer is A? No.",
    "Is the answer A?",
    "I doubt that the answer is A",
    "It is not the case that the answer is A",
    "The answer is not A",
    "If the answer is A",
    "Suppose the answer is A.",
    "Option A is not correct.",
    "Option A is incorrect.",
    "Neither A nor B is correct.",
    "A or B is correct",
    "Options A and B are correct",
    "A is correct. B is correct.",
    "The answer is A. That is wrong.",
    "The answer is A, which is wrong",
    "Nobody thinks that option A is correct",
    "I think A",
    "The options are A, B, C and D.",
    "The answer is a matter of taste",
    "Answer: A\nAnswer: B or C",
    r"\boxed{A}? No.",
    r"I doubt that the answer is \boxed{A}",
    r"\boxed{A} is wrong",
    r"not \boxed{A}",
    "<think>the answer is A",
    r"<think>\boxed{A}</think>",
    r"\boxed{Α}",
    "Answer: \u0410",
    r"\boxed{A^2}",
    r"\boxed{A_1}",
    r"\boxed{x+1}",
    r"\boxed{a = 5}",
    r"\boxed{A number}",
    r"\boxed{I think so}",
    "The answer is A or B, I think",
    "The answer is A. Or B.",
    "Answer: A, B",
    "Answer: (A)(B)",
    "Answer: A,B,C",
    "The answer is A... or B",
    "The answer is A maybe B",
    "The answer is between A and B",
    "The answer is one of A, B",
    "The answer is A - D",
    "the answer is all of A, B, C",
    "The answer is A then B",
    "Both A and B is correct",
    "Option A is correct? No, it is not.",
    r"\boxed{A, also B}",
    r"\boxed{A. B and C}",
    r"\boxed{A \lor B}",
    r"\boxed{A \vee B}",
    r"\boxed{A \cup B}",
    r"\boxed{A \cap B}",
    r"\boxed{A \land B}",
    r"\boxed{A \,\&\, B}",
    r"\boxed{\{A, B\}}",
    r"\boxed{[A, D]}",
    r"\boxed{A\\B}",
    r"\boxed{A \\ B}",
    r"\boxed{A\quad B}",
    r"\boxed{A, B?}",
    "The answer is A or another one",
    "The answer is A unless B",
]


@pytest.mark.parametrize("text", WAYS_TO_SAY_B)
def test_ways_people_say_it(text):
    assert extract_choice(text) == "B"


@pytest.mark.parametrize("text", NO_CHOICE_OF_A)
def test_several_letters_and_denials_are_no_choice(text):
    assert extract_choice(text) is None


PIECES = [
    "\n", " ", "Answer:", "Answer:\n", "the answer is ", "answer: ( ", "the answer is {{{{", "\\text{",
    "option ", "A or ", "\\boxed{", "\\boxed{A} ", "\\boxed{A} or ", "{}", "A is correct. ",
    "neither ", "*", "$", "(", "A, ", "- ",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("shape", ["{}", "Answer:{}unclear", "{}Answer: B", "\\boxed{{{}}}", "\\boxed{{B}}{}"])
def test_a_choice_is_read_in_linear_time(piece, shape):
    def seconds(size: int) -> float:
        text = shape.format(piece * (size // len(piece)))
        begin = time.thread_time()
        extract_choice(text)
        return time.thread_time() - begin

    seconds(1_000)
    assert seconds(400_000) < 16 * max(min(seconds(50_000) for _ in range(2)), 0.02)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, "B", "(B)", " is correct", "not ", ". ", "**", "\u200b", "vs "]), max_size=40)
)
def test_reading_a_choice_never_raises_and_is_fast(pieces):
    begin = time.thread_time()
    extract_choice("".join(pieces))
    assert time.thread_time() - begin < 1


@given(st.integers(0, 2_000), st.sampled_from("ABCDEFGHIJ"))
@settings(max_examples=40, deadline=None)
def test_blank_lines_before_the_letter_change_nothing(count, letter):
    assert extract_choice("Answer:" + "\n" * min(count, 200) + letter) == letter
    assert extract_choice("\n" * count + f"Answer: {letter}" + "\n" * count) == letter


def test_through_the_verifier():
    with Verifier() as verifier:
        verdict = verifier.verify(Problem("q", "s", "choice", "?", answer="D"), r"$\boxed{D}$")
        assert verdict.status == "correct"
        assert verdict.seconds >= 0


@pytest.mark.parametrize("text", ["B", "(B)", "**B**", "B.", "<think>A or C?</think>\nB", " [B] \n"])
def test_a_letter_and_nothing_else_is_the_answer(text):
    assert choice_verdict("B", text).status == "correct"
    assert choice_verdict("A", text).status == "wrong"


@pytest.mark.parametrize("text", ["B C", "B?", "b", "B or", "<think>B", "B\n\nC", "A B C D"])
def test_a_text_of_more_or_less_than_a_letter_is_none(text):
    assert choice_verdict("B", text).status == "wrong"


# --- the text of an option ---

ANIMALS = ("C. elegans", "a mouse", "Yeast", "10^{-4} eV")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is C. elegans.", "A"),
        ("\\boxed{C. elegans}", "A"),
        ("\\boxed{\\text{Yeast}}", "C"),
        ("The answer is **yeast**.", "C"),
        ("The correct answer is a mouse because it is small.", "B"),
        ("Final answer: mouse", "B"),
        ("Answer: $10^{-4}$ eV", "D"),
        ("\\boxed{10^{-4}\\ \\text{eV}}", "D"),
        ("So it must live in soil.\n\n**A**", "A"),
        ("So it must live in soil.\n\n(A) C. elegans", "A"),
        ("So it must live in soil.\n\nC. elegans", "A"),
        ("<think>mouse</think>\n**B) a mouse**", "B"),
        ("Answer: B", "B"),
        ("Answer: **B) a mouse**", "B"),
    ],
)
def test_the_text_of_an_option_is_its_letter(text, letter):
    assert choice_verdict(letter, text, ANIMALS).status == "correct"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is a mouse or yeast.",
        "The answer is not a mouse.",
        "The answer is a mouse trap.",
        "It lives with a mouse.",
        "(B) C. elegans",
        "A\nB\nC\nB",
        "(A) C. elegans\n(B) a mouse",
        "\\boxed{a mouse, yeast}",
        "The answer is not\n\nB",
        "<think>The answer is a mouse.",
        "",
    ],
)
def test_other_texts_are_not_the_option(text):
    assert choice_verdict("B", text, ANIMALS).status == "wrong"


def test_capitals_count_if_two_options_differ_by_them():
    assert choice_verdict("B", "\\boxed{mW}", ("MW", "mW")).status == "correct"
    assert choice_verdict("A", "\\boxed{mW}", ("MW", "kW")).status == "correct"
    assert choice_verdict("A", "\\boxed{Mw}", ("MW", "mW")).reason == "no_answer"
    assert choice_verdict("B", "\\boxed{ground}", ("the ground", "ground")).status == "correct"
    assert choice_verdict("A", "The answer is the ground.", ("the ground", "ground")).status == "correct"


def test_a_long_option():
    option = "Give each of them a balloon. " * 30
    assert choice_verdict("B", f"**Final Answer:** (B) {option}", ("x", option)).status == "correct"
    assert choice_verdict("B", f"The answer is {option}", ("x", option)).status == "correct"


def test_two_options_with_one_text_have_no_letter_by_text():
    assert choice_verdict("A", "The answer is the sun.", ("the sun", "the  sun.")).reason == "no_answer"


def test_an_option_that_is_a_letter_is_not_found_by_its_text():
    assert choice_verdict("B", "\\boxed{B}", ("B", "C", "A")).status == "correct"


def test_options_without_text_and_more_options_than_letters():
    assert choice_verdict("A", "\\boxed{A}", ("", "", "")).status == "correct"
    assert choice_verdict("A", "The answer is .", ("", "")).status == "wrong"
    assert choice_verdict("Z", "\\boxed{x25}", tuple(f"x{i}" for i in range(40))).status == "correct"


@pytest.mark.parametrize("text", ["A and B", "No, because it is cold", "(A), (B), and (C)", "C or A", "I and II only"])
def test_the_text_after_the_letter_may_name_other_letters(text):
    options = ("x", "y", "z", text)
    assert choice_verdict("D", f"**Final Answer:** (D) {text}", options).status == "correct"
    assert choice_verdict("D", f"So it is all of them.\n\nD. {text}.", options).status == "correct"
    assert choice_verdict("D", f"\\boxed{{{text}}}", options).status == "correct"
