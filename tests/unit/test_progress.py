"""Progress without a terminal: plain lines at the start, in between and at the end."""

import io
import time

import pytest
from rich.console import Console
from rich.text import Text

from vt_ray import progress


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def printed(monkeypatch, terminal=False):
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, width=40, force_terminal=terminal))
    return file


def work(clock, total, seconds_each, done=0):
    with progress.bar("sft", total, done) as advance:
        for step in range(done, total):
            clock.now += seconds_each
            advance(f"loss {step + 1}", 1)


def counts(file):
    return [line.split()[1] for line in file.getvalue().splitlines()]


def test_a_short_phase_has_its_first_and_last_line(monkeypatch, clock):
    file = printed(monkeypatch)
    work(clock, 20, 0.5)
    first, last = file.getvalue().splitlines()
    assert first.split() == ["sft", "1/20", "2.0/s", "ETA", "0:09", "loss", "1"]
    assert last.split() == ["sft", "20/20", "2.0/s", "took", "0:10", "loss", "20"]


def test_lines_on_the_way_are_half_a_minute_and_a_tenth_apart(monkeypatch, clock):
    file = printed(monkeypatch)
    work(clock, 100, 1.0)
    assert counts(file) == ["1/100", "31/100", "61/100", "91/100", "100/100"]
    file = printed(monkeypatch)
    work(clock, 100, 10.0)
    assert counts(file) == [f"{n}/100" for n in (1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100)]


def test_no_phase_is_silent_for_long(monkeypatch, clock):
    file = printed(monkeypatch)
    work(clock, 100, 300.0)
    assert counts(file)[:3] == ["1/100", "3/100", "5/100"]


def test_a_resumed_phase_counts_from_where_it_stood(monkeypatch, clock):
    file = printed(monkeypatch)
    work(clock, 12, 1.0, done=10)
    assert [line.split()[:5] for line in file.getvalue().splitlines()] == [
        ["sft", "11/12", "1.0/s", "ETA", "0:01"],
        ["sft", "12/12", "1.0/s", "took", "0:02"],
    ]


def test_work_that_fails_leaves_how_far_it_came(monkeypatch, clock):
    file = printed(monkeypatch)
    with pytest.raises(RuntimeError), progress.bar("probe", 10) as advance:
        advance("[a]", 1)
        advance("[b]", 2)
        raise RuntimeError
    assert counts(file) == ["1/10", "3/10"]
    assert "[b]" in file.getvalue()


def test_a_terminal_still_has_a_bar(monkeypatch):
    file = printed(monkeypatch, terminal=True)
    with progress.bar("sft", 2) as advance:
        advance("a", 1)
        advance("b", 1)
    assert "━" in file.getvalue() and "2/2" in file.getvalue()


def test_work_that_ends_early_without_an_error_is_over(monkeypatch, clock):
    file = printed(monkeypatch)
    with progress.bar("short", 10) as advance:
        for step in (1, 2, 3):
            clock.now += 2.0
            advance(f"reward {step}", 1)
    first, last = file.getvalue().splitlines()
    assert "1/10" in first and "ETA" in first
    assert last.split() == ["short", "3/10", "0.5/s", "took", "0:06", "reward", "3"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_panel_stands_below_the_bar_while_it_moves(monkeypatch, width):
    screen = Console(file=io.StringIO(), width=width, force_terminal=True)
    monkeypatch.setattr(progress, "console", screen)
    with progress.bar("short", 2) as advance:
        advance("[note]", 1, Text("figures of the step"))
        while "figures" not in screen.file.getvalue():
            time.sleep(0.05)
        moving = screen.file.getvalue()
    assert moving.index("1/2") < moving.index("figures of the step")
    assert "[note]" in moving
    # The finished bar is drawn once more, without the panel.
    last = screen.file.getvalue()[screen.file.getvalue().rindex("short") :]
    assert "took" in last and "figures" not in last


def test_a_log_has_no_panel(monkeypatch, clock):
    file = printed(monkeypatch)
    with progress.bar("short", 1) as advance:
        advance("", 1, Text("figures of the step"))
    assert "1/1" in file.getvalue() and "figures" not in file.getvalue()
