import json
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from synthetic_run import ATTACK, synthetic_run, write_lines, write_rl, write_summary

from vt_ray.report.run_page.report import write_report
from vt_ray.report.run_page.sections import SECTIONS, run_sections
from vt_ray.report.run_record import read_run


class Page(HTMLParser):
    """The page as a browser reads it: tags, ids, text outside scripts and styles, rows of tables."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data
        if self._inside in ("td", "th"):
            self.rows[-1][-1] += data.replace("\u00a0", " ").replace("\u2011", "-")

    @property
    def ids(self):
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    @property
    def charts(self):
        return {i for i in self.ids if i.startswith("chart-")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("runs") / "lambda-one")


@pytest.fixture(scope="module")
def page(finished):
    return Page(write_report(finished).read_text())


def test_every_section_is_there_with_its_charts(page):
    charts = {"milestones": 1, "subdomains": 2, "sft": 1, "probe": 2, "rl": 19, "difficulty": 1, "time": 2}
    charts["machines"] = 9
    keys = {"findings", "verify", "recoveries", "decontamination", "cost", "samples", "prompt", "identity", *charts}
    keys |= {"data", "fusion"}
    assert keys <= page.ids
    # Rejection sampling and self-distillation are no phases of this run.
    assert len(SECTIONS) == len(keys) + 2
    assert page.charts == {f"chart-{key}-{i}" for key, count in charts.items() for i in range(count)}
    assert "There is no" not in page.text


def test_headline_and_identity(page):
    assert "From base to code, Pass@1 on 200 held-out problems rose from 5.0% to 56.4%" in page.text
    assert "changed Pass@1 by +8.0 [+5.0, +11.0] points." in page.text
    for fact in ("0123456789ab", "0.1.0", "vt-ray experiment=tiny signal.mgpo.lam=1.0", "lam: 1.0"):
        assert fact in page.text
    assert "/somewhere" not in page.text


def test_findings_are_said_twice_where_seen(page):
    assert page.text.count("The share of truncated answers climbed within a stage") == 2
    assert "known signs of a failing run were seen" in page.text


def test_the_page_fetches_nothing(page):
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), tag
        assert tag not in {"link", "iframe", "img", "base", "object"}
    assert ("meta", "default-src 'none'") in {
        (tag, (attributes.get("content") or "").partition(";")[0]) for tag, attributes in page.tags
    }


def test_plotly_is_inlined_once(page):
    library, rollouts, calls, search = page.scripts
    assert len(library) > 10**6 > max(len(calls), len(rollouts), len(search))
    assert {f'"{chart}"' for chart in page.charts} == set(re.findall(r'Plotly\.newPlot\(("[^"]+")', calls))


def test_model_text_is_shown_and_never_acts(page):
    assert f"{ATTACK} & <b>bold</b>" in page.text
    library, rollouts, calls, search = page.scripts
    assert not any("alert(1)" in script for script in (library, calls, search))
    assert "alert(1)" in rollouts and "<" not in rollouts


def test_only_scripts_with_the_pages_mark_run(page):
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "content" in a and "nonce" in a["content"])
    nonce = re.search(r"script-src 'nonce-([\w-]+)';", policy)[1]
    assert [a.get("nonce") for tag, a in page.tags if tag == "script" and a.get("type") is None] == [nonce] * 3
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_characters_that_act_are_shown(page):
    # The worst answer of a stage is the attack; the hostile answer is in the sample for the search.
    hostile = next(r for r in json.loads(page.scripts[1]) if r["question_id"] == "algebra-6")
    assert "\u241b[2J \u2400 [U+202E]right to left" in hostile["text"]
    assert hostile["text"].startswith("</pre></script></textarea><script>document.title='acted'</script>")


def test_the_search_carries_a_bounded_sample_and_says_so(page):
    rollouts = json.loads(page.scripts[1])
    # Two files per stage: five of seven rollouts and one of one.
    assert len(rollouts) == 3 * (7 + 1)
    assert {r["step"] for r in rollouts} == {1, 12}
    assert "The page contains 24 rollouts" in page.text
    assert "at most 480,\n    with at most 1,000,000 characters" in page.text


def test_costs_have_hours_and_money(page):
    assert ["phase", "wall time", "CPU-h", "GPU-h", "EUR", "tokens", "tokens/s", "steps", "ended by"] in page.rows
    # 900 s of 18 cores and 3 GPUs, at 2 EUR per GPU-hour.
    ended = ["12 of 20 steps", "target: probe accuracy 0.812 reached 0.8"]
    assert ["rl math_short", "15 min 00 s", "4.50", "0.750", "1.50", "1,000,000", "1,111", *ended] in page.rows
    assert ["total", "30 min 00 s", "9.00", "1.50", "3.00", "3,000,000", "1,667", "", ""] in page.rows
    assert "all 18 CPU cores" in page.text and "3 GPUs that its actors held" in page.text
    assert "Prices: 2 EUR for a GPU-hour." in page.text


def test_a_stage_that_its_gate_has_ended_says_so(page):
    assert "math_short (12 of 20 steps, target: probe accuracy 0.812 reached 0.8), math_long (12 steps)" in page.text
    assert '"text":"target"' in page.scripts[2]


def test_replaced_actors_are_listed(page, tmp_path):
    assert ["generator_1", "2025-01-02 03:04:05", "ActorDiedError", "math_short step 3"] in page.rows
    root = synthetic_run(tmp_path / "run")
    (root / "recoveries.jsonl").write_text("")
    assert "No actor was lost" in Page(write_report(root).read_text()).text
    (root / "recoveries.jsonl").unlink()
    assert "has not recorded the actors that were lost" in Page(write_report(root).read_text()).text


NEW = ("generated_tokens_per_second", "updated_tokens_per_second", "staleness_mean", "importance_capped_share",
       "replaced_groups", "probe_accuracy", "clip_share", "entropy_q1", "entropy_q4",
       "high_covariance_share")  # fmt: skip


def test_an_older_run_has_the_charts_of_its_figures(tmp_path):
    root = synthetic_run(tmp_path / "run")
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["sync"] = {"bytes": 1, "logprob_gap": 1e-6}
    write_lines(root / "metrics.jsonl", [{k: v for k, v in line.items() if k not in NEW} for line in lines])
    summary = json.loads((root / "summary.json").read_text())
    del summary["stages"]
    (root / "summary.json").write_text(json.dumps(summary))
    shutil.rmtree(root / "rl")
    old = Page(write_report(root).read_text())
    assert len([chart for chart in old.charts if chart.startswith("chart-rl-")]) == 8
    assert ["phase", "wall time", "CPU-h", "GPU-h", "EUR", "tokens", "tokens/s"] in old.rows


def test_metrics_that_are_always_zero_have_no_chart(tmp_path):
    """On-policy: no staleness, no capped ratio, no replaced group; the clipped share is drawn even at zero."""
    root = synthetic_run(tmp_path / "run")
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    still = dict.fromkeys(("staleness_mean", "importance_capped_share", "replaced_groups", "clip_share"), 0)
    write_lines(root / "metrics.jsonl", [{**line, **still} for line in lines])
    calls = Page(write_report(root).read_text()).scripts[2]
    assert "Share of clipped tokens" in calls
    assert not any(title in calls for title in ("Staleness", "capped importance", "replaced by fresh"))


def test_a_pipelined_run_explains_its_times(tmp_path):
    root = synthetic_run(tmp_path / "run")
    (root / "config.yaml").write_text("signal: {schedule: pipelined}\ncurriculum: {stages: []}\n")
    assert "the time that a step waited for its completions" in Page(write_report(root).read_text()).text


def test_before_and_after_by_subdomain_are_paired(page):
    header = ["subdomain", "base, %", "fused, %", "code, %", "base to code, points", "fused to code, points"]
    found = page.rows[page.rows.index(header) + 1]
    # Four of ten questions have one correct answer less: (6 x 6 + 4 x 5) / 80 at the end, 0 at first, 3 less at fused.
    assert found[0] == "algebra" and found[4].startswith("+70.0 [+6")
    # Ten questions that changed by the same amount: by the rule of three, 3 of 10 may change differently.
    assert found[5] == "+37.5 [+7.5, +67.5]"
    assert "Pass@1 with 95% intervals at base, fused and code." in page.text


def test_generators_have_a_row_each_and_older_runs_none(page, tmp_path):
    row = ["90.5", "0.0", "90.0%", "72", "75.0%", "2,600", "60.5"]
    assert ["generator_0", *row] in page.rows
    assert ["generator_1", *row[:4], "–", *row[5:]] in page.rows
    root = synthetic_run(tmp_path / "run")
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["generators"], line["generation"], line["mfu"]
    write_lines(root / "metrics.jsonl", lines)
    old = Page(write_report(root).read_text())
    assert "has not recorded the counters of the engines" in old.text
    assert len([chart for chart in old.charts if chart.startswith("chart-machines-")]) == 2


def test_how_busy_actors_were_is_drawn_where_it_is_known(page, tmp_path):
    assert '"generator_0  60%"' in page.scripts[2]
    root = synthetic_run(tmp_path / "run")
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    write_lines(root / "metrics.jsonl", [{k: v for k, v in line.items() if k != "busy"} for line in lines])
    old = Page(write_report(root).read_text())
    assert "chart-time-1" not in old.charts
    assert "has not recorded the busy share" in old.text


def test_names_of_milestones_cannot_close_a_script(tmp_path):
    stage = f"</script>{ATTACK}"
    root = synthetic_run(tmp_path / "run", stages=())
    write_summary(root, ["base", "fused", stage])
    write_rl(root, [stage], 6, random.Random(0))
    hostile = Page(write_report(root).read_text())
    assert stage in hostile.text
    assert not any(script.startswith("alert(1)") for script in hostile.scripts)


def test_rollouts_are_of_the_last_step(page):
    assert "Divide both sides by 2." in page.text
    assert "no verdict here" in page.text
    assert "an unlikely way to it" in page.text
    assert "6 is common" not in page.text
    assert "of an earlier step" not in page.text


FILES = ["run.json", "config.yaml", "summary.json", "sft", "probe", "metrics.jsonl", "rollouts"]


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_drops_its_part(finished, tmp_path, missing):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    path = root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "samples" in Page(write_report(root).read_text()).ids


def test_an_empty_folder_names_its_missing_files(tmp_path):
    empty = Page(write_report(tmp_path).read_text())
    assert not empty.charts
    assert len([i for i in empty.ids if i != "identity"]) >= 9
    for sentence in (
        "No milestone of this run has been evaluated yet.",
        "There is no summary.json yet",
        "There is no sft/metrics.jsonl",
        "There is no probe/probe.json",
        "no stage has started",
        "There are no rollout files",
        "There is no run.json",
    ):
        assert sentence in empty.text


def test_torn_files_read_as_missing(finished, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    (root / "summary.json").write_text('{"milestones": [')
    with (root / "metrics.jsonl").open("a") as lines:
        lines.write('{"phase": "rl", "stage": "co')
    for file in (root / "rollouts").rglob("*.parquet"):
        file.write_bytes(b"PAR1")
    torn = Page(write_report(root).read_text())
    assert "There is no summary.json yet" in torn.text
    assert "There are no rollout files" in torn.text
    assert "chart-rl-0" in torn.charts


def test_a_run_that_has_just_begun(tmp_path):
    root = synthetic_run(tmp_path / "run", stages=("math",), steps=1)
    write_summary(root, ["base"])
    line = {
        "phase": "rl",
        "stage": "math",
        "step": 1,
        "reward_mean": None,
        "entropy": float("nan"),
        "sync": None,
    }
    write_lines(root / "metrics.jsonl", [line])
    begun = Page(write_report(root).read_text())
    assert "no later milestone has been evaluated" in begun.text
    assert "No RL step has recorded its time." in begun.text


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of a run"):
        write_report(tmp_path / "nowhere")


def test_importing_loads_nothing_heavy():
    heavy = ["ray", "vllm", "deepspeed", "torch", "transformers", "plotly", "jinja2"]
    modules = "vt_ray.report.run_page.report, vt_ray.report.tables, vt_ray.report.diagnosis.signatures"
    modules += ", vt_ray.evaluation.statistics"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fusion_section_has_the_specialists_and_the_decision_of_the_gate(tmp_path):
    section = next(s for s in run_sections(read_run(synthetic_run(tmp_path / "run"))) if s.key == "fusion")
    assert section.text == [
        "Fusion lost Pass@8: the run goes on with the best specialist. Pass@8 on 40 probing problems is 40.0% for the "
        "fused model and 50.0% for the best specialist, step_000120: a difference of -10.0 [-15.0, -5.0] points."
    ]
    assert section.tables[0].rows == [["subdomain", "specialist", "weight"], ["algebra", "step_000120", "100.0%"]]
