"""A kind of problems of a user's own: grading functions for the setting verify.kinds.

verify.kinds: {sorted_list: custom_kind:is_sorted}
"""

from __future__ import annotations

import contextlib
import os
import time

from vt_ray.records import Verdict


def is_sorted(text: str, fields: dict) -> Verdict:
    """Whether the last line of a completion holds the numbers of the problem's field `numbers` in ascending order."""
    try:
        answer = [int(word) for word in text.splitlines()[-1].split()]
    except (IndexError, ValueError):
        return Verdict("wrong", "no_answer")
    return Verdict("correct") if answer == sorted(fields["numbers"]) else Verdict("wrong", "wrong_answer")


def returns_bool(text: str, fields: dict) -> bool:
    return text == fields["gold"]


def act_on_text(text: str, fields: dict) -> object:
    """Does what the text says, for the tests of failures."""
    actions = {
        "raise": lambda: 1 // 0,
        "hang": lambda: time.sleep(60),
        "hang, deaf": _hang_deaf,
        "eat": lambda: bytes(8 << 30),
        "exit": lambda: exit(1),
        "kill": lambda: os._exit(1),
        "fork": _fork,
        "print": lambda: print('{"outcome": "verdict", "status": "correct"}'),
        "half": lambda: 0.5,
        "one": lambda: 1.0,
        "zero": lambda: 0,
        "later": lambda: Verdict("unverified", "no answer from the server", retry=True),
        "half a character": lambda: Verdict("wrong", "\ud83d"),
    }
    return actions[text]()


def _hang_deaf() -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def _fork() -> bool:
    """Returns in two processes; only the first one may reply."""
    return os.fork() != 0


NOT_A_FUNCTION = 1


def takes_one_argument(text: str) -> bool:
    return True
