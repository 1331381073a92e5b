"""`vt-tools watch` on a run folder that grows, is truncated and ends."""

import io
import time

import pytest
from rich.console import Console
from typer.testing import CliRunner

from vt_ray.config import Config, CurriculumConfig, StageConfig
from vt_ray.report.watch.run_view import LiveRun
from vt_ray.report.watch.screen import frame, spark, watch
from vt_ray.run.checkpoint import write_json
from vt_ray.run.metrics_log import MetricsLog
from vt_ray.run.paths import DONE
from vt_ray.run.run_folder import RunFolder, is_locked
from vt_ray.tools import app

# The milestones before RL of a run with one spectrum stage.
REACHED = ("base", "sft_last", "sft_best", "fused")

STAGES = [StageConfig("short", ["algebra"], 4), StageConfig("long", ["algebra"], 2)]


class Run:
    """Writes a run folder in the order of the phases."""

    def __init__(self, tmp_path, stages=STAGES):
        config = Config("r", str(tmp_path), curriculum=CurriculumConfig(list(stages)))
        config.spectrum.sft.steps, config.spectrum.sft.checkpoint_every, config.evaluation.k = 10, 4, 2
        self.folder = RunFolder(config)
        with self.folder.open():
            self.root = self.folder.root
        self.phases = tmp_path / "phases"
        self.log = MetricsLog(self.root / "metrics.jsonl")

    def begin(self, phase):
        write_json(self.root / "phase.json", {"phase": phase, "folder": f"{phase}-key"})
        (self.phases / f"{phase}-key").mkdir(parents=True)

    def end(self, phase):
        write_json(self.phases / f"{phase}-key" / DONE, {})
        (self.phases / f"{phase}-key").rename(self.root / phase)

    def sft(self, steps, loss=5.0):
        log = MetricsLog(self.phases / "sft-key" / "metrics.jsonl")
        for step in steps:
            log.write({"phase": "sft", "step": step, "loss": loss, "seconds": 2.0})

    def spectrum(self):
        """Write all results of the phases before RL."""
        for phase in ("base", "sft", "probe", "fused", "spectrum_scores"):
            self.begin(phase)
            if phase == "sft":
                self.sft(range(1, 11))
            if phase == "probe":
                for step in (4, 8, 10):
                    write_json(self.phases / "probe-key" / f"step_{step:06d}.json", {"seconds": 3.0, "scores": []})
            for name in REACHED if phase == "spectrum_scores" else ():
                self.milestone(name, self.phases / "spectrum_scores-key")
            self.end(phase)

    def rl(self, stage, step, reward=0.5, **more):
        figures = {"reward_mean": reward, "loss": 0.1, "completion_tokens_mean": 30.0, "truncated_share": 0.25}
        seconds = {"generate": 3.0, "verify": 0.5, "update": 1.0, "sync": 0.25, "rest": 0.25, "total": 5.0}
        line = {"phase": "rl", "stage": stage, "step": step, **figures, "rollout_kl": 1e-4, "seconds": seconds}
        self.log.write({**line, **more})

    def milestone(self, name, folder=None):
        score = {"question_id": "q", "subdomain": "algebra", "correct": 1, "valid": 4, "samples": 4, "truncated": 0}
        (folder or self.root / "evaluation").mkdir(exist_ok=True)
        record = {"name": name, "seconds": 1.5, "scores": [{**score, "tokens": 9}]}
        write_json((folder or self.root / "evaluation") / f"{name}.json", record)

    def finish(self):
        self.spectrum()
        for stage in STAGES:
            for step in range(stage.steps):
                self.rl(stage.name, step + 1)
            self.milestone(stage.name)
        write_json(self.root / "summary.json", {})
        (self.root / "report.html").touch()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def counts(view):
    return {part.name: (part.done, part.total) for part in view.parts}


def text(view, width=80, height=None):
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(view, width, height))
    return console.file.getvalue()


def test_a_run_that_has_just_begun(run):
    with run.folder.open():
        view = LiveRun(run.root).view()
    assert (view.state, view.phase, view.left_s) == ("running", "start-up", None)
    assert counts(view) == {"sft": (0, 10), "probe": (0, 3), "short": (0, 4), "long": (0, 2), "evaluate": (0, 6)}
    assert "running: start-up" in text(view)


def test_sft_is_followed_in_the_shared_folder(run):
    run.begin("base")
    run.end("base")
    run.begin("sft")
    live = LiveRun(run.root)
    assert live.view().phase == "sft"
    run.sft([1, 2, 3])
    view = live.view()
    assert counts(view)["sft"] == (3, 10)
    assert view.left_s == 7 * 2.0
    run.sft(range(4, 11))
    run.end("sft")
    assert counts(live.view())["sft"] == (10, 10)


def test_rl_steps_are_counted_by_stage_and_the_remaining_time_follows_the_last_steps(run):
    run.spectrum()
    live = LiveRun(run.root)
    assert (live.view().phase, counts(live.view())["probe"]) == ("short", (3, 3))
    assert [m["name"] for m in live.view().milestones] == list(REACHED)
    for step in (1, 2, 3):
        run.rl("short", step)
    view = live.view()
    assert counts(view)["short"] == (3, 4) and view.left_s == 3 * 5.0
    run.rl("short", 4)
    assert live.view().phase == "evaluate short"
    run.milestone("short")
    view = live.view()
    assert view.phase == "long" and counts(view)["evaluate"] == (5, 6)
    assert [m["name"] for m in view.milestones] == [*REACHED, "short"]
    assert {part.name: part.seconds for part in view.parts} == {
        "sft": 20.0, "probe": 9.0, "short": 20.0, "long": 0, "evaluate": 7.5,
    }  # fmt: skip


def test_half_a_line_counts_when_it_is_whole(run):
    run.spectrum()
    live = LiveRun(run.root)
    run.rl("short", 1)
    whole = run.log.path.read_text()
    with run.log.path.open("a") as file:
        file.write(whole[:40])
    assert counts(live.view())["short"] == (1, 4)
    with run.log.path.open("a") as file:
        file.write(whole[40:])
    assert counts(live.view())["short"] == (2, 4)


def test_a_resumed_run_counts_its_replayed_steps_once(run):
    run.spectrum()
    live = LiveRun(run.root)
    run.rl("short", 1, reward=0.1)
    committed = run.log.offset
    run.rl("short", 2, reward=0.2)
    run.rl("short", 3, reward=0.3)
    assert counts(live.view())["short"] == (3, 4)
    run.log.cut(committed)
    assert counts(live.view())["short"] == (1, 4)
    for step, reward in ((2, 0.62), (3, 0.63), (4, 0.64)):
        run.rl("short", step, reward)
    assert [line["reward_mean"] for line in live.view().rl] == [0.1, 0.62, 0.63, 0.64]


def test_a_run_without_a_process_shows_the_command_that_continues_it(run):
    run.spectrum()
    run.rl("short", 1)
    identity = LiveRun(run.root)
    identity.identity["command"] = ["/opt/bin/vt-ray", "experiment=tiny", "run_name=a b"]
    view = identity.view()
    assert view.state == "stopped"
    assert "vt-ray experiment=tiny 'run_name=a b'" in text(view)
    identity.identity["command"] = ["/opt/vt_ray/main.py", "seed=1"]
    assert "python -m vt_ray.main seed=1" in text(view)


def test_the_lock_tells_whether_a_process_works_in_the_folder(run, tmp_path):
    assert not is_locked(run.root / ".lock") and not is_locked(tmp_path / "none")
    with run.folder.open():
        assert is_locked(run.root / ".lock")
        # Testing the lock does not release it.
        assert is_locked(run.root / ".lock")
    assert not is_locked(run.root / ".lock")


def test_watching_ends_with_the_run(run, monkeypatch):
    run.spectrum()
    naps = []

    def finish_meanwhile(seconds):
        naps.append(seconds)
        for folder in REACHED:
            run.milestone(folder)
        for stage in STAGES:
            for step in range(stage.steps):
                run.rl(stage.name, step + 1)
            run.milestone(stage.name)
        write_json(run.root / "summary.json", {})
        (run.root / "report.html").touch()

    monkeypatch.setattr(time, "sleep", finish_meanwhile)
    console = Console(file=io.StringIO(), width=80)
    watch(run.root, once=False, console=console)
    assert len(naps) == 1 and "finished" in console.file.getvalue()


def test_a_finished_run_that_is_opened_again_is_running(run):
    run.finish()
    assert LiveRun(run.root).view().state == "finished"
    with run.folder.open():
        assert LiveRun(run.root).view().state == "running"


def end(run, stage, steps, why):
    (run.root / "rl" / stage).mkdir(parents=True)
    write_json(run.root / "rl" / stage / "stage.json", {"stage": stage, "steps": steps, "ended": why, "unused": {}})


def test_a_stage_that_its_gate_has_ended_is_done_and_says_why(run):
    run.spectrum()
    live = LiveRun(run.root)
    run.rl("short", 1, probe_accuracy=0.7)
    run.rl("short", 2, probe_accuracy=0.81)
    assert (live.view().phase, live.view().left_s) == ("short", 4 * 5.0)
    end(run, "short", 2, "target: probe accuracy 0.810 reached 0.8")
    view = live.view()
    # Two of the four steps are not made, and the next stage has not started.
    assert view.phase == "evaluate short" and counts(view)["short"] == (2, 4)
    assert (view.left_s, counts(view)["long"]) == (2 * 5.0, (0, 2))
    assert "target: probe accuracy 0.810 reached 0.8" in text(view, 120)
    run.milestone("short")
    run.rl("long", 1)
    assert (live.view().phase, live.view().left_s) == ("long", 5.0)


def test_a_stage_that_went_through_all_its_steps_says_nothing(run):
    run.spectrum()
    for step in (1, 2, 3, 4):
        run.rl("short", step)
    end(run, "short", 4, "steps")
    short = next(part for part in LiveRun(run.root).view().parts if part.name == "short")
    assert (short.ended, short.left) == ("", 0)


def test_a_run_whose_last_stage_ended_early_is_finished(run):
    run.finish()
    run.log.cut(0)
    run.rl("short", 1)
    run.rl("long", 1)
    for stage in ("short", "long"):
        end(run, stage, 1, "plateau: probe accuracy has not risen by 0.01 in 3 evaluations")
    view = LiveRun(run.root).view()
    assert (view.state, view.phase, view.left_s) == ("finished", "report", None)


def test_a_race_has_probed_nothing_until_its_table_exists(tmp_path):
    config = Config("r", str(tmp_path))
    config.spectrum.probe.racing = 0.05
    with RunFolder(config).open() as folder:
        write_json(folder.root / "phase.json", {"phase": "probe", "folder": "probe-key"})
        shared = tmp_path / "phases" / "probe-key"
        shared.mkdir(parents=True)
        write_json(shared / "step_000004.json", {"seconds": 3.0, "scores": []})
        assert {p.name: (p.done, p.seconds) for p in LiveRun(folder.root).view().parts}["probe"] == (0, 3.0)
        write_json(shared / "probe.json", {})
        assert {p.name: p.done for p in LiveRun(folder.root).view().parts}["probe"] == 1


def test_a_filter_is_a_phase_until_the_stage_knows_its_problems(tmp_path):
    short, long = StageConfig("short", ["algebra"], 4, filter_samples=4), StageConfig("long", ["algebra"], 2)
    run = Run(tmp_path, [short, long])
    run.spectrum()
    assert LiveRun(run.root).view().phase == "filter short"
    (run.root / "rl" / "short").mkdir(parents=True)
    write_json(run.root / "rl" / "short" / "pool.json", ["q"])
    assert LiveRun(run.root).view().phase == "short"


def test_recoveries_are_counted_and_the_last_is_named(run):
    run.spectrum()
    live = LiveRun(run.root)
    assert "recovered" not in text(live.view())
    log = MetricsLog(run.root / "recoveries.jsonl")
    log.write({"time": time.time() - 300, "lost": "learner_0", "error": "ActorDiedError", "commit": ""})
    assert "recovered once" in text(live.view())
    log.write({"time": time.time() - 90, "lost": "generator_1", "error": "ActorDiedError", "commit": ""})
    assert "recovered 2 times, last 1 min 30 s ago after the loss of generator_1" in text(live.view())


def test_curves_show_the_figures_of_the_lines(run):
    run.spectrum()
    run.rl("short", 1)
    old = text(LiveRun(run.root).view())
    assert "truncated" in old and not any(name in old for name in ("staleness", "probe acc", "gen tok/s", "sync, s"))
    run.rl("short", 2, staleness_mean=0.0, staleness_max=0)
    assert "staleness" not in text(LiveRun(run.root).view())
    run.rl("short", 3, probe_accuracy=0.5, staleness_mean=0.75, staleness_max=1, sync={"seconds": 0.31})
    run.rl("short", 4, probe_accuracy=None, generated_tokens_per_second=5210.4, sync={"seconds": 0.29})
    new = " ".join(text(LiveRun(run.root).view()).split())
    # Two steps have the seconds of a sync, the first is longer; one of four steps has a probe accuracy.
    for shown in ("probe acc ▁ 50.0%", "gen tok/s ▁ 5,210", "sync, s █▁ 0.29", "staleness ▁█ –"):
        assert shown in new


@pytest.mark.parametrize("width", [80, 120])
def test_a_frame_keeps_to_the_width_and_height(run, width):
    run.finish()
    run.rl("long", 3, float("nan"))
    lines = text(LiveRun(run.root).view(), width, height=18).splitlines()
    assert max(map(len, lines)) <= width and len(lines) <= 18
    # The newest milestones are kept.
    assert lines[-1].startswith("long") and not any(line.startswith("base") for line in lines)
    assert any(line.startswith("reward") for line in lines) and not any(line.startswith("SFT loss") for line in lines)
    assert any(line.startswith("base") for line in text(LiveRun(run.root).view(), width).splitlines())


def test_the_command(run, tmp_path):
    run.spectrum()
    once = CliRunner().invoke(app, ["watch", str(run.root), "--once"])
    assert once.exit_code == 0 and "not running" in once.output and "fused" in once.output
    none = CliRunner().invoke(app, ["watch", str(tmp_path), "--once"])
    # Without the box around the message, which may break a line at any place.
    assert none.exit_code == 2 and "isnotarunfolder" in "".join(filter(str.isalnum, none.output))


@pytest.mark.parametrize("command", [["watch", "--once"], ["audit"]])
@pytest.mark.parametrize(
    ("run_json", "config", "message"),
    [
        ("{", "{}", "is damaged"),
        ("[]", "{}", "holds no settings"),
        ("{}", None, "config.yaml is missing"),
        ("{}", "a: [", "is damaged"),
        ("{}", "- a", "holds no settings"),
        ("\xff", "{}", "is damaged"),
    ],
)
def test_a_damaged_run_folder_is_one_message(tmp_path, command, run_json, config, message):
    (tmp_path / "run.json").write_text(run_json, encoding="latin-1")
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    done = CliRunner().invoke(app, [command[0], str(tmp_path), *command[1:]])
    letters = "".join(filter(str.isalnum, done.output))
    assert done.exit_code == 2 and "".join(filter(str.isalnum, message)) in letters, done.output


def test_spark():
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert spark([0, 0, 7, 7], 2) == "▁█"
    assert spark([1, None, float("nan"), 3], 4) == "▁  █"
    assert spark([2, 2], 5) == "▁▁"
    assert spark([], 5) == ""


def test_sft_that_continues_comes_before_rejection(tmp_path):
    run = Run(tmp_path)
    run.spectrum()
    live = LiveRun(run.root)
    live.config["signal"]["control"], live.config["phases"] = "sft", [*live.config["phases"], "rejection"]
    assert live.view().phase == "sft_continued"
    run.milestone("sft_continued")
    assert live.view().phase == "rejection"


def test_a_finished_sft_of_epochs_has_the_steps_that_it_made(tmp_path):
    run = Run(tmp_path)
    run.spectrum()
    live = LiveRun(run.root)
    live.config["spectrum"]["sft"] |= {"steps": 600, "epochs": 2.0}
    parts = {part.name: (part.done, part.total) for part in live.view().parts}
    assert (parts["sft"], parts["probe"]) == ((10, 10), (3, 3))
