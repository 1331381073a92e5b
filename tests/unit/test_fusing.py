"""The fusion phase with stand-in models: the gate, what it does with a loss, the greedy soup, and a resumed phase."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from vt_ray.config import Config
from vt_ray.run.checkpoint import write_json
from vt_ray.run.paths import FusedPaths, ProbePaths
from vt_ray.spectrum_phase import fusing
from vt_ray.spectrum_phase.fusing import greedy_soup, run_fusion
from vt_ray.spectrum_phase.fusion_gate import by_problem, common_problems, gate_sentence, judge, stop_message

PROBLEMS = 20
K = 2


def scores(solved, problems=PROBLEMS):
    """A file of scores: the first `solved` problems are solved by all of 4 samples, the others by none."""
    ids = [f"q{i:02}" for i in range(problems)]
    return {
        "seconds": 1.0,
        "scores": [{"question_id": q, "subdomain": "algebra", "correct": 4 * (i < solved), "valid": 4, "samples": 4,
                    "truncated": 0, "tokens": 9} for i, q in enumerate(ids)],
    }  # fmt: skip


class World:
    """Models are numbers of solved problems, in model.json. `fused` is {members of a fusion: number}."""

    def __init__(self, tmp_path, monkeypatch, models, fused, **settings):
        config = Config()
        config.spectrum.probe.k, config.spectrum.probe.samples = K, 4
        for key, value in settings.items():
            setattr(config.spectrum.fusion, key, value)
        self.config, self.fused, self.measured, self.root = config, fused, [], tmp_path
        self.probe, self.folder = tmp_path / "probe", tmp_path / "fused"
        self.specialists = {}
        for name, solved in models.items():
            write(tmp_path / name / "model.json", {"members": [name], "solved": solved})
            write(ProbePaths(self.probe).scores(name), scores(solved))
            self.specialists[f"of {name}"] = tmp_path / name
        self.folder.mkdir()
        monkeypatch.setattr(fusing, "fuse", self.fuse)
        monkeypatch.setattr(fusing, "probe_model", self.probe_model)
        self.experiment = SimpleNamespace(
            config=config, cluster=self, problems=SimpleNamespace(probe=range(PROBLEMS)), base=tmp_path / "base"
        )

    @contextmanager
    def generator(self, base):
        yield self

    @contextmanager
    def verifier(self):
        yield None

    def load_checkpoint(self, folder, version):
        self.loaded = json.loads((folder / "model.json").read_text())

    def probe_model(self, e, generator, verifier, path, advance):
        self.measured.append(tuple(self.loaded["members"]))
        write_json(path, scores(self.loaded["solved"]))

    def fuse(self, specialists, weights, folder, rule, base, seed):
        members = sorted({path.name for path in specialists.values()})
        read = json.loads((self.root / members[0] / "model.json").read_text())
        solved = self.fused[tuple(members)] if len(members) > 1 else read["solved"]
        write(folder / "model.json", {"members": members, "solved": solved, "weights": list(weights)})

    def run(self):
        run_fusion(self.experiment, self.specialists, self.probe, self.root / "start", self.folder)
        paths = FusedPaths(self.folder)
        return json.loads((self.folder / "model.json").read_text()), json.loads(paths.gate.read_text())


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)


PAIR = {"a": 16, "b": 12}


@pytest.mark.parametrize(("solved", "lost"), [(16, False), (20, False), (15, False), (8, True), (0, True)])
def test_fusion_has_lost_only_beyond_the_interval(tmp_path, monkeypatch, solved, lost):
    model, gate = World(tmp_path, monkeypatch, PAIR, {("a", "b"): solved}, on_loss="continue").run()
    assert (gate["lost"], gate["fallback"]) == (lost, False) and model["members"] == ["a", "b"]
    assert (gate["specialist"], gate["problems"], gate["k"]) == ("a", PROBLEMS, K)
    assert (gate["specialist_pass_at_k"], gate["fused_pass_at_k"]) == (0.8, solved / PROBLEMS)
    assert gate["difference"]["mean"] == pytest.approx(solved / PROBLEMS - 0.8)


def test_the_best_specialist_takes_the_place_of_a_worse_fused_model(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, PAIR, {("a", "b"): 4}, on_loss="best", method="ties")
    model, gate = world.run()
    assert gate["fallback"] and model["members"] == ["a"] and model["weights"] == [1.0]
    # The scores of the rejected model are kept for the report.
    assert sum(by_problem(FusedPaths(world.folder).probe, K).values()) == 4
    assert "the run goes on with the best specialist" in gate_sentence(gate)
    # An interrupted phase makes the models again, measures nothing again and decides the same.
    FusedPaths(world.folder).gate.unlink()
    assert world.run() == (model, gate) and world.measured == [("a", "b")]


def test_stop_ends_the_run_before_rl_and_says_how_to_go_on(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, PAIR, {("a", "b"): 4}, on_loss="stop")
    model, gate = world.run()
    assert model["members"] == ["a", "b"] and not gate["fallback"]
    message = stop_message(world.config, tmp_path)
    assert "20.0% for the fused model and 80.0% for the best specialist, a: a difference of -60.0 [" in message
    assert "set it to best or continue and another run_name" in message
    world.config.phases = ["sft", "probe", "fuse", "rejection", "self_distil"]
    assert "Rejection sampling has not started, because spectrum.fusion.on_loss=stop" in stop_message(
        world.config, tmp_path
    )
    for phases, on_loss in ((["sft", "probe", "fuse"], "stop"), (world.config.phases, "continue")):
        world.config.phases, world.config.spectrum.fusion.on_loss = phases, on_loss
        assert stop_message(world.config, tmp_path) == ""


def test_a_run_of_an_older_version_without_a_gate_goes_on(tmp_path):
    config = Config()
    config.spectrum.fusion.on_loss = "stop"
    assert stop_message(config, tmp_path) == ""


def test_with_few_problems_the_gate_does_not_decide():
    few = {f"q{i}": 1.0 for i in range(9)}
    gate = judge({"a": few}, dict.fromkeys(few, 0.0), K)
    assert not gate["lost"] and gate["difference"] is None
    assert "the gate does not decide" in gate_sentence(gate)


def test_racing_leaves_problems_out_and_the_best_specialist_is_chosen_on_the_common_ones():
    whole = {f"q{i}": float(i < 10) for i in range(20)}
    part = {f"q{i}": 1.0 for i in range(12)}
    assert common_problems({"a": whole, "b": part}) == set(part)
    gate = judge({"a": whole, "b": part}, whole, K)
    assert (gate["specialist"], gate["problems"]) == ("b", 12)
    apart = {f"p{i}": 1.0 for i in range(12)}
    assert common_problems({"b": part, "c": apart}) == part.keys() | apart.keys()


def test_a_greedy_soup_takes_a_model_only_if_the_average_is_not_worse():
    asked = []

    def score(names):
        asked.append(tuple(names))
        return {("a", "b"): 0.7, ("a", "c"): 0.8, ("a", "c", "d"): 0.9}[tuple(names)]

    assert greedy_soup({"d": 0.1, "b": 0.6, "a": 0.8, "c": 0.5}, score) == ["a", "c", "d"]
    assert asked == [("a", "b"), ("a", "c"), ("a", "c", "d")]


def test_the_phase_makes_and_resumes_a_greedy_soup(tmp_path, monkeypatch):
    fused = {("a", "b"): 18, ("a", "b", "c"): 10}
    world = World(tmp_path, monkeypatch, {"c": 6, "a": 16, "b": 12}, fused, method="greedy_soup")
    model, gate = world.run()
    assert (model["members"], model["weights"], gate["lost"]) == (["a", "b"], [0.5, 0.5], False)
    assert world.measured == [("a", "b"), ("a", "b", "c"), ("a", "b")]
    assert not (world.folder / "soup").exists()
    world.measured.clear()
    assert world.run()[0] == model and not world.measured


def test_probe_softmax_weighs_by_pass_at_k(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, PAIR, {("a", "b"): 16}, method="probe_softmax", temperature=0.2)
    weights = world.run()[0]["weights"]
    assert weights == pytest.approx([2.718281828 / 3.718281828, 1 / 3.718281828])


def test_one_specialist_of_all_subdomains_is_not_lost(tmp_path, monkeypatch):
    model, gate = World(tmp_path, monkeypatch, {"a": 16}, {}).run()
    assert not gate["lost"] and gate["difference"]["mean"] == 0 and model["members"] == ["a"]
