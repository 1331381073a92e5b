"""Decontamination finds what was planted, keeps what is clean, and writes all its outputs."""

from __future__ import annotations

import json
import random
import re
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from vt_ray.data.decontamination import text
from vt_ray.data.decontamination.answer_form import own_words
from vt_ray.data.decontamination.confirm import are_renamed, contains_question, shared_words
from vt_ray.data.decontamination.copies import Copies
from vt_ray.data.decontamination.decontaminate import decontaminate
from vt_ray.data.decontamination.hash_index import HashIndex
from vt_ray.data.decontamination.leakage import Cell
from vt_ray.data.decontamination.matcher import Matcher
from vt_ray.data.decontamination.near import NearGate
from vt_ray.data.decontamination.options import DecontaminationOptions
from vt_ray.data.decontamination.rows import Question, read_all
from vt_ray.data.decontamination.word_hashes import hash_texts
from vt_ray.data.problem_rows import ProblemFileError
from vt_ray.tools import app

NO_NEAR = DecontaminationOptions(near_duplicates="off")
NAMES = ("Amira", "Boris", "Chen", "Dalia", "Emeka", "Farid", "Greta", "Hana", "Ivo", "Jun")
THINGS = ("marbles", "stamps", "lanterns", "ribbons", "coins", "kites", "pencils", "shells", "tickets", "bricks")
PLACES = ("harbour", "orchard", "library", "foundry", "bakery", "observatory", "station", "meadow", "theatre", "quarry")


def questions(count, seed):
    """Returns different word problems of about 45 words with LaTeX, none of them of a short sentence alone."""
    dice, made = random.Random(seed), []
    for _ in range(count):
        name, other = dice.sample(NAMES, 2)
        thing, place = dice.choice(THINGS), dice.choice(PLACES)
        a, b, c = (dice.randint(11, 97) for _ in range(3))
        made.append(
            f"At the {place}, {name} arranges ${a}$ {thing} in rows of equal length. Then {other} brings {b} more of "
            f"them from the old {dice.choice(PLACES)} nearby. Every row now has $x + {c}$ {thing} and none is left "
            f"over. Find the least possible value of $x^2 - {dice.randint(2, 9)}x$ for {name}."
        )
    return made


# No ten words in a row without a number: only the number-blind pass finds the question with other numbers.
DENSE = (
    "There are 12 boats with 30 crates and 45 barrels each, 7 carts with 16 crates, and 5 sheds with 28 barrels. "
    "After 9 days 210 crates are sold for 13 silver pieces each. What is left of the 612 pieces?"
)


def other_words(question):
    """The question told differently, with the same names and numbers."""
    place, name, a, thing = re.match(r"At the (\w+), (\w+) arranges \$(\d+)\$ (\w+)", question).groups()
    return f"{name} owns {a} {thing} and visits the {place}; what is the smallest number that solves the puzzle there?"


PLANTS = {
    "case": str.upper,
    "punctuation": lambda q: re.sub(r"[.,$]", "", q).replace("+", " plus+ ").replace("plus", ""),
    "latex_spacing": lambda q: (
        q.replace(" + ", r" \, + \, ").replace("$ ", r"\;$ ").replace("x^2", r"\left.x^2\right.")
    ),
    "wrapper": lambda q: (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        f"$Answer (without quotes) where $Answer is the answer to the problem.\n\n{q}\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    ),
    "sentences_around": lambda q: f"Here is an old puzzle of my uncle. {q} Explain each of your steps with care.",
    "first_words_cut": lambda q: " ".join(q.split()[12:]),
    "renamed_numbers": lambda q: re.sub(r"\d+", lambda found: str(int(found[0]) + 101), q),
    "reordered_sentences": lambda q: " ".join(reversed(re.findall(r"[^.]+\.", q))).strip(),
    "paraphrase": other_words,
}
# (kind, least recall of rows that are dropped, least recall of rows that are dropped or reported).
RECALL = [
    *((kind, 1.0, 1.0) for kind in PLANTS if kind not in ("renamed_numbers", "paraphrase")),
    ("renamed_numbers", 0.0, 1.0),
    ("paraphrase", 0.0, 0.0),
]


def of_texts(texts, file="eval.jsonl"):
    return [Question(file, number, said) for number, said in enumerate(texts, start=1)]


def found_by(options, evaluation, training):
    """Returns {training text: actions of its matches}."""
    actions = {}
    for match in Matcher(of_texts(evaluation), options).matches(training):
        actions.setdefault(match.text, set()).add(options.action(match.reason, match.score))
    return actions


def test_the_table_of_recall_has_all_nine_kinds():
    assert sorted(kind for kind, _, _ in RECALL) == sorted(PLANTS) and len(PLANTS) == 9


@pytest.mark.parametrize(("kind", "dropped", "found"), RECALL)
def test_recall_and_precision_of_a_planted_kind(kind, dropped, found):
    pytest.importorskip("datasketch")
    evaluation, clean = questions(40, seed=1), unlike(200)
    planted = [PLANTS[kind](question) for question in evaluation]
    assert all(a != b for a, b in zip(planted, evaluation, strict=True))
    actions = found_by(DecontaminationOptions(), evaluation, [*planted, *clean])
    hit = [text for text in actions if text < len(planted)]
    drops = [text for text in hit if "drop" in actions[text]]
    assert len(drops) >= dropped * len(planted)
    assert len(hit) >= found * len(planted)
    assert len(hit) == len(actions), "precision: a clean row was found"


def unlike(count):
    """Returns clean problems on other subjects, which share short phrases with the evaluation questions."""
    dice = random.Random(7)
    return [
        f"Find the least possible value of ${dice.randint(2, 99)}t$ such that a circle of radius {dice.randint(2, 99)} "
        f"and a line of slope ${dice.randint(2, 99)}$ meet. Point ${dice.choice('ABCD')}$ is on both. How many such "
        f"points are there for {dice.choice(NAMES)}, if every chord is longer than {dice.randint(2, 99)}?"
        for _ in range(count)
    ]


@pytest.mark.parametrize("wrapper", [wrapper for wrappers in text.WRAPPERS.values() for wrapper in wrappers])
def test_each_wrapper_is_removed(wrapper):
    for written_so in (f"{wrapper} Find $x$.", f"Find $x$. {wrapper.upper()}", f"Find $x$.\n{wrapper}\n"):
        assert text.words(written_so) == ["find", "x"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $2\,x+10\;y$.", "find 2x + 10y"),
        (r"Compute $\dfrac{1}{2}\quad$ now", r"compute \frac 1 2, NOW!"),
        (r"$\left(3,\,4\right)$ \text{cm}", "(3, 4) cm"),
        ("“Smart” quotes − and 10\u00a0km", '"smart" quotes - and 10 km'),
        ("Let's think step by step and output the final answer within \\boxed{}. What is 7?", "what is 7"),
        ("求解方程 x=1", "求 解 方 程 x 1"),
    ],
)
def test_words_do_not_depend_on_case_punctuation_and_spacing(one, other):
    assert text.words(one) == text.words(other)


def test_hashes_and_words_count_the_same_words():
    texts = ["", "a1b22", "Ünï cödé — 3½ café", r"\frac{12}{x_1}", "\x00 nul", "求解 x", *questions(5, 1)]
    hashed = hash_texts(texts)
    assert hashed.lengths().tolist() == [len(text.words(said)) for said in texts]
    assert len(set(hashed.hashes.tolist())) == len({word for said in texts for word in text.words(said)})


def test_the_hash_of_a_text_does_not_depend_on_its_batch():
    texts = questions(30, 3)
    together = hash_texts(texts).whole().hashes.tolist()
    assert together == [hash_texts([said]).whole().hashes[0] for said in texts]
    assert len(set(together)) == 30


def test_ngrams_do_not_cross_texts():
    found = {n: grams.inside()[1].tolist() for n, grams in hash_texts(["a b c", "d", "e f"]).ngrams(3)}
    assert found == {1: [0, 0, 0, 1, 2, 2], 2: [0, 0, 2], 3: [0]}


def test_an_index_counts_different_hashes_of_each_pair():
    first, second = hash_texts(["a b a b a b c"]), hash_texts(["a b a b", "c c", "d"])
    (_, known), (_, asked) = next(first.ngrams(1)), next(second.ngrams(1))
    assert HashIndex(*known.inside()).shared(asked).tolist() == [[0, 0, 2], [1, 0, 1]]


def test_nine_shared_words_are_clean_and_ten_are_contaminated():
    evaluation = ["one two three four five six seven eight nine ten eleven twelve"]
    nine, ten = (
        "x y one two three four five six seven eight nine z",
        "x one two three four five six seven eight nine ten",
    )
    (match,) = Matcher(of_texts(evaluation), NO_NEAR).matches([nine, ten])
    assert (match.text, match.reason) == (1, "ngram")
    assert match.shared == "one two three four five six seven eight nine ten"
    assert match.score == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("training", "found"),
    [
        ("what is 12+3", True),
        ("Warm-up. What is $12 + 3$? Show your work.", True),
        ("Please reason step by step, and put your final answer within \\boxed{}. What is 12 + 3?", True),
        ("What is 12 - 3?", False),
        ("What is 12 + 34?", False),
        ("What is 12 + 3 + 4?", False),
    ],
)
def test_a_short_question_is_compared_by_its_whole(training, found):
    matches = Matcher(of_texts(["What is $12+3$?"]), DecontaminationOptions(near_duplicates="off")).matches([training])
    assert [match.reason for match in matches if match.reason != "number_blind"] == ["short_text"] * found
    assert contains_question(training, "What is $12+3$?") == found


def test_a_very_short_question_matches_only_a_whole_text():
    assert contains_question("Find x", "find $x$") and not contains_question("Take a line. Find x.", "find $x$")


def test_the_longest_shared_run_is_named():
    evaluation = "a b c d e f g h i j k l"
    assert shared_words("b c d e z a b c d e f g z", evaluation, 4) == "a b c d e f g"
    assert shared_words("a b c", evaluation, 4) == ""


def test_odd_texts_are_checked_in_time():
    odd = ["", "?!", "\ud800 lone", "a\0b", "∫∑", "a " * 20_000, "[asy] " + "x " * 20_000, "١٢ x", "\\" * 100_000]
    start = time.process_time()
    matches = Matcher(of_texts(odd), NO_NEAR).matches(odd)
    assert {match.text for match in matches} >= {5, 6} and time.process_time() - start < 10
    assert text.words("٣x") == text.words("3 x")


def test_renamed_twins_differ_in_numbers_alone():
    assert are_renamed("What is $3+4$?", "what is 12+900")
    assert not are_renamed("What is $3+4$?", "what is 12-900")


def test_instructions_around_all_questions_are_no_evidence():
    instruction = "You see a riddle of our village and you must give the answer at the very end of the page."
    evaluation = [f"{instruction} {question}" for question in questions(20, 1)]
    matcher = Matcher(of_texts(evaluation), NO_NEAR)
    assert matcher.matches([f"{instruction} How many legs do nine spiders have together in the dark barn?"]) == []
    assert [match.question for match in matcher.matches([questions(20, 1)[4]])] == [4]
    assert matcher.boilerplate > 0


@pytest.mark.parametrize(
    "ending",
    [
        r"can be written as $\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$.",
        r"is $\frac{a\sqrt b}{c}$, where a, b and c are positive integers, and b is not divisible by the square of any "
        "prime. Find a+b+c.",
        "Express your answer as a common fraction in simplest radical form, with one digit after the point.",
        "Find the remainder when $N$ is divided by 1000. Enter your answer as a whole number between 0 and 999.",
        "[asy] size(100); draw((0,0)--(1,1)); label(A,a,N); label(B,b,SW); label(C,c,SE); [/asy]",
    ],
)
def test_the_form_of_an_answer_and_a_diagram_are_no_evidence(ending):
    (question,) = questions(1, 1)
    matcher = Matcher(of_texts([f"{question} {ending}"]), NO_NEAR)
    assert matcher.matches([f"How many legs do nine spiders have together in that dark barn of ours? {ending}"]) == []
    for training in (f"{question} {ending}", question, question[40:]):
        assert [match.reason for match in matcher.matches([training])] == ["ngram"]


def test_a_question_that_is_only_a_form_of_answer_is_still_found():
    only = (
        "Let x, y and z be positive real numbers such that the square of x is not divisible by the square of any prime."
    )
    assert Matcher(of_texts([only]), NO_NEAR).matches([only.upper()])


def test_own_words_are_aligned_with_the_hashed_words_and_fast():
    texts = ["", "Find x.", "求解 x_1 [asy] draw(a); [/asy] now", *questions(3, 1), "a b c d e " * 4_000]
    start = time.process_time()
    assert len(own_words(texts)) == len(hash_texts(texts).hashes)
    assert time.process_time() - start < 5
    assert own_words(["Find [asy] draw(a); [/asy] now"]).tolist() == [True, False, False, False, False, True]


def test_questions_made_of_a_template_alone_are_still_found():
    template = "The red, the green and the blue team of our school play a game of chess on day"
    matcher = Matcher(of_texts([f"{template} {day}" for day in "abcdefgh"]), NO_NEAR)
    assert matcher.matches([f"{template} a"])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_the_gate_lets_each_near_duplicate_through(threshold):
    """Also if the shared shingles are the commonest ones of the question."""
    dice = random.Random(3)
    known = [" ".join(dice.choices("abcdefgh", k=dice.randint(8, 40))) for _ in range(60)]
    asked = [" ".join(word if dice.random() < 0.9 else "z" for word in said.split()) for said in known * 5]
    ours, theirs = hash_texts(known), hash_texts(asked)
    passed = NearGate(ours, threshold, np.ones(len(known), bool)).candidates(theirs)
    sets = [[{tuple(said.split()[i : i + 3]) for i in range(len(said.split()) - 2)} for said in texts]
            for texts in (known, asked)]  # fmt: skip
    similar = {
        number
        for number, asked_of in enumerate(sets[1])
        if any(len(asked_of & one) >= threshold * len(asked_of | one) for one in sets[0])
    }
    assert similar and similar <= set(passed)


def test_copies_within_the_training_rows():
    copies = Copies(DecontaminationOptions())
    found = copies.of_batch(["Find $x + 2$.", "find x+2", "find x-2"], [("a", 1), ("a", 2), ("b", 1)])
    assert found[0] is None and found[2] is None
    assert (found[1].reason, found[1].file, found[1].row) == ("duplicate", "a", 1)


def test_near_copies_within_the_training_rows():
    pytest.importorskip("datasketch")
    first, other = questions(2, 5)
    changed = first.replace("Every row now has", "Every row then has")
    found = Copies(DecontaminationOptions(near_copies="report")).of_batch(
        [first, other, changed], [("a", row) for row in (1, 2, 3)]
    )
    assert found[:2] == [None, None]
    assert (found[2].reason, found[2].row) == ("near_copy", 1) and found[2].score > 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ngram": 1}, "ngram=1: expected 2 to 50 words"),
        ({"policy": "off"}, "policy='off': expected drop or report"),
        ({"near_duplicates": "yes"}, "near_duplicates='yes': expected drop, report, off"),
        ({"near_threshold": 0.0}, "near_threshold=0.0: expected a number above 0"),
        ({"ngram_share": 1.5}, "ngram_share=1.5: expected 0 to 1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DecontaminationOptions(**options)


ROWS = {
    "verl": {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Q?"}], "ability": "math"},
    "chat as text": {"prompt": '[{"role": "user", "content": "Q?"}]'},
    "sharegpt": {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]},
    "several turns": {"messages": [{"role": "user", "content": "Q?"}, {"role": "user", "content": "More?"}]},
    "stem": {"question": {"stem": "Q?", "choices": []}},
    "statement beside a prompt": {"prompt": "import math", "query": "Q?", "entry_point": "f"},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_question_of_a_row_is_found(tmp_path, row):
    (question,) = read_all([str(written(tmp_path / "rows.jsonl", [row]))])
    assert question.text == "Q?"


def test_a_row_without_a_question_names_its_fields_and_the_remedy(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"q": "Q?", "a": "1"}])
    with pytest.raises(ProblemFileError, match=r"row 1: no question in the fields \['a', 'q'\]: name .* with --field"):
        read_all([str(path)])
    assert read_all([str(path)], "q")[0].text == "Q?"


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_cell_keeps_the_strongest_examples_of_dropped_and_of_kept_rows():
    cell = Cell()
    for score in range(20):
        finding = {"reason": "ngram", "score": score / 20, "evaluation_row": score}
        cell.add([finding], dropped=score % 2 == 0, text="t")
    assert [round(example["score"] * 20) for example in cell.examples] == [18, 16, 14, 12, 10, 19, 17, 15, 13, 11]
    assert (cell.rows, cell.kept_rows, cell.strong_rows) == (20, 10, 10)


@pytest.fixture
def files(tmp_path):
    """Evaluation questions 1 to 10; training rows: two of them, a renamed twin, a copy of a clean row, clean rows."""
    evaluation, clean = [*questions(10, 1), DENSE], unlike(5)
    training = [evaluation[3].upper(), *clean, PLANTS["renamed_numbers"](DENSE), evaluation[7], clean[0]]
    return (
        written(tmp_path / "train.jsonl", [{"problem": said, "answer": "1"} for said in training]),
        written(tmp_path / "eval.jsonl", [{"question": said, "answer": "#### 1"} for said in evaluation]),
    )


def test_the_outputs_hold_each_training_row_once(files, tmp_path):
    train, evaluation = files
    report = decontaminate([str(train)], [str(evaluation)], tmp_path / "out", NO_NEAR)
    kept, dropped, reported = (lines(tmp_path / "out" / f"{name}.jsonl") for name in ("kept", "dropped", "reported"))
    rows = lines(train)
    assert kept == rows[1:7] + rows[8:]
    assert [(d["row"], d["evaluation_row"], d["reason"]) for d in dropped] == [(1, 4, "ngram"), (8, 8, "ngram")]
    assert [d["training"] for d in dropped] == [rows[0], rows[7]]
    assert dropped[0]["file"] == str(train) and dropped[0]["evaluation_file"] == str(evaluation)
    assert dropped[0]["shared_words"] == " ".join(text.words(rows[0]["problem"]))
    assert [(r["row"], r["reason"]) for r in reported] == [(7, "number_blind"), (9, "duplicate")]
    assert (report["rows"], report["kept"], report["dropped"], report["reported"]) == (9, 7, 2, 2)
    (cell,) = report["matrix"]
    assert (cell["rows"], cell["strong_rows"], cell["kept_rows"], cell["evaluation_rows"]) == (3, 3, 1, 3)
    assert cell["reasons"] == {"ngram": 2, "number_blind": 1}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert not list((tmp_path / "out").glob("*.partial"))


def test_the_policy_report_keeps_all_rows(files, tmp_path):
    options = DecontaminationOptions(policy="report", near_duplicates="off", duplicates="drop")
    report = decontaminate([str(files[0])], [str(files[1])], tmp_path / "out", options)
    assert lines(tmp_path / "out" / "kept.jsonl") == lines(files[0])
    assert (report["dropped"], report["reported"]) == (0, 4)


def test_rows_with_a_small_share_of_a_question_are_reported(tmp_path):
    evaluation = questions(1, 1)
    train = written(tmp_path / "t.jsonl", [{"problem": "Once. " + " ".join(evaluation[0].split()[:14])}])
    options = DecontaminationOptions(near_duplicates="off", ngram_share=0.5)
    report = decontaminate(
        [str(train)], [str(written(tmp_path / "e.jsonl", [{"problem": evaluation[0]}]))], tmp_path, options
    )
    assert (report["dropped"], report["reported"]) == (0, 1)


def test_texts_with_a_canary_are_in_no_report(files, tmp_path):
    evaluation = written(tmp_path / "secret.jsonl", [{**row, "Canary String": "x"} for row in lines(files[1])])
    report = decontaminate([str(files[0])], [str(evaluation)], tmp_path / "out", NO_NEAR)
    assert report["dropped"] == 2
    secret = text.words(lines(files[1])[3]["question"])[3:9]
    assert " ".join(secret) not in " ".join(text.words(json.dumps(report)))
    assert all(line["shared_words"] == "(withheld)" for line in lines(tmp_path / "out" / "dropped.jsonl"))


def test_the_command_takes_several_files_and_writes_the_page(files, tmp_path):
    train, evaluation = files
    second = written(tmp_path / "more.jsonl", [{"problem": said} for said in unlike(9)[5:]])
    arguments = ["--train", train, second, "--eval", evaluation, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, ["decontaminate", *map(str, arguments), "--near-duplicates", "off"])
    assert done.exit_code == 0, done.output
    assert "2 of 13 training rows were dropped, 2 were kept and reported" in done.output
    assert (
        "train.jsonl x" in done.output and "3 (33.33%) rows match, 3 strongly; 3 of 11 questions found" in done.output
    )
    page = (tmp_path / "out" / "leakage.html").read_text()
    assert "3\u00a0(33.33%)" in page and "more.jsonl" in page and "number-blind" in page
    names = {"kept.jsonl", "dropped.jsonl", "reported.jsonl", "report.json", "leakage.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


def test_the_command_names_a_bad_option_and_a_missing_file(files, tmp_path):
    for arguments, message in (
        (["--train", str(files[0]), "--eval", str(files[1]), "--ngram", "1"], "ngram=1"),
        (["--train", "missing.jsonl", "--eval", str(files[1])], "no such file"),
        (["--train", str(files[0]), str(files[0]), "--eval", str(files[1])], "listed 2 times"),
    ):
        options = ["--output", str(tmp_path / "out"), "--near-duplicates", "off"]
        done = CliRunner().invoke(app, ["decontaminate", *arguments, *options])
        assert done.exit_code == 2 and message in done.output
