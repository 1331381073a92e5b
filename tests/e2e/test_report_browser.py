"""report.html in a real browser, with the widths of a desktop and of a phone, and without network.

wrapper page --iframe of the width--> report with an observer script --postMessage--> wrapper's DOM --dump--> test
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from synthetic_run import HOSTILE, synthetic_run

from vt_ray.report.run_page.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]

WIDTHS = (1280, 390)
# The proxy is a closed port: a page that fetches anything reports an error.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--proxy-server=127.0.0.1:9", "--virtual-time-budget=5000"]
OBSERVER = """
const seen = {errors: [], blocked: []};
addEventListener("error", (e) => seen.errors.push(e.message || `not loaded: ${e.target.outerHTML}`), true);
addEventListener("unhandledrejection", (e) => seen.errors.push(String(e.reason)));
addEventListener("securitypolicyviolation", (e) => seen.blocked.push(`${e.violatedDirective} ${e.sourceFile}`));
const pane = (side) => {
  const root = document.getElementById(`search-${side}`);
  return root && {
    asked: root.querySelector("input").value,
    count: root.querySelector(".count").textContent,
    verdicts: [...root.querySelectorAll(".badge")].map((b) => b.textContent),
    answers: [...root.querySelectorAll("pre:last-child")].map((p) => p.textContent),
  };
};
const type = (side, words) => {
  const input = document.querySelector(`#search-${side} input`);
  input.value = words;
  input.dispatchEvent(new Event("input"));
};
const report = () => {
  const charts = [...document.querySelectorAll(".chart")];
  seen.drawn = charts.filter((c) => c.querySelector("svg.main-svg .plot, svg.main-svg .cartesianlayer path")).length;
  seen.charts = charts.length;
  seen.too_wide = charts.filter((c) => c.querySelector("svg").getBoundingClientRect().right > innerWidth).length;
  seen.width = innerWidth;
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.fetched = performance.getEntriesByType("resource").map((r) => r.name);
  seen.from_address = pane("left");
  type("left", "  ALGEBRA   unlikely ");
  seen.typed = pane("left");
  type("right", "right to left");
  seen.hostile = pane("right");
  type("right", "no such words");
  seen.nothing = pane("right");
  const [a, b] = document.querySelectorAll(".card");
  seen.side_by_side = a.getBoundingClientRect().top === b.getBoundingClientRect().top;
  seen.title = document.title;
  parent.postMessage(JSON.stringify(seen), "*");
};
addEventListener("load", () => setTimeout(report, 1000));
"""
WRAPPER = """<!doctype html><iframe src="{page}#left=wrong+algebra" width="{width}" height="900"></iframe>
<pre id="seen"></pre>
<script>addEventListener("message", (e) => (document.getElementById("seen").textContent = e.data));</script>"""


def open_in_browser(page: str, width: int, folder: Path) -> dict:
    """Opens `page` in a frame of `width` pixels. Returns what the script in it has observed."""
    nonce = re.search(r"nonce-([\w-]+)", page)[1]
    probed = page.replace("<title>", f'<script nonce="{nonce}">{OBSERVER}</script><title>', 1)
    folder.mkdir()
    (folder / "page.html").write_text(probed)
    (folder / "wrapper.html").write_text(WRAPPER.format(page="page.html", width=width))
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder}/profile", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run([*command, str(folder / "wrapper.html")], capture_output=True, text=True, timeout=300)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen and seen[1], f"the page did not answer: {done.stderr[-2000:]}"
    return json.loads(unescape(seen[1]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(synthetic_run(tmp_path_factory.mktemp("runs") / "run")).read_text()


@pytest.fixture(scope="module", params=WIDTHS)
def seen(request, page, tmp_path_factory):
    return open_in_browser(page, request.param, tmp_path_factory.mktemp("browser") / "at")


def test_every_chart_is_drawn_and_nothing_fails(seen):
    assert seen["errors"] == []
    assert seen["charts"] == seen["drawn"] == 37


def test_nothing_reaches_over_the_edge(seen):
    assert seen["width"] in WIDTHS
    assert seen["overflow"] == 0
    assert seen["too_wide"] == 0


def test_rollouts_stand_side_by_side_where_there_is_room(seen):
    assert seen["side_by_side"] is (seen["width"] == 1280)


def test_nothing_is_fetched(seen):
    assert seen["fetched"] == []
    assert seen["blocked"] == []


def test_search_finds_what_was_asked_in_the_address_and_what_is_typed(seen):
    address, typed, nothing = seen["from_address"], seen["typed"], seen["nothing"]
    # Three wrong answers in each of three stages; one of the three has both typed words.
    assert (address["asked"], address["count"]) == ("wrong algebra", "9 of 24")
    assert address["verdicts"] == ["wrong"] * 9
    assert typed["count"] == "3 of 24"
    assert typed["answers"] == ["an unlikely way to it"] * 3
    assert (nothing["count"], nothing["answers"]) == ("0 of 24", [])


def test_hostile_text_shows_and_does_not_act(seen):
    assert seen["title"] == "lambda-one: vt_ray report"
    assert len(seen["hostile"]["answers"]) == 3
    shown = HOSTILE.replace("\x1b", "\u241b").replace("\x00", "\u2400").replace("\u202e", "[U+202E]")
    assert set(seen["hostile"]["answers"]) == {shown}


def test_unescaped_text_would_be_blocked_and_reported(page, tmp_path):
    """Hostile text as HTML is blocked by the page's policy, and a box wider than the screen is reported."""
    slipped = page.replace("<h1>", f'<div style="width: 3000px">{HOSTILE}--></script></div><h1>', 1)
    assert slipped != page
    seen = open_in_browser(slipped, 390, tmp_path / "at")
    assert seen["title"] == "lambda-one: vt_ray report"
    assert any(blocked.startswith("script-src") for blocked in seen["blocked"])
    assert seen["overflow"] > 2000
