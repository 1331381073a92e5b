"""The panel of the last step, at two widths, with complete and incomplete lines."""

import io

import pytest
import test_loop
import test_pipelined
from rich.console import Console
from rich.progress import Progress
from synthetic_run import signal_figures

from vt_ray import progress
from vt_ray.progress import short_rate
from vt_ray.report.watch.stage_bar import stage_bar
from vt_ray.report.watch.step_panel import StepPanel, figures, histogram_blocks, time_split

SECONDS = {"generate": 6.0, "verify": 1.0, "update": 2.0, "sync": 0.5, "rest": 0.5, "total": 10.0}


def shown(line, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(StepPanel(line))
    return console.file.getvalue()


def test_blocks_are_as_high_as_their_share_of_the_highest():
    assert histogram_blocks([8, 4, 0, 1]) == "█▄·▁"
    assert histogram_blocks([0, 0, 0]) == "···"
    # One of a thousand is still visible.
    assert histogram_blocks([1, 1000]) == "▁█"


def test_large_groups_keep_both_ends_apart():
    """33 bins: the 31 inner bins are joined by threes."""
    blocks = histogram_blocks([9, *[1] * 31, 3])
    assert len(blocks) == 2 + 11
    assert (blocks[0], blocks[1], blocks[-2], blocks[-1]) == ("█", "▃", "▁", "▃")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_panel_keeps_to_its_width_and_loses_no_figure(width):
    line = {"seconds": SECONDS, "p_c_histogram": [1] * 17, "no_signal_share": 0.25, **signal_figures(0.5)}
    lines = shown(line, width).splitlines()
    assert max(map(len, lines)) <= width
    for name, value in figures(line):
        assert any(f"{name} {value}" in text for text in lines)


def test_the_bar_of_the_times_is_split_by_them():
    """width 113: the step takes 13 and the figures 58, which leaves 42 cells to 6, 1, 2, 0.5 and 0.5 of 10 seconds:
    they end at 25.2, 29.4, 37.8, 39.9 and 42."""
    first = time_split({"seconds": SECONDS}, 113)
    assert first.plain.startswith("step 10.0 s  ━")
    assert first.plain.endswith("━  generate 6.0  verify 1.0  update 2.0  sync 0.5  rest 0.5")
    cells = [span.end - span.start for span in first.spans if set(first.plain[span.start : span.end]) == {"━"}]
    assert cells == [25, 4, 9, 2, 2]


def test_a_pipelined_step_waits_and_verifies_nothing():
    first = shown({"seconds": {**SECONDS, "verify": 0.0}}, 120).splitlines()[0]
    assert "waiting 6.0" in first and "verify" not in first and "generate" not in first


def test_an_older_line_shows_the_figures_it_has():
    found = dict(figures({"entropy": 0.5, "truncated_share": None, "sync": {"logprob_gap": 1e-6}}))
    assert found == {"entropy": "0.500"}
    assert "no times recorded" in shown({}, 80)


def test_on_policy_says_nothing_of_staleness():
    assert "stale" not in dict(figures({"staleness_mean": 0.0, "staleness_max": 0}))
    assert dict(figures({"staleness_mean": 0.75, "staleness_max": 2}))["stale"] == "0.8 max 2"


def test_rates():
    assert [short_rate(v) for v in (812.4, 5210, 1.34e6, None, float("nan"))] == ["812", "5.2k", "1.3M", "–", "–"]


@pytest.mark.parametrize(("loop", "waits"), [(test_loop, False), (test_pipelined, True)])
def test_a_stage_shows_its_last_step_below_its_bar(monkeypatch, tmp_path, loop, waits):
    """Through the training loop with stand-in actors: the lines have the figures of real steps."""
    screen = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "console", screen)
    monkeypatch.setattr(test_loop, "no_display", stage_bar)
    # Each note is drawn, even if the steps are fast.
    monkeypatch.setattr(progress._Bar, "update", lambda bar, *args, **values: drawn(bar, *args, **values))
    loop.train(tmp_path, loop.World())
    shown = screen.file.getvalue()
    assert "reward 0." in shown and "tok/s" in shown
    for name in ("p_c ", "no signal ", "truncated ", "entropy ", "KL rollout ", "sync ", "update "):
        assert name in shown
    assert ("waiting " in shown) is waits


def drawn(bar, *args, **values):
    Progress.update(bar, *args, **values)
    bar.refresh()
