"""Tracking with the real libraries, on a run folder that grows, is killed and resumed."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vt_ray.config import Config, ConfigError, CurriculumConfig, StageConfig, TrackingConfig
from vt_ray.evaluation.traces import is_readable
from vt_ray.planning.validate import validate
from vt_ray.records import Problem
from vt_ray.report.formats import without_passwords
from vt_ray.report.run_page.samples import WITHHELD, file_samples, search_sample
from vt_ray.run.checkpoint import commit, write_json
from vt_ray.run.metrics_log import MetricsLog, Tail
from vt_ray.run.milestone_names import BEFORE_RL
from vt_ray.run.paths import DONE
from vt_ray.run.run_folder import RunFolder
from vt_ray.tracking import follower as following_a_run
from vt_ray.tracking.completions import COLUMNS
from vt_ray.tracking.follower import SETTINGS, Follower, following
from vt_ray.tracking.mlflow_sink import mlflow_name
from vt_ray.tracking.sinks import Record, flat

HOSTILE = 'a "quote", a ``` fence\n<script>alert(1)</script>\x1b[2J and \ud800'.encode("utf-8", "replace").decode()
STAGES = [StageConfig("short", ["algebra"], 2), StageConfig("long", ["algebra"], 1)]


class Run:
    """Writes lines first, then the manifest that commits them, like the phases."""

    def __init__(self, tmp_path):
        config = Config("r", str(tmp_path), seed=3, curriculum=CurriculumConfig(STAGES))
        config.signal.mgpo.lam, config.evaluation.k = 0.5, 2
        with RunFolder(config).open() as folder:
            self.root = folder.root
        self.shared = tmp_path / "phases" / "sft-key"
        write_json(self.root / "phase.json", {"phase": "sft", "folder": "sft-key"})
        self.log = MetricsLog(self.root / "metrics.jsonl")

    def sft(self, step, loss, committed=True):
        log = MetricsLog(self.shared / "metrics.jsonl")
        log.write({"phase": "sft", "step": step, "loss": loss})
        if committed:
            self._commit(self.shared / "state" / f"step_{step:06d}", log)

    def sft_done(self):
        (self.root / "sft").mkdir()
        (self.root / "sft" / "metrics.jsonl").write_bytes((self.shared / "metrics.jsonl").read_bytes())
        write_json(self.root / "sft" / DONE, {})
        for number, name in enumerate(BEFORE_RL):
            self.milestone(name, correct=number)

    def rl(self, stage, step, loss, committed=True, **more):
        seconds = {"generate": 1.5, "total": 2.0}
        line = {"stage": stage, "step": step, "loss": loss, "p_c_histogram": [1, 2], "seconds": seconds}
        self.log.write({**line, **more})
        if committed:
            self._commit(self.root / "rl" / stage / "checkpoints" / f"step_{step:06d}", self.log)

    def rollouts(self, stage, step, **more):
        """The rollout file of a step: one completion of a problem that may be shown, one of a problem of GPQA."""
        row = {"stage": stage, "step": step, "subdomain": "algebra", "finish_reason": "stop", "verdict": "correct"}
        row |= {"reason": "", "p_c": 0.5, "tokens": [1, 2], "rollout_logprobs": [-0.5, -0.5]} | more
        shown = row | {"question_id": "q", "question": "2+2?", "text": HOSTILE, "advantage": 1.0}
        private = row | {"question_id": "g", "question": "PRIVATE", "text": "PRIVATE", "advantage": -1.0}
        private |= {"verdict": "wrong", "tokens": [1, 2, 3]}
        rows = [shown | {"withheld": False}, private | {"withheld": True}] if not more.get("old") else [shown, private]
        file = self.root / "rollouts" / stage / f"step_{step:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)

    def milestone(self, name, correct, subdomain="algebra"):
        score = {"valid": 4, "samples": 4, "truncated": 0, "tokens": 9}
        scores = [{"question_id": "q", "subdomain": subdomain, "correct": correct, **score}]
        (self.root / "evaluation").mkdir(exist_ok=True)
        write_json(self.root / "evaluation" / f"{name}.json", {"name": name, "seconds": 1.0, "scores": scores})

    def _commit(self, folder, log):
        manifest = {"metrics_offset": log.offset}
        commit(folder, manifest, lambda partial: (partial / "state").write_text("x"), keep=1)


class Kept:
    """A sink that stores all records; it raises at record `fails_at`."""

    sent: list = []
    fails_at = None

    def __init__(self, name="", tracking=None, about=None):
        self.run_id, self.about = "kept", about

    def send(self, records):
        for _, record in records:
            if (record.series, record.step) == self.fails_at:
                raise ConnectionError("no route")
            self.sent.append(record)

    def send_report(self, report):
        self.sent.append(report.read_text())

    def close(self, finished):
        self.sent.append(finished)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(Kept, "sent", [])
    monkeypatch.setattr(following_a_run, "open_sink", Kept)
    return Kept


def steps(records):
    return [(r.series, r.step) for r in records if isinstance(r, Record)]


ONE = TrackingConfig(sinks=["tensorboard"])


def test_only_committed_steps_are_sent_each_once_in_the_order_they_came(run, kept):
    follower = Follower(run.root, ONE)
    follower.catch_up()
    assert kept.sent == []
    run.sft(1, 5.0)
    run.sft(2, 4.0, committed=False)
    follower.catch_up()
    assert steps(kept.sent) == [("sft", 1)]
    run.sft(3, 3.0)
    run.sft_done()
    run.rl("short", 1, 0.1, committed=False)
    follower.catch_up()
    spectrum = [*(("sft", i) for i in (1, 2, 3)), *(("eval", i) for i in range(4))]
    assert steps(kept.sent) == spectrum
    run.rl("short", 2, 0.2)
    run.milestone("short", 4)
    run.rl("long", 1, 0.3)
    follower.catch_up()
    assert steps(kept.sent) == [*spectrum, ("rl", 1), ("rl", 2), ("eval", 4), ("rl", 3)]
    assert not follower.finished
    run.milestone("long", 4)
    follower.catch_up()
    follower.close()
    assert steps(kept.sent)[-1] == ("eval", 5) and kept.sent[-1] is True


def test_a_record_has_the_numbers_of_its_line(run, kept):
    run.sft(1, 5.0)
    run.sft_done()
    run.rl("short", 2, 0.2)
    run.milestone("short", 3)
    run.rl("long", 1, 0.4)
    Follower(run.root, ONE).catch_up()
    rl = [r.values for r in kept.sent if r.series == "rl"]
    assert rl[1] == {
        "loss": 0.4, "seconds/generate": 1.5, "seconds/total": 2.0, "stage": 2, "stage_step": 1,
        "p_c/0_of_1": 1 / 3, "p_c/1_of_1": 2 / 3,
    }  # fmt: skip
    short = next(r.values for r in kept.sent if (r.series, r.step) == ("eval", 4))
    # 3 of 4 samples are correct: every pair contains a correct one.
    assert short["pass_at_1/mean"] == short["algebra/pass_at_1"] == 0.75
    assert short["pass_at_2/mean"] == short["algebra/pass_at_2"] == 1.0
    assert short["pass_at_1/low"] < 0.75 < short["pass_at_1/high"]


def test_the_figures_of_a_step_are_sent_flat_and_its_digest_is_not(run, kept):
    run.sft(1, 5.0)
    run.sft_done()
    sync = {"version": 3, "seconds": 0.2, "bytes": 4096, "retried": True}
    run.rl(
        "short", 1, 0.2, staleness_max=1, consumed_digest=2**31, probe_accuracy=None, sync=sync, p_c_histogram=[1] * 11
    )
    run.rl("short", 2, 0.2, probe_accuracy=0.75, p_c_histogram=[0] * 11)
    Follower(run.root, ONE).catch_up()
    first, second = (r.values for r in kept.sent if r.series == "rl")
    assert (first["staleness_max"], first["sync/seconds"], first["sync/retried"]) == (1.0, 0.2, 1.0)
    assert first["p_c/00_of_10"] == first["p_c/10_of_10"] == 1 / 11
    # No record without a measurement.
    assert "probe_accuracy" not in first and second["probe_accuracy"] == 0.75
    assert "consumed_digest" not in first and not any(name.startswith("p_c/") for name in second)


def test_a_step_that_is_replayed_after_a_kill_is_sent_with_the_values_that_stay(run, kept):
    run.sft(1, 5.0)
    run.sft_done()
    run.rl("short", 1, 0.1)
    committed = run.log.offset
    run.rl("short", 2, 0.9, committed=False)
    Follower(run.root, ONE).catch_up()
    run.log.cut(committed)
    again = Follower(run.root, ONE)
    run.rl("short", 2, 0.2)
    again.catch_up()
    assert [(r.step, r.values["loss"]) for r in kept.sent if r.series == "rl"] == [(1, 0.1), (2, 0.2)]
    assert [r.step for r in kept.sent if r.series == "sft"] == [1]


def test_a_reused_sft_phase_gives_its_curve(run, kept):
    run.sft(1, 5.0)
    run.sft(2, 4.0)
    run.sft_done()
    Follower(run.root, ONE).catch_up()
    assert [(r.step, r.values) for r in kept.sent if r.series == "sft"] == [(1, {"loss": 5.0}), (2, {"loss": 4.0})]


def test_a_sink_that_fails_is_switched_off_and_the_others_go_on(run, kept, monkeypatch, capsys):
    class Failing(Kept):
        fails_at = ("sft", 2)
        sent = []

    monkeypatch.setattr(following_a_run, "open_sink", lambda name, *_: Failing() if name == "wandb" else Kept())
    follower = Follower(run.root, TrackingConfig(sinks=["wandb", "mlflow"]))
    for step in (1, 2, 3, 4):
        run.sft(step, 1.0)
        follower.catch_up()
    assert steps(Failing.sent) == [("sft", 1)]
    assert steps(kept.sent) == [("sft", i) for i in (1, 2, 3, 4)]
    said = capsys.readouterr().out
    assert said.count("wandb is switched off") == 1 and "no route" in said
    # The next start sends the missing records.
    monkeypatch.setattr(Failing, "fails_at", None)
    Follower(run.root, TrackingConfig(sinks=["wandb"])).catch_up()
    assert steps(Failing.sent) == [("sft", i) for i in (1, 2, 3, 4)]


def test_a_sink_switched_on_later_or_elsewhere_gets_everything(run, kept):
    run.sft(1, 1.0)
    Follower(run.root, TrackingConfig(sinks=["wandb"])).catch_up()
    Follower(run.root, TrackingConfig(sinks=["wandb", "mlflow"])).catch_up()
    Follower(run.root, TrackingConfig(sinks=["mlflow"], mlflow_uri="http://there")).catch_up()
    assert steps(kept.sent) == [("sft", 1)] * 3


def full(run, loss=0.1):
    run.sft(1, 5.0)
    run.sft(2, float("nan"))
    run.sft_done()
    run.rollouts("short", 1)
    run.rl("short", 1, loss)


def rest(run):
    run.rl("short", 2, 0.2)
    run.milestone("short", 3)
    (run.root / "report.html").write_text("<h1>the report</h1>")
    run.rl("long", 1, 0.3)
    run.milestone("long", 4, "R&D")


def kill_and_resume(run, tracking):
    """Two followers: the first ends before step 2 is committed and does not close its sinks."""
    full(run)
    first = Follower(run.root, tracking)
    first.catch_up()
    second = Follower(run.root, tracking)
    rest(run)
    second.catch_up()
    second.close()
    assert second.finished


def follow(run, *arguments, **more):
    """The process that a run starts; its run has ended already."""
    command = [sys.executable, "-m", "vt_ray.tracking.follower", str(run.root)]
    settings = json.dumps(asdict(TrackingConfig(*arguments, **more)))
    environment = {**os.environ, SETTINGS: settings}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensorboard_shows_each_step_once(run):
    pytest.importorskip("tensorboard", reason="pip install 'vt-ray[tracking]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kill_and_resume(run, TrackingConfig(["tensorboard"], completions_every=1))
    events = EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()
    curve = [(e.step, round(e.value, 4)) for e in events.Scalars("rl/loss")]
    assert curve == [(1, 0.1), (2, 0.2), (3, 0.3)]
    # A loss of NaN is null in the line, and is not a point of the curve.
    assert [e.step for e in events.Scalars("sft/loss")] == [1]
    assert [(e.step, e.value) for e in events.Scalars("eval/pass_at_1/mean")][-2:] == [(4, 0.75), (5, 1.0)]
    hparams = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"signal.mgpo.lam" in hparams
    (text,) = events.Tensors("rl/completions/text_summary")
    (shown,) = text.tensor_proto.string_val
    # Each line is code in Markdown.
    assert text.step == 1 and b"\n    2+2?" in shown and b"\n    <script>" in shown and b"PRIVATE" not in shown


def test_mlflow_shows_each_step_once_in_one_run(run):
    mlflow = pytest.importorskip("mlflow", reason="pip install 'vt-ray[tracking]'")
    more = {"group": "sweep", "job_type": "rl", "tags": ["machine=a", "tried"], "completions_every": 1, "report": True}
    kill_and_resume(run, TrackingConfig(sinks=["mlflow"], project="it's mine", **more))
    client = mlflow.MlflowClient(f"sqlite:///{run.root / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("it's mine").experiment_id])
    history = client.get_metric_history(found.info.run_id, "rl/loss")
    assert sorted((m.step, m.value) for m in history) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert (found.info.run_name, found.info.status) == ("r", "FINISHED")
    assert (found.data.tags["seed"], found.data.tags["lambda"]) == ("3", "0.5")
    assert found.data.params["signal.mgpo.lam"] == "0.5"
    assert not any(name.startswith("tracking") for name in found.data.params)
    assert found.data.metrics["eval/algebra/pass_at_1"] == 0.75 and found.data.metrics["eval/R_D/pass_at_1"] == 1.0
    tags = ("group", "sweep"), ("job_type", "rl"), ("machine", "a"), ("tried", "")
    assert all(found.data.tags[name] == value for name, value in tags)
    files = run.root / "mlflow" / found.info.run_id / "artifacts"
    assert (files / "report.html").read_text() == "<h1>the report</h1>"
    header, row = csv.reader(io.StringIO((files / "completions/step_000001.csv").read_text()))
    assert header == list(COLUMNS) and row[3] == "2+2?" and "alert(1)" in row[4]


def test_wandb_continues_one_run_offline(run):
    pytest.importorskip("wandb", reason="pip install 'vt-ray[tracking]'")
    offline = (["wandb"], "mine", "offline", "http://me:secret@host")
    more = {"group": "sweep 1", "job_type": "of type", "tags": ["machine=a"], "completions_every": 1, "report": True}
    full(run, loss=0.72931)
    assert follow(run, *offline, **more) == ""
    rest(run)
    assert follow(run, *offline, **more) == ""
    (run_id,) = {v["run_id"] for v in json.loads((run.root / "tracking.json").read_text()).values()}
    files = sorted((run.root / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    before, after = (file.read_bytes() for file in files)
    assert b"eval/pass_at_1/mean" in before and b"lambda=0.5" in before and b"rl/loss" in after
    # The second part has only the new records.
    assert (b"sft/loss" in before, b"sft/loss" in after) == (True, False)
    assert (b"0.72931" in before, b"0.72931" in after) == (True, False)
    assert all(text in before for text in (b"sweep 1", b"of type", b"machine=a")) and b"secret" not in before + after
    (table,) = (run.root / "wandb").glob("offline-run-*/files/media/table/rl/completions*.json")
    (row,) = json.loads(table.read_text())["data"]
    assert row[3] == "2+2?" and "PRIVATE" not in table.read_text()
    assert f"report-{run_id}".encode() in after and f"report-{run_id}".encode() not in before


def test_the_separate_process_sends_all_records_before_it_ends(run):
    pytest.importorskip("tensorboard", reason="pip install 'vt-ray[tracking]'")
    full(run)
    with following(ONE, run.root):
        pass
    assert json.loads((run.root / "tracking.json").read_text())["tensorboard"]["sent"] == 7


def test_a_run_goes_on_if_its_tracking_cannot_start(run, monkeypatch, capsys):
    def fails(*arguments, **settings):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(following_a_run.subprocess, "Popen", fails)
    with following(ONE, run.root):
        reached = True
    assert reached and "tracking cannot start" in capsys.readouterr().out


def test_a_sink_that_cannot_be_opened_is_named_and_the_run_goes_on(run, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'vt-ray[tracking]'")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(run.root))
    full(run)
    said = follow(run, ["wandb"])
    assert "wandb is switched off" in said and "API key" in said


def refused(**changes):
    with pytest.raises(ConfigError) as error:
        validate(Config(curriculum=CurriculumConfig(STAGES), tracking=TrackingConfig(**changes)))
    return str(error.value)


def test_bad_tracking_is_refused_with_the_remedy(monkeypatch):
    assert "'aim' must be one of tensorboard, wandb, mlflow" in refused(sinks=["aim"])
    assert "more than once" in refused(sinks=["mlflow", "mlflow"])
    assert "tracking.wandb_mode='of' must be one of online, offline" in refused(wandb_mode="of")
    assert "sqlite:////folder/mlflow.db" in refused(mlflow_uri="file:///tmp/mlruns")
    assert "tracking.project is empty" in refused(project="")
    monkeypatch.setattr(sys.modules["vt_ray.planning.validate.tracking"], "find_spec", lambda module: None)
    message = refused(sinks=["wandb"])
    assert "module wandb, which is not installed" in message and "vt-ray[tracking]', or leave wandb out" in message


@pytest.mark.parametrize("tag", ["", "=5", "a/b=1", "x" * 65, "-", "line\nbreak", "name=line\nbreak"])
def test_a_bad_tag_is_refused(tag):
    assert "must be NAME or NAME=VALUE" in refused(tags=[tag])


def test_settings_without_a_receiver_are_refused():
    assert "has a name that the run or MLflow sets itself" in refused(tags=["seed=4"])
    assert "has a name that the run or MLflow sets itself" in refused(tags=["weight=of a paper"])
    assert "has a name that the run or MLflow sets itself" in refused(tags=["mlflow.user=me"])
    assert "names a more than once" in refused(tags=["a", "a=2"])
    assert "completions_every=-1 must be at least 0" in refused(completions_every=-1)
    assert "completions_every=5 without tracking.sinks" in refused(completions_every=5)
    assert "add wandb or mlflow" in refused(report=True, sinks=["tensorboard"])
    assert "tracking.group has 129 characters" in refused(group="g" * 129)
    assert "is no project of W&B" in refused(sinks=["wandb"], project="team/project")
    good = TrackingConfig(["wandb"], group="sweep 1", job_type="rl", tags=["é", "name=v=w, &"], completions_every=5)
    validate(Config(curriculum=CurriculumConfig(STAGES), tracking=good))


def due(kept):
    return {r.step: r.completions for r in kept.sent if isinstance(r, Record) and r.completions}


def test_each_nth_step_has_a_table_of_the_completions_that_may_be_shown(run, kept):
    run.sft(1, 5.0)
    run.sft_done()
    for step in range(1, 6):
        run.rollouts("short", step, **({"old": True} if step == 2 else {}))
        run.rl("short", step, 0.1)
    (run.root / "rollouts/short/step_000004.parquet").write_text("damaged")
    Follower(run.root, TrackingConfig(["tensorboard"], completions_every=1)).catch_up()
    # No table of step 2, whose file of an older version does not name the problems of GPQA, nor of the damaged file.
    assert [*due(kept)] == [1, 3, 5]
    (row,) = due(kept)[1]
    shown = dict(zip(COLUMNS, row, strict=True))
    assert (shown["question"], shown["p_c"], shown["tokens"]) == ("2+2?", 0.5, 2)
    assert "alert(1)" in shown["completion"] and "\x1b" not in shown["completion"]
    kept.sent.clear()
    # Without run.root/tracking.json all records are sent again.
    (run.root / "tracking.json").unlink()
    Follower(run.root, TrackingConfig(["tensorboard"], completions_every=3)).catch_up()
    assert [*due(kept)] == [3]
    kept.sent.clear()
    (run.root / "tracking.json").unlink()
    Follower(run.root, ONE).catch_up()
    assert len(kept.sent) == 10 and not due(kept)


def test_a_problem_of_gpqa_is_withheld_in_the_rollout_file_and_in_the_report(run):
    for source in ("hf://Idavidrein/gpqa?subset=gpqa_diamond", "/data/GPQA/rows.jsonl"):
        assert not is_readable(Problem("q", "physics", "choice", "?", source=source))
    assert not is_readable(Problem("q", "physics", "choice", "?", source="rows.jsonl", meta={"canary": True}))
    assert is_readable(Problem("q", "physics", "choice", "?", source="rows.jsonl"))
    run.rollouts("short", 1)
    shown, private = file_samples(run.root / "rollouts/short/step_000001.parquet")
    assert shown.question == "2+2?" and private.question == private.text == WITHHELD
    assert "PRIVATE" not in json.dumps(search_sample(run.root, ["short"]))


def test_records_are_counted_in_parts(run, kept, monkeypatch):
    monkeypatch.setattr(following_a_run, "RECORDS_AT_ONCE", 2)
    monkeypatch.setattr(Kept, "fails_at", ("sft", 4))
    for step in range(1, 6):
        run.sft(step, 1.0)
    Follower(run.root, ONE).catch_up()
    assert json.loads((run.root / "tracking.json").read_text())["tensorboard"]["sent"] == 2


def test_the_report_is_sent_once_the_run_has_ended(run, kept):
    tracking = TrackingConfig(["wandb"], report=True)
    full(run)
    (run.root / "report.html").write_text("<h1>the report</h1>")
    unfinished = Follower(run.root, tracking)
    unfinished.catch_up()
    unfinished.close()
    assert "<h1>the report</h1>" not in kept.sent
    rest(run)
    for wanted, sent in ((TrackingConfig(["wandb"]), 0), (tracking, 1)):
        follower = Follower(run.root, wanted)
        follower.catch_up()
        follower.close()
        assert kept.sent.count("<h1>the report</h1>") == sent and kept.sent[-1] is True


def test_no_password_leaves_the_run(run, kept):
    config = run.root / "config.yaml"
    config.write_text(config.read_text() + "address: http://me:secret@host:5000/x\n")
    follower = Follower(run.root, TrackingConfig(["mlflow"], mlflow_uri="mysql://u:secret@host/db", tags=["a=b", "c"]))
    assert follower.config["address"] == "http://***@host:5000/x" and "secret" not in str(follower.config)
    assert without_passwords("k: 'https://token@h' a@b") == "k: 'https://***@h' a@b"
    assert (
        without_passwords("https://h/v1?max_tokens=9&API_Key=abc&n=1#x")
        == "https://h/v1?max_tokens=9&API_Key=***&n=1#x"
    )
    assert without_passwords("hf://owner/name@revision") == "hf://owner/name@revision"


def test_names_that_mlflow_refuses_are_changed():
    assert mlflow_name("eval/R&D/pass_at_1") == "eval/R_D/pass_at_1"
    assert mlflow_name("eval/число/x") == "eval/число/x"
    assert mlflow_name("a//../b") == "a/_/_/b"
    assert len(mlflow_name("x" * 300)) == 250


def test_flat_names_nested_numbers_by_their_path():
    assert flat({"a": {"b": {"c": 1}, "d": 2}, "e": [1, 2], "f": {}}, "/") == {"a/b/c": 1, "a/d": 2, "e": [1, 2]}


def test_a_tail_reads_new_lines_and_leaves_an_incomplete_line(tmp_path):
    path = tmp_path / "m.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.read() == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert tail.read() == [{"step": 1}, {"step": 2}]
    assert Tail(path).read(until=12) == [{"step": 1}]


def test_a_tail_notices_a_file_that_was_cut_even_if_it_has_grown_again(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    tail = Tail(path)
    tail.read()
    path.write_text('{"step": 1}\n')
    assert tail.read() == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": 2, "again": true}\n{"step": 3}\n')
    assert [line["step"] for line in tail.read()] == [1, 2, 3]
    path.write_text('{"step": 1}\n{"step": 2, "other": 1}\n{"step": 3, "longer": 1}\n{"step": 4}\n')
    assert tail.read()[-1] == {"step": 4} and tail.read()[1] == {"step": 2, "other": 1}
