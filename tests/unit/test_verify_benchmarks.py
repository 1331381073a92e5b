"""The gold answers of all benchmarks in the spellings of a model, and those of two compared with each other."""

from __future__ import annotations

import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from vt_ray.data.problem_rows import ProblemFileError, read_rows
from vt_ray.data.readers import read_problem_rows
from vt_ray.records import Problem
from vt_ray.verify.gold_check import gold_faults
from vt_ray.verify.limits import Limits
from vt_ray.verify.verifier import Verifier

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
GSM8K = ("gsm8k_train.jsonl", "gsm8k_test.jsonl")
MATH = ("math500.json", "math_train.json")
CROSS_PAIRS = 3_000

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark files: {DATA} is not there")


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Limits()) as one:
        yield one


def golds(name: str) -> list[str]:
    """The distinct answers of one file, without the few empty ones."""
    text = (DATA / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        answers = [json.loads(line)["answer"].partition("####")[2].strip() for line in text.splitlines()]
    else:
        answers = [row["answer"] for row in json.loads(text)]
    return sorted({answer for answer in answers if answer})


def plain(gold: str) -> str:
    return f"The answer is $\\boxed{{{gold}}}$."


def in_dollars(gold: str) -> str:
    return f"So we get\n$$\n\\boxed{{ ${gold}$ }}.\n$$"


def large(gold: str) -> str:
    """Display fractions, and brackets with \\left and \\right."""
    gold = gold.replace(r"\frac", r"\dfrac")
    if r"\left" not in gold and gold.count("(") == gold.count(")") and not re.search(r"[\[\]]", gold):
        gold = gold.replace("(", r"\left(").replace(")", r"\right)")
    return f"\\[\\boxed{{\\displaystyle {gold}\\,}}\\]"


def shortened(gold: str) -> str:
    """The answer without its unit, an integer as a decimal, and a full stop in the box."""
    number = re.sub(r"(?<=[\d}])\s*\\text\{[^{}]*\}(\^\{?\d\}?)?$", "", gold)
    number = number if re.fullmatch(r"[\d.,/{}]*|\\frac\{\d+\}\{\d+\}", number) else gold
    return f"$\\boxed{{{number}.0}}$" if re.fullmatch(r"-?\d+", number) else f"$\\boxed{{{number}.}}$"


def in_a_sentence(gold: str) -> str:
    """The answer without a box, and with grouped thousands."""
    if re.fullmatch(r"-?[1-9]\d{3,}", gold):
        gold = f"{int(gold):,}"
    return f"**Answer:** The final answer is \\({gold}\\). I hope it is correct."


@pytest.mark.parametrize("writing", [plain, in_dollars, large, shortened, in_a_sentence])
@pytest.mark.parametrize("name", [*GSM8K, *MATH])
def test_every_gold_is_correct_however_it_is_written(verifier, name, writing):
    misjudged = []
    for gold in golds(name):
        verdict = verifier.verify(Problem("q", "math", "math", "?", answer=gold), writing(gold))
        if verdict.status != "correct":
            misjudged.append((writing(gold), verdict))
    assert not misjudged


def value(gold: str) -> str | Fraction:
    """A coarse normal form: without units, currencies, degrees and spaces."""
    bare = re.sub(r"\\(text|mbox)\{[^{}]*\}(\^\{?\d\}?)?|\^\{?\\circ\}?|\\[$!,;: ]|\$|\s|\\(left|right)|\.$", "", gold)
    bare = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", bare).replace(",", "")
    try:
        return Fraction(bare)
    except (ValueError, ZeroDivisionError):
        return re.sub(r"[{}()]", "", bare)


@pytest.mark.slow
def test_no_gold_is_accepted_for_another(verifier):
    everything = sorted({gold for name in (*GSM8K, *MATH) for gold in golds(name)})
    dice, accepted = random.Random(0), []
    for index in range(CROSS_PAIRS):
        first = dice.randrange(len(everything) - 6)
        # half of them neighbours in the alphabet, which look alike
        second = first + dice.randint(1, 5) if index % 2 else dice.randrange(len(everything))
        gold, answer = dice.sample([everything[first], everything[second]], 2)
        if value(gold) == value(answer):
            continue
        if verifier.verify(Problem("q", "math", "math", "?", answer=gold), plain(answer)).status == "correct":
            accepted.append((gold, answer))
    assert not accepted


# --- every benchmark's golds in five writings ---

BENCHMARKS = sorted(
    path.relative_to(DATA).as_posix()
    for folder in ("benchmarks", "ood", "ood/bbh")
    for path in (DATA / folder).glob("*.*")
    if not any(name in path.name for name in ("humaneval", "leetcode", "livecodebench", "mbpp", "codeforces"))
)
# Writings that these golds cannot have: an option's text is the letter of another option, two options have one text, a
# box that holds a gold with unbalanced braces, dollar signs around a gold with dollar signs.
# Misjudged writings of a file: options "answer", "result" and "letter", which in a box quote an instruction; in a
# sentence without a box, golds of several lines and golds that contain formulas between delimiters.
KNOWN = {
    "ood/commonsenseqa_train.jsonl": 5,
    "ood/physics_textonly_atomic.jsonl": 1,
    "ood/physics_textonly_electro.jsonl": 1,
    "ood/physics_textonly_quantum.jsonl": 3,
}
_ONE_LETTER = re.compile(r"[A-Za-z]")


def choice_writings(problem: Problem) -> list[str]:
    letter = problem.answer
    option = problem.options[ord(letter) - ord("A")] if problem.options else ""
    writings = [letter, f"So it is this one.\n\n**{letter}**", f"<think>Hm.</think>\nAnswer: {letter}"]
    others = [text.strip().rstrip(".") for text in problem.options]
    is_text = re.search(r"\w{2}", option) and not _ONE_LETTER.fullmatch(option.strip())
    if is_text and option.count("{") == option.count("}") and others.count(option.strip().rstrip(".")) == 1:
        writings += [f"\\boxed{{{option}}}", f"**Final Answer:** ({letter}) {option}"]
    return writings


def math_writings(gold: str) -> list[str]:
    balanced = gold.count("{") == gold.count("}") and not gold.endswith("\\")
    writings = [plain, large, in_a_sentence] if balanced else []
    writings += [in_dollars] if balanced and "$" not in gold else []
    return [writing(gold) for writing in writings] + ([shortened(gold)] if "\\text" not in gold and balanced else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_gold_of_a_benchmark_is_correct_in_five_writings(verifier, name):
    try:
        problems = read_problem_rows(read_rows(DATA / name)).problems
        if "physics" in name:  # conf/benchmark/physics.yaml leaves out the rows that the verifier cannot read
            problems = [p for p, fault in zip(problems, gold_faults(problems), strict=True) if not fault]
    except ProblemFileError as error:
        pytest.skip(f"not read: {error}"[:120])
    misjudged, seen = [], set()
    for problem in problems:
        if problem.kind == "math" and problem.answer in seen:
            continue
        seen.add(problem.answer)
        texts = choice_writings(problem) if problem.kind == "choice" else math_writings(problem.answer)
        misjudged += [
            (problem.row, place) for place, text in enumerate(texts) if not is_correct(verifier, problem, text)
        ]
    assert len(misjudged) <= KNOWN.get(name, 0), misjudged[:20]  # row and writing only: GPQA is not shown


def is_correct(verifier: Verifier, problem: Problem, text: str) -> bool:
    return verifier.verify(problem, text).status == "correct"
