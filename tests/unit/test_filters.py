"""The offline filter: questions with a signal under the stage's start model."""

from vt_ray.algorithms.filters import split_by_signal
from vt_ray.records import GradedGroup, Verdict

STATUS = {"+": "correct", "-": "wrong", "?": "unverified"}


def group(question_id, marks, **options):
    count = len(marks)
    cut = options.pop("cut", (False,) * count)
    return GradedGroup(
        question_id, "s", tuple(Verdict(STATUS[m]) for m in marks), 1, (3,) * count, cut, None, **options
    )


def test_questions_with_correct_and_wrong_completions_are_kept():
    groups = [group("a", "++-"), group("b", "+++"), group("c", "---"), group("d", "???"), group("e", "+?-")]
    kept, dropped = split_by_signal(groups)
    assert kept == ["a", "e"]
    assert dropped == {"b": "always solved", "c": "never solved", "d": "without a verdict"}


def test_invalid_completions_are_not_counted():
    masked = group("m", "+-", cut=(False, True), mask_truncated=True)
    assert split_by_signal([group("a", "++?"), masked]) == ([], {"a": "always solved", "m": "always solved"})
