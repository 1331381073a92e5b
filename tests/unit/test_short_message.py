"""The message of a failed run: the error itself, without the tracebacks in the text of Ray's errors."""

from vt_ray.main import short_message


def test_the_message_of_our_own_error_is_put_on_one_line():
    assert short_message(ValueError("lam=-1:\n  must be >= 0\n")) == "ValueError: lam=-1: must be >= 0"


def test_the_error_of_an_actors_method_is_its_cause():
    class TaskError(Exception):
        cause = OSError("no space left")

    assert short_message(TaskError("Traceback (most recent call last): ...")) == "OSError: no space left"


def test_the_error_of_an_actors_start_is_the_last_line_of_its_traceback():
    text = (
        "The actor died in its creation task, Traceback (most recent call last):\n  File 'x', line 1\nKeyError: 'a'\n"
    )
    assert short_message(RuntimeError(text)) == "RuntimeError: KeyError: 'a'"


def test_long_text_is_cut():
    assert len(short_message(ValueError("word " * 1000))) <= 600


def test_an_error_without_a_message_has_its_class_name():
    assert short_message(TimeoutError()) == "TimeoutError:"


def test_a_full_disk_is_recognized_by_its_text():
    error = RuntimeError('Error while serializing: I/O error: Os { code: 28, message: "No space left on device" }')
    assert short_message(error).startswith("the disk is full (no space left)")


def test_a_full_disk_is_reported_with_the_remedy():
    found = short_message(OSError(28, "No space left on device", "runs/demo/metrics.jsonl"))
    assert found.startswith("the disk is full (runs/demo/metrics.jsonl)") and "keep_checkpoints" in found
