"""Models saved and held-out scores measured between the steps of a stage, also after a crash."""

from contextlib import suppress
from dataclasses import replace

import pytest
import test_loop

from vt_ray.config import GateConfig, StageConfig
from vt_ray.report.metrics import as_text
from vt_ray.report.run_page.curves import held_out_curve
from vt_ray.report.run_summary import stage_costs
from vt_ray.run.checkpoint import write_json
from vt_ray.signal_phase.saved_models import kept_steps
from vt_ray.tracking.sinks import flat

STAGE = StageConfig("math", ["algebra"], 6, 2, 4, 8, gate=GateConfig(eval_every=2, samples=8))


class World(test_loop.World):
    """`test_loop.World` whose evaluation writes scores that depend on the weights."""

    def evaluate(self, experiment, milestone, generator, verifier, folder):
        super().evaluate(experiment, milestone, generator, verifier, folder)
        score = {"question_id": "q", "subdomain": "algebra", "valid": 8, "samples": 8, "truncated": 0, "tokens": 9}
        folder.mkdir(parents=True, exist_ok=True)
        scores = {"name": milestone, "seconds": 1.5, "scores": [{**score, "correct": generator.held % 9}]}
        write_json(folder / f"{milestone}.json", scores)


def train(root, world=None, stage=STAGE, **signal):
    return test_loop.train(root, world or World(), stages=[stage], probe=test_loop.PROBLEMS[:3], **signal)


def saved(root):
    """{step: weights} of the saved models."""
    return {int(path.name[-6:]): test_loop.read(path) for path in sorted(root.glob("rl/math/models/*"))}


def held_out(root):
    """{step: line's held-out figures}."""
    return {line["step"]: line["evaluation"] for line in test_loop.metrics(root) if "evaluation" in line}


def test_nothing_is_saved_or_evaluated_by_default(tmp_path):
    train(tmp_path)
    assert not saved(tmp_path) and not held_out(tmp_path)
    assert not (tmp_path / "rl/math/models").exists() and not (tmp_path / "rl/math/evaluation").exists()


def test_a_saved_model_has_the_weights_of_its_step(tmp_path):
    world = train(tmp_path, save_hf_every=2, keep_hf=9)
    of_step = {weights.version: weights.buckets[0] for weights, _ in world.calls["load"]}
    assert saved(tmp_path) == {step: of_step[step] for step in (2, 4, 6)}
    assert saved(tmp_path)[6] == test_loop.read(tmp_path / "rl/math/model")


def test_the_newest_models_and_the_best_by_probe_accuracy_stay(tmp_path):
    train(tmp_path, save_hf_every=1, keep_hf=1)
    accuracies = {m["step"]: m["probe_accuracy"] for m in test_loop.metrics(tmp_path) if "probe_accuracy" in m}
    assert set(saved(tmp_path)) == kept_steps(range(1, 7), accuracies, 1)
    best = max(accuracies, key=lambda step: (accuracies[step], step))
    assert set(saved(tmp_path)) == {6, best}


@pytest.mark.parametrize(
    ("steps", "accuracies", "keep", "kept"),
    [
        ([10, 20, 30], {}, 2, {20, 30}),
        ([10, 20, 30], {10: 0.5, 20: 0.4, 30: 0.3}, 1, {10, 30}),
        ([10, 20, 30], {10: 0.5, 20: 0.5, 30: 0.3}, 1, {20, 30}),
        # Step 15 was measured but not saved.
        ([10, 20, 30], {15: 0.9, 20: 0.2}, 1, {20, 30}),
        ([10], {}, 2, {10}),
    ],
)
def test_which_steps_are_kept(steps, accuracies, keep, kept):
    assert kept_steps(steps, accuracies, keep) == kept


def test_held_out_scores_are_measured_with_the_weights_of_their_step(tmp_path):
    world = train(tmp_path, evaluate_every=3)
    of_step = {weights.version: weights.buckets[0] for weights, _ in world.calls["load"]}
    names = [("step_000003", of_step[3]), ("step_000006", of_step[6]), ("math", of_step[6])]
    assert world.calls["evaluate"] == names
    found = held_out(tmp_path)
    assert {step: figures["pass_at_1"] for step, figures in found.items()} == {
        step: of_step[step] % 9 / 8 for step in (3, 6)
    }
    assert all((figures["seconds"], figures["tokens"]) == (1.5, 9) for figures in found.values())
    assert sorted(path.name for path in tmp_path.glob("rl/math/evaluation/*")) == [
        "step_000003.json",
        "step_000006.json",
    ]


def test_held_out_scores_do_not_change_the_training(tmp_path):
    plain, measured = (train(tmp_path / str(every), evaluate_every=every).calls["update"] for every in (0, 1))
    assert [advantages for _, advantages, *_ in plain] == [advantages for _, advantages, *_ in measured]


@pytest.mark.parametrize("crash_at", range(20, 120, 7))
def test_a_crash_changes_neither_saved_models_nor_scores(tmp_path, crash_at):
    options = {"every": 3, "save_hf_every": 1, "keep_hf": 2, "evaluate_every": 2}
    train(tmp_path / "whole", **options)
    with suppress(ConnectionAbortedError):
        train(tmp_path / "crashed", World(crash_at), **options)
    train(tmp_path / "crashed", **options)
    for read in (saved, held_out):
        assert read(tmp_path / "crashed") == read(tmp_path / "whole")


def test_models_and_scores_of_steps_that_run_again_are_deleted(tmp_path):
    options = {"every": 9, "save_hf_every": 1, "evaluate_every": 1}
    world = World()
    world.update, made = _crash_after(world.update, 4), tmp_path / "rl/math"
    with suppress(ConnectionAbortedError):
        train(tmp_path, world, replace(STAGE, gate=GateConfig()), **options)
    assert set(saved(tmp_path)) == {3, 4} and len(list(made.glob("evaluation/*"))) == 4
    (made / "models/step_000001.partial").mkdir()
    world = World()
    world.update = _crash_after(world.update, 0)
    with suppress(ConnectionAbortedError):
        train(tmp_path, world, replace(STAGE, gate=GateConfig()), **options)
    assert not list(made.glob("models/*")) and not list(made.glob("evaluation/*"))


def _crash_after(update, count):
    calls = iter(range(count))

    def call(*arguments):
        if next(calls, None) is None:
            raise ConnectionAbortedError
        return update(*arguments)

    return call


def test_the_curve_the_costs_and_the_trackers_have_the_held_out_scores(tmp_path):
    train(tmp_path, evaluate_every=3)
    lines = test_loop.metrics(tmp_path)
    (trace,) = held_out_curve(lines).data
    assert list(trace.x) == [3, 6] and list(trace.y) == [f["pass_at_1"] for f in held_out(tmp_path).values()]
    assert held_out_curve([line for line in lines if "evaluation" not in line]) is None
    assert as_text(lines[2], "evaluation/pass_at_1") == f"{lines[2]['evaluation']['pass_at_1']:.1%}"
    assert "evaluation/pass_at_1" in flat(lines[2], "/") and "evaluation/pass_at_1" not in flat(lines[1], "/")
    tokens = sum(line["tokens"] + line.get("gate", {}).get("tokens", 0) for line in lines)
    assert stage_costs(tmp_path)["rl math"]["tokens"] == tokens + 2 * 9
