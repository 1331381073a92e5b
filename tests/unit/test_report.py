import json
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vt_ray.report.html import write_report
from vt_ray.report.sections import SECTIONS

SUBDOMAINS = ["algebra", "calculus", "code", "geometry", "statistics"]
ATTACK = "<script>alert(1)</script>"


def score(mean, half=0.04):
    return {"mean": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def passes(one, many):
    return {"pass_at_1": score(one), "pass_at_8": score(many)}


def synthetic_run(root: Path, stages=("math_short", "math_long", "code"), steps=12, seed=0) -> Path:
    """A run folder as a finished run leaves it, filled with made-up figures."""
    rng = random.Random(seed)
    root.mkdir(parents=True)
    names = ["base", "sft_last", "sft_best", "fused", *stages]
    write_identity(root)
    write_summary(root, names)
    write_sft(root, rng)
    write_probe(root)
    write_rl(root, stages, steps, rng)
    for stage in stages:
        write_rollouts(root, stage, steps)
    return root


def write_json(path: Path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_identity(root):
    identity = {"run_name": "lambda-one", "seed": 7, "lambda": 1.0, "config_hash": "0123456789ab"}
    command = ["/somewhere/bin/vt-ray", "experiment=tiny", "signal.mgpo.lam=1.0"]
    started, versions = "2025-01-02T03:04:05Z", {"vt_ray": "0.1.0", "python": "3.11.7"}
    write_json(root / "run.json", {**identity, "versions": versions, "started": started, "command": command})
    (root / "config.yaml").write_text("seed: 7\nsignal:\n  mgpo:\n    lam: 1.0\n")


def write_summary(root, names):
    reached = []
    for i, name in enumerate(names):
        one = 0.05 + 0.6 * i / len(names)
        difference = {"from": names[i - 1], "mean": 0.08, "low": 0.05, "high": 0.11} if i else None
        by_subdomain = {d: passes(one * (0.6 + 0.15 * j), min(1, one + 0.3)) for j, d in enumerate(SUBDOMAINS)}
        counts = {"num_problems": 200, "samples": 1600, "truncated_share": 0.03, "unverified": 2}
        reached.append(
            {
                "name": name,
                **passes(one, one + 0.25),
                "by_subdomain": by_subdomain,
                "difference": difference,
                **counts,
            }
        )
    phases = {name: {"seconds": 300.0 * (i + 1), "tokens": 10**6} for i, name in enumerate(["sft", "probe", "rl"])}
    summary = {"run_name": "lambda-one", "seed": 7, "lambda": 1.0, "config_hash": "0123456789ab"}
    write_json(root / "summary.json", {**summary, "milestones": reached, "phases": phases, "wall_seconds": 2000.0})


def write_lines(path: Path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_sft(root, rng):
    lines = [
        {
            "phase": "sft",
            "step": step,
            "loss": 0.4 + 2 * 0.97**step + rng.uniform(-0.05, 0.05),
            "learning_rate": 1e-3,
            "tokens": 5000,
            "seconds": 1.1,
            "grad_norm": 1.0,
        }
        for step in range(1, 121)
    ]
    write_lines(root / "sft" / "metrics.jsonl", lines)


def write_probe(root):
    checkpoints = [f"step_{step:06d}" for step in range(24, 121, 24)]
    at_k = {d: [min(0.95, 0.3 + 0.12 * i + 0.03 * j) for i in range(5)] for j, d in enumerate(SUBDOMAINS)}
    at_1 = {d: [value * 0.5 for value in row] for d, row in at_k.items()}
    specialists = {d: checkpoints[(j + 2) % 5] for j, d in enumerate(SUBDOMAINS)}
    table = {
        "k": 8,
        "checkpoints": checkpoints,
        "pass_at_k": at_k,
        "pass_at_1": at_1,
        "specialists": specialists,
    }
    write_json(root / "probe" / "probe.json", table)


def write_rl(root, stages, steps, rng):
    lines = [rl_line(stage, step, step / steps, rng) for stage in stages for step in range(1, steps + 1)]
    write_lines(root / "metrics.jsonl", lines)


def rl_line(stage, step, done, rng):
    seconds = {"generate": 6 + rng.random(), "verify": 1.2, "update": 3.5, "sync": 0.4, "rest": 0.2}
    return {
        "phase": "rl",
        "stage": stage,
        "step": step,
        "weight_version": step,
        "loss": 0.0,
        "reward_mean": 0.3 + 0.3 * done + rng.uniform(-0.08, 0.08),
        "p_c_histogram": [rng.randint(0, 6) + round(8 * done * i / 8) for i in range(9)],
        "no_signal_share": 0.2 + rng.uniform(-0.05, 0.05),
        "truncated_share": 0.1 + 0.12 * done + rng.uniform(-0.01, 0.01),
        "unverified": 0,
        "completion_tokens_mean": 60 + 20 * done + rng.uniform(-5, 5),
        "entropy": 0.9 - 0.4 * done + rng.uniform(-0.05, 0.05),
        "clip_share": 0.0,
        "rollout_kl": 2e-4 + rng.uniform(0, 1e-4),
        "grad_norm": 0.5 + rng.random(),
        "learning_rate": 1e-5,
        "seconds": {**seconds, "total": sum(seconds.values())},
        "tokens": 20000,
        "sync": {"bytes": 10**6, "logprob_gap": 3.1e-6},
    }


def rollout(sample, verdict, advantage, tokens, text, stage="math_short", step=3):
    return {
        "stage": stage,
        "step": step,
        "question_id": f"algebra-{sample}",
        "subdomain": "algebra",
        "sample": sample,
        "weight_version": step,
        "question": f"Solve {sample}x = {6 * sample} & say x < 7.",
        "text": text,
        "tokens": list(range(tokens)),
        "rollout_logprobs": [-0.5] * tokens,
        "finish_reason": "stop",
        "verdict": verdict,
        "reason": "time limit" if verdict == "unverified" else "",
        "p_c": 0.25,
        "weight": 0.9,
        "advantage": advantage,
        "generation_seconds": 1.0,
        "seconds": 1.1,
    }


def write_rollouts(root, stage, step):
    rows = [
        rollout(1, "correct", 0.5, 40, "6 is common", stage, step),
        rollout(2, "correct", 1.7, 30, "Divide both sides by 2.\nThe answer is \\boxed{6}.", stage, step),
        rollout(3, "wrong", -1.2, 20, f"{ATTACK} & <b>bold</b>", stage, step),
        rollout(4, "wrong", -0.3, 90, "round and round", stage, step),
        rollout(5, "unverified", 0.0, 10, "no verdict here", stage, step),
    ]
    folder = root / "rollouts" / stage
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"step_{step:06d}.parquet")
    earlier = [rollout(9, "correct", 1.0, 5, "of an earlier step", stage, 1)]
    pq.write_table(pa.Table.from_pylist(earlier), folder / "step_000001.parquet")


class Page(HTMLParser):
    """What a browser makes of the page: opened tags, ids, text outside scripts and styles."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

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
    keys = {
        "milestones",
        "findings",
        "subdomains",
        "sft",
        "probe",
        "rl",
        "difficulty",
        "time",
        "samples",
        "identity",
    }
    assert keys <= page.ids
    assert len(SECTIONS) == len(keys)
    assert {c.removeprefix("chart-").rpartition("-")[0] for c in page.charts} == keys - {
        "findings",
        "samples",
        "identity",
    }
    assert {f"chart-rl-{i}" for i in range(8)} <= page.charts
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
    library, calls = page.scripts
    assert len(library) > 10**6 > len(calls)
    assert {f'"{chart}"' for chart in page.charts} == set(re.findall(r'Plotly\.newPlot\(("[^"]+")', calls))


def test_model_text_is_shown_and_never_acts(page):
    assert f"{ATTACK} & <b>bold</b>" in page.text
    assert not any("alert(1)" in script for script in page.scripts)


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


def test_an_empty_folder_says_what_is_not_there(tmp_path):
    empty = Page(write_report(tmp_path).read_text())
    assert not empty.charts
    assert len([i for i in empty.ids if i != "identity"]) >= 9
    for sentence in (
        "No milestone of this run has been evaluated yet.",
        "There is no summary.json yet",
        "There is no sft/metrics.jsonl",
        "There is no probe/probe.json",
        "no stage has begun",
        "There are no rollout files to read",
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
    assert "There are no rollout files to read" in torn.text
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
    assert "nothing later has been evaluated" in begun.text
    assert "No RL step has been timed." in begun.text


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of a run"):
        write_report(tmp_path / "nowhere")


def test_importing_loads_nothing_heavy():
    heavy = ["ray", "vllm", "deepspeed", "torch", "transformers", "plotly", "jinja2"]
    modules = "vt_ray.report.html, vt_ray.report.summary, vt_ray.report.diagnosis, vt_ray.evaluation.statistics"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
