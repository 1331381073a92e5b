import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from comparable_runs import write_json, write_lines, write_rewards, write_run, write_sweep
from omegaconf import OmegaConf
from typer.testing import CliRunner

from vt_ray.report.comparison import sentences as say
from vt_ray.report.comparison import tables as tables
from vt_ray.report.comparison.at_end import CompareRuns
from vt_ray.report.comparison.compare import compare
from vt_ray.report.comparison.report import write_comparison
from vt_ray.report.comparison.runs import ComparisonError, flattened, read_runs
from vt_ray.tools import app

LOW = {"algebra/0": 2, "algebra/1": 4, "code/0": 1, "code/1": 5}
HIGH = {question: correct + 2 for question, correct in LOW.items()}


def compared(*roots):
    return compare(*read_runs(roots))


def pair(folder, before, after, **changed):
    """GRPO and lambda = 1 with two seeds each; `changed` are arguments for the runs of the second group."""
    base = [write_run(folder / f"base-{s}", before, 0.0, s) for s in (0, 1)]
    return base + [write_run(folder / f"other-{s}", after, rl_seed=s, **{"lam": 1.0, **changed}) for s in (0, 1)]


class Page(HTMLParser):
    """Collects tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self._inside = "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


def test_scores_gains_and_differences_by_hand(tmp_path):
    other_seed = {question: correct + 1 for question, correct in LOW.items()}
    runs = [write_run(tmp_path / "b0", LOW, 0.0, 0), write_run(tmp_path / "b1", other_seed, 0.0, 1)]
    runs += [write_run(tmp_path / "m0", HIGH, 1.0, 0), write_run(tmp_path / "m1", HIGH, 1.0, 1)]
    comparison = compared(*runs)
    grpo, mgpo = comparison["groups"]
    # 12 of 32 answers with seed 0, 16 with seed 1; the fused model had 8.
    assert grpo["pass_at_1"]["by_seed"] == {"RL seed 0": 0.375, "RL seed 1": 0.5}
    assert grpo["pass_at_1"]["mean"] == 0.4375
    assert (grpo["gain"]["from"], grpo["gain"]["pass_at_1"]["mean"]) == ("fused", 0.1875)
    assert mgpo["pass_at_1"]["mean"] == 0.625
    difference = mgpo["difference"]
    assert difference["pass_at_1"]["by_seed"] == {"RL seed 0": 0.25, "RL seed 1": 0.125}
    # One of two seeds is drawn and all questions are equal: the interval ends at the differences of the two seeds.
    assert [difference["pass_at_1"][key] for key in ("mean", "low", "high")] == [0.1875, 0.125, 0.25]
    # Every question has a correct answer among 8, with both lambdas.
    assert [difference["pass_at_8"][key] for key in ("mean", "low", "high")] == [0.0, 0.0, 0.0]
    assert say.difference(mgpo, "GRPO") == "λ=1: higher than GRPO by +18.8 [+12.5, +25.0] points."
    assert tables.seed_rows(comparison, "pass_at_1") == [["group", "RL seed 0", "RL seed 1"], ["λ=1", "+25.0", "+12.5"]]
    assert tables.difference_rows(comparison)[1] == [
        "λ=1", "2", "+18.8 [+12.5, +25.0]", "+0.0 [+0.0, +0.0]", "higher",
    ]  # fmt: skip


def test_milestones_and_subdomains_by_hand(tmp_path):
    after = {**LOW, "code/0": 5, "code/1": 5}
    grpo, mgpo = compared(*pair(tmp_path, LOW, after))["groups"]
    by_subdomain = {name: passes["pass_at_1"]["mean"] for name, passes in mgpo["difference"]["by_subdomain"].items()}
    assert by_subdomain == {"algebra": 0.0, "code": 0.25}
    assert [m["name"] for m in grpo["milestones"]] == ["base", "sft_last", "sft_best", "fused", "math_short", "code"]
    assert [m["pass_at_1"]["mean"] for m in mgpo["milestones"]] == [0.25] * 5 + [16 / 32]


@pytest.mark.parametrize(
    ("after", "outcome", "says"),
    [
        (LOW, "chance", "no clear difference from GRPO: +0.0 [+0.0, +0.0] points."),
        (HIGH, "higher", "higher than GRPO by +25.0 [+25.0, +25.0] points."),
        (dict.fromkeys(LOW, 0), "lower", "lower than GRPO by -37.5 "),
    ],
)
def test_each_outcome_is_said(tmp_path, after, outcome, says):
    comparison = compared(*pair(tmp_path, LOW, after))
    group = comparison["groups"][1]
    assert say.outcome(group) == outcome
    assert say.difference(group, "GRPO").startswith(f"λ=1: {says}")
    null_result = "No group differs clearly from GRPO in Pass@1: all intervals contain zero."
    assert (null_result in say.headline(comparison)) == (outcome == "chance")


def test_a_sweep_is_ordered_by_lambda_and_compared_with_grpo(tmp_path):
    runs = [write_run(tmp_path / f"{lam}", LOW, lam) for lam in (4.0, 0.5, 0.0)]
    comparison = compared(*runs)
    assert [group["label"] for group in comparison["groups"]] == ["GRPO", "λ=0.5", "λ=4"]
    assert (comparison["baseline"], comparison["differs_in"]) == ("GRPO", ["signal.mgpo.lam"])
    assert compared(*runs[:2])["baseline"] == "λ=4"


def test_a_sweep_over_the_weight_is_compared_with_grpo(tmp_path):
    weights = ("mgpo", "none", "maxrl")
    runs = [write_run(tmp_path / w, LOW, 1.0, changes=[("signal.mgpo.weight", w)]) for w in weights]
    comparison = compared(*runs)
    assert [group["label"] for group in comparison["groups"]] == ["mgpo", "GRPO", "maxrl"]
    assert comparison["baseline"] == "GRPO"
    assert compared(runs[0], runs[2])["baseline"] == "mgpo"


def test_other_settings_make_the_label_and_the_first_run_the_baseline(tmp_path):
    controls = ("none", "shuffled_rewards")
    runs = [write_run(tmp_path / c, LOW, 1.0, changes=[("signal.control", c)]) for c in controls]
    comparison = compared(*reversed(runs))
    labels = ["shuffled rewards", "signal.control=none"]
    assert [group["label"] for group in comparison["groups"]] == labels
    assert (comparison["baseline"], comparison["groups"][0]["lambda"]) == (labels[0], None)


def test_name_path_and_prices_do_not_separate_groups(tmp_path):
    own = [("seed", 5), ("runs_dir", "/elsewhere"), ("cluster.cpu_hour_price", 0.3), ("cluster.currency", "EUR")]
    runs = [write_run(tmp_path / "a", LOW), write_run(tmp_path / "b", HIGH, changes=own)]
    comparison = compared(*runs)
    assert [(g["label"], g["seeds"]) for g in comparison["groups"]] == [("all runs", ["seed 0", "seed 5"])]
    assert "2 runs that differ only in their seeds" in say.headline(comparison)
    assert not say.compared(comparison)


def test_a_key_that_an_older_run_lacks_has_its_default(tmp_path):
    runs = pair(tmp_path, LOW, HIGH)
    config = runs[0] / "config.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"\n  clip_low: .*|\n    clip_low: .*", "", text))
    assert config.read_text() != text
    assert compared(*runs)["differs_in"] == ["signal.mgpo.lam"]


@pytest.mark.parametrize(("cap", "kind"), [(0.0, "none"), (2.0, "truncate")])
def test_the_cap_of_an_older_run_is_its_importance(tmp_path, cap, kind):
    now = {"kind": kind, "low": 0.0, "high": cap, "mean": "geometric"}
    changes = [("signal.mgpo.importance", now)]
    old = write_run(tmp_path / "old", LOW, changes=changes)
    new = write_run(tmp_path / "new", HIGH, lam=1.0, changes=changes)
    config = yaml.safe_load((old / "config.yaml").read_text())
    del config["signal"]["mgpo"]["importance"]
    config["signal"]["mgpo"]["importance_cap"] = cap
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    assert compared(old, new)["differs_in"] == ["signal.mgpo.lam"]


def test_many_differing_keys_make_run_names_the_labels(tmp_path):
    many = [(f"model.{key}", 64) for key in ("hidden_size", "intermediate_size", "num_heads", "vocab_size")]
    comparison = compared(write_run(tmp_path / "small", LOW), write_run(tmp_path / "large", LOW, changes=many))
    assert [group["label"] for group in comparison["groups"]] == ["small", "large"]
    assert ["model.num_heads", "4", "64"] in tables.setting_rows(comparison)


def test_flattened_lists_of_sections_by_number():
    nested = {"a": {"b": 1}, "stages": [{"name": "x"}, {"name": "y"}], "levels": [1, 2], "none": []}
    assert flattened(nested) == {
        "a.b": 1, "stages.0.name": "x", "stages.1.name": "y", "levels": [1, 2], "none": [],
    }  # fmt: skip


def test_groups_without_a_common_seed_have_no_difference(tmp_path):
    comparison = compared(write_run(tmp_path / "a", LOW, 0.0, 0), write_run(tmp_path / "b", HIGH, 1.0, 1))
    group = comparison["groups"][1]
    assert group["difference"] is None
    assert say.difference(group, "GRPO") == "λ=1: no paired difference, because it has no seed in common with GRPO."
    assert "common seed with GRPO" in say.headline(comparison)
    assert tables.difference_rows(comparison)[1] == ["λ=1", "0", "–", "–", "no pair"]


def test_problems_without_a_verdict_are_left_out_and_counted(tmp_path):
    runs = pair(tmp_path, LOW, HIGH)
    file = runs[2] / "evaluation" / "code.json"
    record = json.loads(file.read_text())
    record["scores"][0] |= {"correct": 0, "valid": 0}
    write_json(file, record)
    comparison = compared(*runs)
    difference = comparison["groups"][1]["difference"]["pass_at_1"]
    assert (difference["num_problems"], difference["mean"]) == (3, 0.25)
    assert "Up to 1 problems are left out" in say.about_problems(comparison)


def test_reward_is_the_mean_of_moving_means_between_lowest_and_highest(tmp_path):
    runs = pair(tmp_path, LOW, HIGH)
    for root, level in zip(runs, (0.0, 0.5, 0.25, 0.25), strict=True):
        write_rewards(root, [level] * 4 + [level + 0.5] * 4)
    comparison = compared(*runs)
    grpo, mgpo = (group["reward"] for group in comparison["groups"])
    assert grpo[0] == {"step": 1, "mean": 0.25, "low": 0.0, "high": 0.5}
    # Smoothing stays within a stage: no step is between the two levels.
    assert [point["mean"] for point in mgpo] == [0.25] * 4 + [0.75] * 4
    assert comparison["stages"] == [{"step": 1, "name": "math_short"}, {"step": 5, "name": "code"}]


def test_stages_that_ended_at_different_steps_are_compared_stage_by_stage(tmp_path):
    """A gate ended the first stage of one run after 1 of 3 steps: its second stage is aligned with the other runs."""
    runs = pair(tmp_path, LOW, HIGH)
    for root, first in zip(runs, (1, 3, 2, 2), strict=True):
        lines = [("math_short", 0.25)] * first + [("code", 0.75)] * 2
        write_lines(root, [{"phase": "rl", "stage": stage, "reward_mean": reward} for stage, reward in lines])
    comparison = compared(*runs)
    assert comparison["stages"] == [{"step": 1, "name": "math_short"}, {"step": 4, "name": "code"}]
    grpo, mgpo = (group["reward"] for group in comparison["groups"])
    assert [(p["step"], p["low"], p["high"]) for p in grpo] == [
        (1, 0.25, 0.25), (2, 0.25, 0.25), (3, 0.25, 0.25), (4, 0.75, 0.75), (5, 0.75, 0.75),
    ]  # fmt: skip
    assert [p["step"] for p in mgpo] == [1, 2, 4, 5]


def test_runs_with_other_stages_are_counted_through(tmp_path):
    runs = pair(tmp_path, LOW, HIGH)
    for i, root in enumerate(runs):
        write_lines(root, [{"phase": "rl", "stage": s, "reward_mean": 0.5} for s in ("math_short", f"stage_{i}")])
    comparison = compared(*runs)
    assert comparison["stages"] == []
    assert [[p["step"] for p in group["reward"]] for group in comparison["groups"]] == [[1, 2], [1, 2]]


def test_a_stage_of_an_older_run_lacks_nothing_that_would_tell_it_apart(tmp_path):
    runs = pair(tmp_path, LOW, HIGH)
    config = yaml.safe_load((runs[0] / "config.yaml").read_text())
    for stage in config["curriculum"]["stages"]:
        del stage["gate"], stage["refill_rounds"], stage["lam"]
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(config))
    assert compared(*runs)["differs_in"] == ["signal.mgpo.lam"]


def test_cost_is_a_mean_over_runs(tmp_path):
    assert tables.cost_rows(compared(*pair(tmp_path, LOW, HIGH)))[1] == [
        "GRPO", "2", "6 min 40 s", "1 min 00 s", "120,000", "2,000", "1,120,000",
    ]  # fmt: skip


def test_different_problems_are_refused_with_the_runs_named(tmp_path):
    one, two = write_run(tmp_path / "one", LOW), write_run(tmp_path / "two", {**LOW, "code/9": 1}, 1.0)
    with pytest.raises(ComparisonError, match="one and two were evaluated on different .* share 4 of 4 and 5"):
        compared(one, two)


def test_seeds_with_problems_of_their_own_are_paired_within_each_seed_and_pooled(tmp_path):
    def own(scores, seed):
        return {f"{question}-of-{seed}": correct for question, correct in scores.items()}

    def run(name, scores, seed, *changes):
        return write_run(tmp_path / f"{name}{seed}", own(scores, seed), changes=[("seed", seed), *changes])

    sft = [("signal.control", "sft"), ("signal.control_sft_like", "runs/rl")]
    probed = ("phases", ["sft", "probe", "rl"])
    runs = [run("rl", HIGH, seed) for seed in range(3)]
    runs += [run("sft", LOW, seed, *sft, ("signal.control_sft_steps", 900 + seed)) for seed in range(3)]
    runs += [run("best", HIGH, seed, probed) for seed in range(3)]
    for root in runs[3:6]:
        scores = root / "evaluation" / "code.json"
        scores.rename(scores.with_name("sft_continued.json"))
    comparison = compared(*runs)
    rl, more_sft, best = comparison["groups"]
    assert [group["label"] for group in comparison["groups"]] == ["MGPO", "SFT continued", "MGPO from sft_best"]
    assert rl["pass_at_1"]["num_problems"] == 12 and comparison["nested"]
    difference = more_sft["difference"]["pass_at_1"]
    assert difference["by_seed"] == {f"seed {seed}": -0.25 for seed in range(3)}
    assert (difference["low"], difference["high"]) == (-0.25, -0.25)
    assert set(more_sft["difference"]["by_subdomain"]) == {"algebra", "code"}
    assert best["difference"]["pass_at_1"]["mean"] == 0
    assert "problems that differ from seed to seed, 4 for each seed" in say.headline(comparison)
    write_comparison(runs, tmp_path / "comparison.html")
    assert "Each seed has held-out problems of its own" in (tmp_path / "comparison.html").read_text()


def test_runs_of_one_seed_need_the_same_problems_also_among_several_seeds(tmp_path):
    runs = [write_run(tmp_path / name, LOW, changes=[("seed", 1)]) for name in ("one", "two")]
    runs.insert(0, write_run(tmp_path / "zero", {"algebra/7": 1}))
    scores = tmp_path / "two" / "evaluation" / "code.json"
    scores.write_text(scores.read_text().replace("code/1", "code/2"))
    with pytest.raises(ComparisonError, match="one and two were evaluated on different"):
        compared(*runs)


def test_equal_ids_from_different_files_are_refused(tmp_path):
    files = [("data.test_files", [{"path": "held_out.jsonl"}])]
    runs = [write_run(tmp_path / str(i), LOW, float(i), changes=files) for i in range(2)]
    for digest, root in zip(("aa", "bb"), runs, strict=True):
        write_json(root / "run.json", {"inputs": {"held_out.jsonl": digest}})
    with pytest.raises(ComparisonError, match="0 and 1 .* different contents of data.test_files"):
        compared(*runs)


def test_one_config_and_seed_twice_is_refused(tmp_path):
    with pytest.raises(ComparisonError, match="a and b have the same config and the same seeds .*signal.seed=3"):
        compared(write_run(tmp_path / "a", LOW, 1.0, 3), write_run(tmp_path / "b", LOW, 1.0, 3))


def test_an_unfinished_run_is_left_out_and_named(tmp_path):
    runs = [*pair(tmp_path, LOW, HIGH), write_run(tmp_path / "half", LOW, 1.0, 2, finished=False)]
    comparison = compared(*runs)
    assert len(comparison["runs"]) == 4
    assert say.warnings(comparison) == [
        "The run half is not finished (its last milestone is math_short) and is left out."
    ]
    with pytest.raises(ComparisonError, match=r"needs 2 finished runs, there is 1 \(unfinished: half\)"):
        compared(runs[0], runs[-1])


def test_limits_of_a_difference_are_warnings(tmp_path):
    runs = pair(tmp_path, LOW, HIGH, changes=[("evaluation.temperature", 0.6)])
    write_json(runs[2] / "fused" / "DONE.json", {"id": "another"})
    write_json(runs[3] / "run.json", {"code": "changed"})
    comparison = compared(*runs)
    starts, code, evaluated = say.warnings(comparison)
    assert "different start models" in starts
    assert "different versions of the code" in code
    assert evaluated.endswith("evaluation.temperature.")
    assert say.about_starts(comparison["runs"]) == "There are 2 different start models."
    assert "With 2 seeds" in say.about_seeds(comparison)


def test_smaller_k_is_used_where_runs_differ(tmp_path):
    runs = [write_run(tmp_path / "a", LOW), write_run(tmp_path / "b", LOW, changes=[("evaluation.k", 2)])]
    comparison = compared(*runs)
    # 1 - C(8 - c, 2) / C(8, 2) for c = 2, 4, 1, 5: 13, 22, 7 and 25 of 28.
    assert comparison["k"] == 2
    assert comparison["groups"][0]["pass_at_2"]["mean"] == pytest.approx((13 + 22 + 7 + 25) / 28 / 4)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    roots = write_sweep(folder, {0.0: 0.0, 0.5: 0.0, 1.0: 0.15, 4.0: -0.15}, per_subdomain=8)
    (folder / "phases").mkdir()
    (folder / "comparison.html").write_text("an older one")
    return roots


@pytest.fixture(scope="module")
def result(sweep):
    folder = sweep[0].parent
    return CliRunner().invoke(app, ["report", *map(str, sorted(folder.iterdir()))], env={"COLUMNS": "80"})


def test_the_command_accepts_a_shell_pattern(sweep, result):
    assert result.exit_code == 0, result.output
    folder = sweep[0].parent
    for name in ("phases", "comparison.html"):
        assert f"skipped: {folder / name} is not a run folder" in result.stderr
    assert all((root / "report.html").is_file() for root in sweep)
    assert f"comparison: {folder / 'comparison.html'}" in result.stdout
    numbers = json.loads((folder / "comparison.json").read_text())
    assert [len(group["seeds"]) for group in numbers["groups"]] == [3, 3, 3, 3]
    assert [say.outcome(group) for group in numbers["groups"][1:]] == ["chance", "higher", "lower"]


def test_the_tables_on_the_terminal_fit_80_columns(result):
    lines = result.stdout[result.stdout.index("At the end of each run") :].splitlines()
    table = [line for line in lines if line.startswith((" ", "At", "Paired"))]
    assert max(map(len, table)) <= 80
    assert "…" not in result.stdout
    assert [line.split()[0] for line in table if line.strip().startswith("λ")] == ["λ=0.5", "λ=1", "λ=4"] * 2


def test_the_page_has_all_sections_and_loads_nothing(sweep, result):
    page = Page((sweep[0].parent / "comparison.html").read_text())
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"result", "seeds", "milestones", "subdomains", "reward", "cost", "method", "reports"} <= ids
    assert {f"chart-result-{i}" for i in range(4)} | {"chart-reward-0", "chart-subdomains-1"} <= ids
    assert "Pass@1 with λ=0.5: no clear difference from GRPO" in page.text
    assert "All runs start from the same start model." in page.text
    for tag, attributes in page.tags:
        assert "src" not in attributes and tag not in {"link", "iframe", "img", "base", "object"}
        assert re.match(r"#|\./[^:]*/report\.html$", attributes.get("href", "#"))


def test_names_and_settings_are_shown_and_never_act(tmp_path):
    attack = "</script><img src=x onerror=alert(1)>"
    runs = [write_run(tmp_path / "javascript:alert(1)", LOW, 1.0)]
    runs += [write_run(tmp_path / "<b>bold&", HIGH, 1.0, changes=[("signal.control", attack)])]
    write_comparison(runs, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert f"signal.control={attack}" in page.text and "<b>bold&" in page.text
    assert attack not in text
    assert not {"img", "b"} & {tag for tag, _ in page.tags}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert "./javascript%3Aalert%281%29/report.html" in links


def test_output_names_the_page(tmp_path):
    runs, page = pair(tmp_path / "runs", LOW, HIGH), tmp_path / "new" / "mine.html"
    done = CliRunner().invoke(app, ["report", *map(str, runs), "--output", str(page)])
    assert done.exit_code == 0, done.output
    assert page.is_file() and page.with_suffix(".json").is_file()
    assert not (tmp_path / "runs" / "comparison.html").exists()


def test_one_run_has_a_report_and_no_comparison(tmp_path):
    run = write_run(tmp_path / "alone", LOW)
    (tmp_path / "again").symlink_to(run)
    done = CliRunner().invoke(app, ["report", str(run), str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("report: ") == 1
    assert not list(tmp_path.glob("comparison*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "does not exist"),
        (["one", "nowhere"], "does not exist"),
        (["empty"], "is not a run folder"),
        (["empty", "empty/file"], "is not a run folder"),
        (["one", "--output", "x.html"], "comparison of several runs"),
        (["one", "two", "--output", "x.json"], "must be a .html file"),
        (["one", "two"], "different held-out problems"),
    ],
)
def test_unusable_arguments_are_refused(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    write_run(Path("one"), LOW)
    write_run(Path("two"), {"algebra/7": 1}, 1.0)
    Path("empty").mkdir()
    Path("empty/file").touch()
    done = CliRunner().invoke(app, ["report", *arguments], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert says in done.output
    assert not list(tmp_path.glob("comparison*"))


def test_a_sweep_without_rl_is_compared_at_the_fused_model_with_its_first_runs(tmp_path):
    without_rl = ("phases", ["sft", "probe", "fuse"])
    for minute, (rule, scores) in enumerate((("uniform", LOW), ("dare", HIGH))):
        for seed in (0, 1):
            changes = [without_rl, ("spectrum.fusion.method", rule), ("seed", seed)]
            root = write_run(tmp_path / f"sweep-{rule}-{seed}", {}, fused=scores, changes=changes)
            run = json.loads((root / "run.json").read_text())
            write_json(root / "run.json", {**run, "started": f"2026-01-01T00:0{minute}:00Z"})
            best = json.loads((root / "evaluation" / "fused.json").read_text())
            for answered, correct in zip(best["scores"], LOW.values(), strict=True):
                answered["correct"] = correct
            write_json(root / "evaluation" / "sft_best.json", best)
    (tmp_path / "sweep-notes").mkdir()
    config = OmegaConf.create({"runs_dir": str(tmp_path), "run_name": "sweep", "dry_run": False})
    CompareRuns().on_multirun_end(config)
    comparison = json.loads((tmp_path / "sweep.json").read_text())
    assert comparison["baseline"] == "spectrum.fusion.method=uniform"
    uniform, dare = comparison["groups"]
    assert dare["end"] == "fused" and dare["difference"]["pass_at_1"]["mean"] == 0.25
    assert uniform["gain"]["from"] == "sft_best", "the gain is that of fusion"
    assert [g["gain"]["pass_at_1"]["mean"] for g in (uniform, dare)] == [0, 0.25]
